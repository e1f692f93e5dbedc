"""How a caption and a video are compared: what a video is stored as, and which similarities rank it.

Each head works on raw frames, where training compares a batch, and on what it stored of them.
Letters: Q queries, V videos, N frames, M stored vectors of a video, D embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from structalign.model.video_text import TextEmbeddings, VideoText
from structalign.search.similarity import sentence_mean, sentence_video, video_vectors, word_frame


@dataclass(frozen=True)
class SimilarityHead:
    """store: raw frames [V, N, D] -> the unit vectors [V, M, D] that are kept of them.

    sentence: the similarity [Q, V] of sentences [Q, D] and raw or stored frames; only learned pooling asks the model.
    words: whether word-frame similarity ranks, too, fused with it (method, section 3); else the cosine ranks as it is.
    """

    store: Callable[[Tensor], Tensor]
    sentence: Callable[[VideoText | None, Tensor, Tensor], Tensor]
    words: bool = False

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
    return F.normalize(frames.mean(dim=1, keepdim=True), dim=-1)


def _mean(model: VideoText | None, sentences: Tensor, frames: Tensor) -> Tensor:
    return sentence_video(sentences, frames)


def _raw_mean(model: VideoText | None, sentences: Tensor, frames: Tensor) -> Tensor:
    return sentence_mean(sentences, frames)


def _pooled(model: VideoText | None, sentences: Tensor, frames: Tensor) -> Tensor:
    assert model is not None
    assert model.pool is not None
    device = next(model.pool.parameters()).device
    return model.pool.similarity(sentences.to(device), frames.to(device)).to(sentences.device)


FUSED = SimilarityHead(unit_frames, _mean, words=True)
HEADS = {
    "fused": FUSED,
    "mean": SimilarityHead(mean_of_units, _mean),
    "raw_mean": SimilarityHead(unit_mean, _raw_mean),
    "pooled": SimilarityHead(unit_frames, _pooled),
}
