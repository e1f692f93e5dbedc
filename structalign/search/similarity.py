"""The two similarities of a caption and a video (method, section 3). Rows are queries, columns are videos.

Letters: Q queries, L words, V videos, N frames, D embedding.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from structalign.model.video_text import TextEmbeddings


def cosines(words: Tensor, mask: Tensor, frames: Tensor, normalised: bool = False) -> Tensor:
    """<n(w_l), n(f_n)> of all words and frames, and -inf where the mask has no word.

    words: [Q, L, D] and frames: [V, N, D], raw, or `normalised` frames n(f_n). mask: [Q, L] bool, true on words.
    Returns [Q, L, V, N].
    """
    v, n, dim = frames.shape
    columns = (frames if normalised else F.normalize(frames, dim=-1)).reshape(v * n, dim).T
    if words.is_cuda:  # reading the mask would wait for the GPU
        found = (F.normalize(words, dim=-1) @ columns).masked_fill(~mask[..., None], -torch.inf)
    else:  # skip padding, which is often more than half
        packed = F.normalize(words[mask], dim=-1) @ columns
        if len(packed) == mask.numel():  # a single query has no padding
            return packed.view(*mask.shape, v, n)
        found = packed.new_full((*mask.shape, v * n), -torch.inf)
        found[mask] = packed
    return found.view(*mask.shape, v, n)


def word_frame(words: Tensor, mask: Tensor, frames: Tensor) -> Tensor:
    """s = 1/2 [mean_l max_n <n(w_l), n(f_n)> + mean_n max_l <n(w_l), n(f_n)>].

    words: [Q, L, D] raw. mask: [Q, L] bool, true on words. frames: [V, N, D] raw. Returns [Q, V] in [-1, 1], and 0 for
    a caption without words.
    """
    cosine = cosines(words, mask, frames)
    return mean_of_best(cosine, best_words(cosine), mask)


def best_words(cosine: Tensor) -> Tensor:
    """The largest cosine of any word with each frame: [Q, L, V, N] -> [Q, V, N]."""
    return cosine.amax(dim=1)


def mean_of_best(cosine: Tensor, best: Tensor, mask: Tensor, exact: bool = False) -> Tensor:
    """s [Q, V] from the `cosines` [Q, L, V, N], their `best_words` [Q, V, N] and the word mask [Q, L].

    exact: sum in float64, so that a caption's bits do not depend on the length of other captions.
    """
    by_word = torch.where(mask[:, :, None], cosine.amax(dim=3), 0).sum(dim=1, dtype=torch.float64 if exact else None)
    over_words = (by_word / mask.sum(dim=1).clamp(min=1)[:, None]).to(cosine.dtype)
    return torch.where(mask.any(dim=1)[:, None], (over_words + best.mean(dim=2)) / 2, 0)


def video_vectors(frames: Tensor) -> Tensor:
    """One vector per video, n(mean_n n(f_n)): [V, N, D] -> [V, D]."""
    return F.normalize(F.normalize(frames, dim=-1).mean(dim=1), dim=-1)


def raw_mean_vectors(frames: Tensor) -> Tensor:
    """One vector per video, n(mean_n f_n), from the mean of raw frames (StableFusion): [V, N, D] -> [V, D]."""
    return F.normalize(frames.mean(dim=1), dim=-1)


def sentence_cosines(sentences: Tensor, vectors: Tensor) -> Tensor:
    """<n(sentence), vector> of sentences [Q, D] and one unit vector per video [V, D]: [Q, V]."""
    return F.normalize(sentences, dim=-1) @ vectors.T


def sentence_video(sentences: Tensor, frames: Tensor) -> Tensor:
    """g = <n(sentence), n(mean_n n(f_n))>. sentences: [Q, D]; frames: [V, N, D]. Returns [Q, V] in [-1, 1]."""
    return sentence_cosines(sentences, video_vectors(frames))


def caption_vectors(text: TextEmbeddings, words: bool = True) -> Tensor:
    """One vector per caption, n(mean_l n(w_l)), or n(sentence) for a method without `words`: [Q, D]."""
    if not words:
        return F.normalize(text.sentence, dim=-1)
    unit = F.normalize(text.words, dim=-1) * text.mask[..., None]
    return F.normalize(unit.sum(dim=1), dim=-1)


def best_frame(best: Tensor) -> Tensor:
    """The frame with the largest cosine of each pair, from the `best_words` [Q, V, N]: [Q, V] int64."""
    return best.argmax(dim=2)
