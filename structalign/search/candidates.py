"""Candidates: the videos whose one vector fits a caption best. Only these are then ranked by the score.

For a caption encoded as task p, c_p = (1 - beta)/sigma_g n(sentence_p) + beta/sigma_s mean_l n(w_l,p). The key of a
video stored by task p is <c_p, x> + bonus_p, with its unit vector x = n(mean_n n(f_n)) and the weighted signals that
are equal for all videos of a task. It orders like the score if word-frame similarity equals <mean_l n(w_l), x>, with
which it correlates by 0.94 to 0.96.
Letters: T tasks, V videos, N frames, D embedding, S sampled videos.
"""

import hashlib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from structalign.model.video_text import TextEmbeddings
from structalign.params.ranking import SIMILARITIES

Floats = NDArray[np.floating]
Scale = tuple[float, float]  # mean and standard deviation of a similarity over all stored videos

SAMPLED, SEED = 1024, 0  # videos that sigma_s is estimated from
LEAST = 1e-6  # a smaller deviation counts as this one, as in `fusion.zscores`
ROWS = 8192


@dataclass(frozen=True)
class Moments:
    """Of vectors x [V, D]: their count, total = sum of x [D], and second = sum of x x^T [D, D], in float64.

    They add up: those of a union are the sum, and removed videos are subtracted.
    """

    count: int
    total: NDArray[np.float64]
    second: NDArray[np.float64]

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.second + other.second)

    def __sub__(self, other: "Moments") -> "Moments":
        return Moments(self.count - other.count, self.total - other.total, self.second - other.second)


def moments(vectors: Floats) -> Moments:
    """The moments of `vectors` [V, D]."""
    dim = vectors.shape[1]
    total, second = np.zeros(dim), np.zeros((dim, dim))
    for start in range(0, len(vectors), ROWS):
        part = np.asarray(vectors[start : start + ROWS], np.float32)
        total += part.sum(axis=0, dtype=np.float64)
        second += part.T @ part
    return Moments(len(vectors), total, second)


def moments_by_task(parts: Iterable[tuple[int, Moments]]) -> dict[int, Moments]:
    """The moments of each task: the sum over its parts, each given with its task."""
    found: dict[int, Moments] = {}
    for task, own in parts:
        found[task] = found[task] + own if task in found else own
    return found


def scales_of(parts: Iterable[tuple[Moments, Floats]]) -> list[Scale]:
    """Mean and deviation of <q_r, x> over all videos, exact. parts: the moments of each task, and its queries [R, D].

    >>> scales_of([(moments(np.array([[1.0, 0.0], [0.0, 1.0]])), np.array([[3.0, 1.0]]))])
    [(2.0, 1.0)]
    """
    count, total, square = 0, np.zeros(1), np.zeros(1)
    for of_task, queries in parts:
        wide = queries.astype(np.float64)
        count += of_task.count
        total = total + wide @ of_task.total
        square = square + np.einsum("rd,rd->r", wide @ of_task.second, wide)
    means = total / max(count, 1)
    deviations = np.sqrt(np.maximum(square / max(count, 1) - means**2, 0))
    return list(zip(means.tolist(), np.maximum(deviations, LEAST).tolist(), strict=True))


def sampled(ids: Iterable[str], count: int = SAMPLED) -> list[int]:
    """The positions of the `count` ids with the smallest hash of seed and id. Adding and removing hardly moves them."""

    def key(item: tuple[int, str]) -> bytes:
        return hashlib.sha256(f"{SEED} {item[1]}".encode()).digest()

    return sorted(place for place, _ in heapq.nsmallest(count, enumerate(ids), key=key))


def estimated(words: Floats, estimates: Floats, whole: Scale) -> Scale:
    """Mean and deviation of word-frame similarity over all videos, from a sample.

    words, estimates: [S], similarity and <mean_l n(w_l), x> of sampled videos. whole: the exact scale of the latter
    over all videos, which corrects the sample's.
    """
    deviation = max(float(estimates.std(dtype=np.float64)), LEAST)
    ratio = float(words.std(dtype=np.float64)) / deviation
    mean = float(words.mean(dtype=np.float64)) + ratio * (whole[0] - float(estimates.mean(dtype=np.float64)))
    return mean, max(ratio * whole[1], LEAST)


def unit_sentences(texts: Sequence[TextEmbeddings]) -> NDArray[np.float32]:
    """n(sentence) of one caption in T encodings: [T, D]."""
    return F.normalize(torch.cat([text.sentence[:1] for text in texts]), dim=-1).numpy()


def mean_words(texts: Sequence[TextEmbeddings]) -> NDArray[np.float32]:
    """mean_l n(w_l) of one caption in T encodings, 0 without words: [T, D]."""
    means = [F.normalize(text.words[0][text.mask[0]], dim=-1).sum(dim=0) / max(int(text.mask[0].sum()), 1)
             for text in texts]  # fmt: skip
    return torch.stack(means).numpy()


def combined(
    sentences: Floats, words: Floats | None, scales: Mapping[str, Scale], weights: Mapping[str, float]
) -> NDArray[np.float32]:
    """c [T, D] from n(sentence) [T, D] and mean_l n(w_l) [T, D]. words: None for a method that ranks by one cosine."""
    by_words, by_sentence = SIMILARITIES
    if words is None:
        return np.asarray(sentences / scales[by_sentence][1], np.float32)
    both = weights[by_sentence] / scales[by_sentence][1] * sentences + weights[by_words] / scales[by_words][1] * words
    return np.asarray(both, np.float32)


def fused(
    found: Mapping[str, Floats], weights: Mapping[str, float], scales: Mapping[str, Scale]
) -> NDArray[np.float64]:
    """The score [Q, V] of some videos, as `fusion.fuse` gives it when `scales` are those of all stored videos."""
    similar = {name: matrix for name, matrix in found.items() if name in SIMILARITIES}
    added = {name: matrix for name, matrix in found.items() if name not in similar and weights[name]}
    if len(similar) == 1 and not added:
        (only,) = similar.values()
        return only.astype(np.float64)
    total = np.zeros(next(iter(found.values())).shape)
    for name, matrix in similar.items():
        mean, deviation = scales[name]
        total += (weights[name] if len(similar) > 1 else 1.0) * (matrix.astype(np.float64) - mean) / deviation
    for name, matrix in added.items():
        total += weights[name] * matrix
    return total


def frames_of(stored: Tensor | NDArray[np.floating], rows: Sequence[int]) -> Tensor:
    """The stored vectors of some rows: [V, M, D] -> [len(rows), M, D] float32."""
    if isinstance(stored, Tensor):
        return stored[list(rows)].float()
    return torch.from_numpy(np.asarray(stored[list(rows)], np.float32))
