"""The bag-of-words prior: log p(task | caption) by a trivial rule, beside which `task_prior` is read.

It is multinomial naive Bayes over token ids, with add-one smoothing for each category and a uniform prior over
categories. It only needs counts of tokens. Each task adds its counts, and later tasks never change them.

Letters: R captions, L words, C categories, W known words, T tasks, P pairs of a category and a word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from structalign.model.video_text import TextEmbeddings
from structalign.search.priors import over_tasks, score, union, word_ids
from structalign.search.signal import Signal, Statistics


@dataclass(frozen=True)
class WordPrior:
    """known: [W] sorted ids. logs: [W, C] log p(word | category). task: [C], from 1."""

    known: Tensor
    logs: Tensor
    task: Tensor

    def log(self, captions: TextEmbeddings) -> Tensor:
        """log p(task | caption) [R, T]. Unknown words are left out."""
        ids = word_ids(captions)
        place = torch.searchsorted(self.known, ids).clamp(max=len(self.known) - 1)
        is_known = self.known[place] == ids
        likelihood = torch.where(is_known[..., None], self.logs[place], 0).sum(dim=1)
        return over_tasks(likelihood.log_softmax(dim=1), self.task, ids, self.known)


def observe(captions: TextEmbeddings, category: Tensor, number: int) -> Statistics:
    """How often each category of a task has each word: `row` [P], `word` [P], `count` [P], and `task` [C]."""
    ids = word_ids(captions)
    categories, own = torch.unique(category, return_inverse=True)
    pairs = torch.stack([own[:, None].expand_as(ids), ids], dim=-1)[ids >= 0]
    found, count = torch.unique(pairs, dim=0, return_counts=True)
    row, word = found.T.contiguous()
    return {"row": row, "word": word, "count": count, "task": torch.full_like(categories, number)}


def state(observed: Sequence[Statistics]) -> WordPrior | None:
    """The classifier of all tasks' categories. None before the first word."""
    if not any(len(part["word"]) for part in observed):
        return None
    known, task = union([part["word"] for part in observed]), torch.cat([part["task"] for part in observed])
    counts, first = torch.zeros(len(known), len(task), dtype=torch.float64), 0
    for part in observed:
        counts[torch.searchsorted(known, part["word"]), first + part["row"]] = part["count"].double()
        first += len(part["task"])
    return WordPrior(known, ((counts + 1) / (counts.sum(dim=0) + len(known))).log(), task)


SIGNAL = Signal(score, observe, state, shared=True)
