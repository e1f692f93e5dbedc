"""Similarities, pair by pair as in training and caption by caption as in evaluation.

Letters: N frames, L words of a caption, D embedding, Q queries, V videos.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def word_frame_by_pair(words: Sequence[Tensor], frames: Tensor) -> Tensor:
    """[Q, V] s of every caption, given as its words [L, D], and every video of [V, N, D], as in training.

    Pairs are computed one at a time, and each normalises its vectors again.
    """
    return torch.stack([torch.stack([of_pair(w, video) for video in frames]) for w in words])


def of_pair(words: Tensor, frames: Tensor) -> Tensor:
    """s of [L, D] and [N, D]."""
    cosine = F.normalize(words, dim=-1) @ F.normalize(frames, dim=-1).T
    return (cosine.max(dim=1).values.mean() + cosine.max(dim=0).values.mean()) / 2


def word_frame_by_caption(words: Sequence[Tensor], frames: Tensor) -> Tensor:
    """[Q, V] s as in evaluation: one caption and all videos at a time."""
    units = F.normalize(frames, dim=-1).transpose(1, 2)
    rows = []
    for w in words:
        cosine = torch.bmm(F.normalize(w, dim=-1).expand(len(units), -1, -1), units)
        rows.append((cosine.max(dim=2).values.mean(dim=1) + cosine.max(dim=1).values.mean(dim=1)) / 2)
    return torch.stack(rows)


def sentence_video(sentences: Tensor, frames: Tensor) -> Tensor:
    """[Q, V] g of every sentence [Q, D] and every video of [V, N, D]."""
    videos = F.normalize(F.normalize(frames, dim=-1).mean(dim=1), dim=-1)
    return F.normalize(sentences, dim=-1) @ videos.T
