"""The two similarities of a caption and a video (method, section 3). Rows are queries, columns are videos.

Letters: Q queries, L words, V videos, N frames, D embedding.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def cosines(words: Tensor, frames: Tensor) -> Tensor:
    """<n(w_l), n(f_n)> of every word and frame. words: [Q, L, D] and frames: [V, N, D], raw. Returns [Q, L, V, N]."""
    q, length, dim = words.shape
    v, n, _ = frames.shape
    flat = F.normalize(words, dim=-1).reshape(q * length, dim) @ F.normalize(frames, dim=-1).reshape(v * n, dim).T
    return flat.view(q, length, v, n)


def word_frame(words: Tensor, mask: Tensor, frames: Tensor) -> Tensor:
    """s = 1/2 [mean_l max_n <n(w_l), n(f_n)> + mean_n max_l <n(w_l), n(f_n)>].

    words: [Q, L, D] raw; mask: [Q, L] bool, true on words; frames: [V, N, D] raw. Returns [Q, V] in [-1, 1]; 0 for a
    caption without any word.
    """
    return mean_of_best(cosines(words, frames), mask)


def mean_of_best(cosine: Tensor, mask: Tensor) -> Tensor:
    """s from the cosines [Q, L, V, N] and the word mask [Q, L]: [Q, V]."""
    keep = mask[:, :, None]
    over_words = torch.where(keep, cosine.amax(dim=3), 0).sum(dim=1) / mask.sum(dim=1).clamp(min=1)[:, None]
    over_frames = cosine.masked_fill(~keep[..., None], -torch.inf).amax(dim=1).mean(dim=2)
    return torch.where(mask.any(dim=1)[:, None], (over_words + over_frames) / 2, 0)


def sentence_video(sentences: Tensor, frames: Tensor) -> Tensor:
    """g = <n(sentence), n(mean_n n(f_n))>. sentences: [Q, D]; frames: [V, N, D]. Returns [Q, V] in [-1, 1]."""
    videos = F.normalize(F.normalize(frames, dim=-1).mean(dim=1), dim=-1)
    return F.normalize(sentences, dim=-1) @ videos.T


def sentence_mean(sentences: Tensor, frames: Tensor) -> Tensor:
    """<n(sentence), n(mean_n f_n)>, the mean of raw frames (StableFusion). Shapes as in `sentence_video`."""
    return F.normalize(sentences, dim=-1) @ F.normalize(frames.mean(dim=1), dim=-1).T


def best_frame(cosine: Tensor, mask: Tensor) -> Tensor:
    """The frame that holds the largest cosine of each pair, from [Q, L, V, N] and the mask [Q, L]: [Q, V] int64."""
    return cosine.masked_fill(~mask[:, :, None, None], -torch.inf).amax(dim=1).argmax(dim=2)
