"""The task prior: log p(task | caption), by zero-shot CLIP's words of the caption alone. Ours, not the paper's.

A Gaussian for each category with one covariance for all (linear discriminant analysis, as streamed by Hayes and Kanan,
arXiv 1909.01520) of caption vectors x = n(mean_l n(w_l)). What it needs of the training captions are sums, and frozen
CLIP never moves: a task adds its own, and whatever comes later, those of an old task stay what they were.

Letters: R captions, C categories, T tasks, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from structalign.model.video_text import TextEmbeddings
from structalign.search.signal import Comparison, Signal, Statistics
from structalign.search.similarity import caption_vectors


@dataclass(frozen=True)
class Moments:
    """What is kept of the training captions of C categories: `mean` [C, D] of each, `count` and number of `task` [C]
    (from 1); and over all captions x, with r = x - mean, `scatter` [D, D] = sum r r^T and `fourth` [1] = sum |r|^4."""

    mean: Tensor
    count: Tensor
    task: Tensor
    scatter: Tensor
    fourth: Tensor


def moments(vectors: Tensor, category: Tensor, task: int) -> Moments:
    """Those of one task's caption `vectors` [R, D], of the categories [R] that they have, in the order of their ids."""
    _, own, count = torch.unique(category, return_inverse=True, return_counts=True)
    points = vectors.double()
    mean = torch.zeros(len(count), points.shape[1], dtype=torch.float64).index_add_(0, own, points)
    mean /= count[:, None]
    rest = points - mean[own]
    scatter, fourth = rest.T @ rest, rest.square().sum(dim=1).square().sum()
    return Moments(mean.float(), count, torch.full_like(count, task), scatter.float(), fourth.float()[None])


def ledoit_wolf(scatter: Tensor, fourth: Tensor, count: int, centres: int) -> Tensor:
    """The covariance [D, D] of `count` samples around `centres` means of their own, shrunk to a multiple of I by as
    much as their number asks for.

    (1 - s) S + s m I with f = n - C degrees of freedom, S = scatter / f, m = tr S / D, s = min(b / d, 1),
    d = |S - m I|^2_F and b = (n fourth / f^2 - |S|^2_F) / f (Ledoit and Wolf, J. Multivariate Analysis 88, 2004, where
    f = n). I / D, which tells hardly anything apart, where no centre has two different samples.
    """
    freedom, unit = count - centres, torch.eye(len(scatter), dtype=torch.float64)
    if freedom < 1 or not scatter.any():
        return unit / len(scatter)
    found = scatter.double() / freedom
    target = found.trace() / len(found) * unit
    distance = (found - target).square().sum()
    noise = (count * float(fourth) / freedom**2 - found.square().sum()).clamp(min=0) / freedom
    share = (noise / distance.clamp(min=torch.finfo(torch.float64).tiny)).clamp(max=1)
    return (1 - share) * found + share * target


@dataclass(frozen=True)
class TaskPrior:
    """The classifier: logits of categories are x weight + bias, weight [D, C] and bias [C]; `task` [C], from 1."""

    weight: Tensor
    bias: Tensor
    task: Tensor

    def log(self, zero_shot: TextEmbeddings) -> Tensor:
        """log p(task | caption) [R, T] of captions by zero-shot CLIP; beforehand all categories are equally likely."""
        vectors = caption_vectors(zero_shot).double()
        categories = (vectors @ self.weight + self.bias).log_softmax(dim=1)
        tasks = range(1, int(self.task.max()) + 1)
        return torch.stack([categories[:, self.task == t].logsumexp(dim=1) for t in tasks], dim=1).float()


def observe(captions: TextEmbeddings, category: Tensor, number: int) -> Statistics:
    """The moments of a task's training captions."""
    return vars(moments(caption_vectors(captions), category, number))


def state(observed: Sequence[Statistics]) -> TaskPrior | None:
    """The classifier of all tasks' categories, by their means and their one covariance; None before the first task."""
    if not observed:
        return None
    parts = [Moments(**task) for task in observed]
    mean, count = torch.cat([part.mean for part in parts]).double(), torch.cat([part.count for part in parts])
    scatter, fourth = sum_of([part.scatter for part in parts]), sum_of([part.fourth for part in parts])
    weight = torch.linalg.solve(ledoit_wolf(scatter, fourth, int(count.sum()), len(mean)), mean.T)
    return TaskPrior(weight, -(weight * mean.T).sum(dim=0) / 2, torch.cat([part.task for part in parts]))


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape, in the order of tasks, so that its bits are always the same."""
    return torch.stack(list(parts)).sum(dim=0)


def score(comparison: Comparison, prior: TaskPrior) -> Tensor:
    """log p(the videos' task | caption): [R, V], one number a caption."""
    logs = prior.log(comparison.zero_shot)[:, comparison.number - 1 : comparison.number]
    return logs.expand(-1, len(comparison.videos))


SIGNAL = Signal(score, observe, state, shared=True)
