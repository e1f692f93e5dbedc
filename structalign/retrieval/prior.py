"""The task prior: by which task a caption's video probably came, told from frozen CLIP's words of the caption alone.

A Gaussian for each category with one covariance for all (linear discriminant analysis, as streamed by Hayes and Kanan,
arXiv 1909.01520) of caption vectors x = n(mean_l n(w_l)). What it needs of the training captions are sums, and frozen
CLIP never moves: a task adds its own, and whatever comes later, those of an old task stay what they were.

Letters: R captions, C categories, T tasks, D embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from structalign.model.video_text import TextEmbeddings
from structalign.retrieval.similarity import caption_vectors


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
    """Those of one task's caption `vectors` [R, D], of the categories 0 to C - 1 [R], none of them empty."""
    points, count = vectors.double(), torch.bincount(category)
    mean = torch.zeros(len(count), points.shape[1], dtype=torch.float64).index_add_(0, category, points)
    mean /= count[:, None]
    rest = points - mean[category]
    scatter, fourth = rest.T @ rest, rest.square().sum(dim=1).square().sum()
    return Moments(mean.float(), count, torch.full_like(count, task), scatter.float(), fourth.float()[None])


def joined(old: Moments | None, new: Moments) -> Moments:
    """Those of the categories of `old`, followed by those of `new`."""
    if old is None:
        return new
    return Moments(
        torch.cat([old.mean, new.mean]),
        torch.cat([old.count, new.count]),
        torch.cat([old.task, new.task]),
        old.scatter + new.scatter,
        old.fourth + new.fourth,
    )


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

    def log(self, frozen: TextEmbeddings) -> Tensor:
        """log p(task | caption) of captions by frozen CLIP, all categories being equally likely beforehand: [R, T]."""
        vectors = caption_vectors(frozen).double()
        categories = (vectors @ self.weight + self.bias).log_softmax(dim=1)
        tasks = range(1, int(self.task.max()) + 1)
        return torch.stack([categories[:, self.task == t].logsumexp(dim=1) for t in tasks], dim=1).float()


def of_task(log_prior: Tensor | None, number: int, videos: int) -> dict[str, Tensor]:
    """The `task_prior` [R, videos] of a task's stored videos, its column of `TaskPrior.log`; nothing without one."""
    return {} if log_prior is None else {"task_prior": log_prior[:, number - 1 : number].expand(-1, videos)}


def task_prior(memory: Mapping[str, Tensor]) -> TaskPrior | None:
    """The classifier of the categories that a checkpoint remembers, by their means and their one covariance."""
    found = remembered(memory)
    if found is None:
        return None
    mean = found.mean.double()
    covariance = ledoit_wolf(found.scatter, found.fourth, int(found.count.sum()), len(mean))
    weight = torch.linalg.solve(covariance, mean.T)
    return TaskPrior(weight, -(weight * mean.T).sum(dim=0) / 2, found.task)


def remembered(memory: Mapping[str, Tensor]) -> Moments | None:
    """The moments that a checkpoint's memory holds as `caption_…`; None if it holds none: no task prior ranks."""
    if "caption_mean" not in memory:
        return None
    return Moments(**{field.name: memory[f"caption_{field.name}"] for field in fields(Moments)})
