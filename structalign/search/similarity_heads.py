"""How a caption and a video are compared: what a video is stored as, and which similarities rank it.

Each head works on raw frames, where training compares a batch, and on what it stored of them.
Letters: Q queries, V videos, N frames, M stored vectors of a video, D embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from structalign.model.video_text import TextEmbeddings, VideoText
from structalign.search.similarity import raw_mean_vectors, sentence_cosines, video_vectors, word_frame


@dataclass(frozen=True)
class SimilarityHead:
    """store: raw frames [V, N, D] -> the unit vectors [V, M, D] that are kept of them.

    vectors: raw or stored frames -> the unit vector [V, D] of each video that sentences are compared with; None where
    the model pools the frames by the sentence.
    words: whether word-frame similarity ranks, too, fused with it (method, section 3); else the cosine ranks as it is.
    """

    store: Callable[[Tensor], Tensor]
    vectors: Callable[[Tensor], Tensor] | None
    words: bool = False

    def sentence(self, model: VideoText | None, sentences: Tensor, frames: Tensor) -> Tensor:
        """The similarity [Q, V] of sentences [Q, D] and raw or stored frames."""
        if self.vectors is None:
            return _pooled(model, sentences, frames)
        return sentence_cosines(sentences, self.vectors(frames))

    def trained(self, model: VideoText | None, text: TextEmbeddings, frames: Tensor, both: bool) -> list[Tensor]:
        """The similarities [B, B'] that a contrastive loss may act on: word-frame where it ranks, and with `both` or
        where it stands alone, that of sentences."""
        words = [word_frame(text.words, text.mask, frames)] if self.words else []
        return words + ([self.sentence(model, text.sentence, frames)] if both or not words else [])


def unit_frames(frames: Tensor) -> Tensor:
    """n(f_n): [V, N, D]."""
    return F.normalize(frames, dim=-1)


def mean_of_units(frames: Tensor) -> Tensor:
    """n(mean_n n(f_n)): [V, 1, D]."""
    return video_vectors(frames)[:, None]


def unit_mean(frames: Tensor) -> Tensor:
    """n(mean_n f_n): [V, 1, D]."""
    return raw_mean_vectors(frames)[:, None]


def _pooled(model: VideoText | None, sentences: Tensor, frames: Tensor) -> Tensor:
    assert model is not None
    assert model.pool is not None
    device = next(model.pool.parameters()).device
    return model.pool.similarity(sentences.to(device), frames.to(device)).to(sentences.device)


FUSED = SimilarityHead(unit_frames, video_vectors, words=True)
HEADS = {
    "fused": FUSED,
    "mean": SimilarityHead(mean_of_units, video_vectors),
    "raw_mean": SimilarityHead(unit_mean, raw_mean_vectors),
    "pooled": SimilarityHead(unit_frames, None),
}
