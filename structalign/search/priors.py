"""What signals of the form log p(task | caption) have in common.

A caption without one known word gets the uniform distribution over tasks. A token is known if a training caption of a
task learned so far has it.

Letters: R captions, L words, C categories, T tasks, V videos.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from structalign.model.video_text import TextEmbeddings
from structalign.search.signal import Comparison


class Prior(Protocol):
    """The state of such a signal."""

    def log(self, captions: TextEmbeddings) -> Tensor:
        """log p(task | caption) [R, T] of captions by zero-shot CLIP."""
        ...


def word_ids(captions: TextEmbeddings) -> Tensor:
    """The token ids [R, L] of captions, -1 where there is no word. Raises `ValueError` for captions without ids."""
    if captions.ids is None:
        raise ValueError("these captions were encoded for training, which keeps no token ids: encode them for search")
    return captions.ids


def distinct(ids: Tensor) -> Tensor:
    """The ids that occur, sorted, without -1."""
    return union([ids[ids >= 0]])


def union(parts: Sequence[Tensor]) -> Tensor:
    """The ids of all tasks, sorted."""
    found: Tensor = torch.unique(torch.cat(list(parts)))
    return found


def over_tasks(categories: Tensor, task: Tensor, ids: Tensor, known: Tensor) -> Tensor:
    """log p(task | caption) [R, T], from log p(category | caption) [R, C] and the `task` [C] of each category, from 1.

    It is exactly uniform for a caption whose `ids` [R, L] have none of the `known` ones.
    """
    count = int(task.max())
    logs = torch.stack([categories[:, task == t].logsumexp(dim=1) for t in range(1, count + 1)], dim=1)
    informed = torch.isin(ids, known).any(dim=1)
    return torch.where(informed[:, None], logs, -math.log(count)).float()


def score(comparison: Comparison, prior: Prior) -> Tensor:
    """log p(the videos' task | caption): [R, V], one number per caption."""
    logs = prior.log(comparison.zero_shot)[:, comparison.number - 1 : comparison.number]
    return logs.expand(-1, len(comparison.videos))
