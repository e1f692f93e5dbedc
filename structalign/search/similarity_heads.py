"""How captions and videos are compared: the vectors that are stored for a video, and the similarities that rank it.

Each head works on the raw frames of a training batch, and on stored vectors.
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
    """store: raw frames [V, N, D] -> the unit vectors [V, M, D] to store.

    vectors: raw or stored frames -> the unit vector [V, D] of each video, to compare with sentences. None if the model
    pools the frames by the sentence.
    words: whether word-frame similarity is fused with it (method, section 3). Otherwise the cosine ranks, unchanged.
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
        """The similarities [B, B'] for a contrastive loss.

        They are word-frame similarity, if it ranks, and sentence similarity with `both`, or if it is the only one.
        """
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
