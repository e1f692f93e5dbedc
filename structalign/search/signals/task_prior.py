"""The task prior: log p(task | caption), from zero-shot CLIP's words of the caption. It is not part of the paper.

A caption without one known word gets the uniform distribution (`search.priors`). Otherwise
it is linear discriminant analysis of caption vectors x = n(mean_l n(w_l)): a Gaussian per category with a common
covariance, in the streaming form of Hayes and Kanan (arXiv 1909.01520). It only needs sums over training captions. Each
task adds its sums, and later tasks never change them, since frozen CLIP does not change.

Letters: R captions, C categories, T tasks, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from structalign.model.video_text import TextEmbeddings
from structalign.search.priors import distinct, over_tasks, score, union, word_ids
from structalign.search.signal import Signal, Statistics
from structalign.search.similarity import caption_vectors


@dataclass(frozen=True)
class Moments:
    """The statistics of the training captions of C categories: `mean` [C, D], `count` [C] and `task` [C] (from 1).

    Over all captions x with r = x - mean: `scatter` [D, D] = sum r r^T and `fourth` [1] = sum |r|^4.
    """

    mean: Tensor
    count: Tensor
    task: Tensor
    scatter: Tensor
    fourth: Tensor


def moments(vectors: Tensor, category: Tensor, task: int) -> Moments:
    """The moments of one task's caption `vectors` [R, D] with their `category` [R], in the order of ids."""
    _, own, count = torch.unique(category, return_inverse=True, return_counts=True)
    points = vectors.double()
    mean = torch.zeros(len(count), points.shape[1], dtype=torch.float64).index_add_(0, own, points)
    mean /= count[:, None]
    rest = points - mean[own]
    scatter, fourth = rest.T @ rest, rest.square().sum(dim=1).square().sum()
    return Moments(mean.float(), count, torch.full_like(count, task), scatter.float(), fourth.float()[None])


def ledoit_wolf(scatter: Tensor, fourth: Tensor, count: int, centres: int) -> Tensor:
    """The covariance [D, D] of `count` samples around `centres` means, shrunk towards a multiple of I.

    (1 - s) S + s m I with f = n - C degrees of freedom, S = scatter / f, m = tr S / D, s = min(b / d, 1),
    d = |S - m I|^2_F and b = (n fourth / f^2 - |S|^2_F) / f (Ledoit and Wolf, J. Multivariate Analysis 88, 2004, where
    f = n). If no centre has two different samples, it is I / D, which hardly separates any classes.
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
    """The classifier: category logits are x weight + bias, with weight [D, C] and bias [C]. `task` [C], from 1.

    known: the ids of all training captions' words, sorted.
    """

    weight: Tensor
    bias: Tensor
    task: Tensor
    known: Tensor

    def log(self, captions: TextEmbeddings) -> Tensor:
        """log p(task | caption) [R, T] of captions by zero-shot CLIP, with a uniform prior over categories."""
        vectors = caption_vectors(captions).double()
        categories = (vectors @ self.weight + self.bias).log_softmax(dim=1)
        return over_tasks(categories, self.task, word_ids(captions), self.known)


def observe(captions: TextEmbeddings, category: Tensor, number: int) -> Statistics:
    """The moments of a task's training captions, and the ids of their `words`."""
    return vars(moments(caption_vectors(captions), category, number)) | {"words": distinct(word_ids(captions))}


def state(observed: Sequence[Statistics]) -> TaskPrior | None:
    """The classifier of all tasks' categories, from their means and the common covariance.

    None before the first task.
    """
    if not observed:
        return None
    parts = [Moments(**{field.name: one[field.name] for field in fields(Moments)}) for one in observed]
    mean, count = torch.cat([part.mean for part in parts]).double(), torch.cat([part.count for part in parts])
    scatter, fourth = sum_of([part.scatter for part in parts]), sum_of([part.fourth for part in parts])
    weight = torch.linalg.solve(ledoit_wolf(scatter, fourth, int(count.sum()), len(mean)), mean.T)
    task, known = torch.cat([part.task for part in parts]), union([one["words"] for one in observed])
    return TaskPrior(weight, -(weight * mean.T).sum(dim=0) / 2, task, known)


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors of one shape in the order of tasks, so that it is always bit-identical."""
    return torch.stack(list(parts)).sum(dim=0)


SIGNAL = Signal(score, observe, state, shared=True)
