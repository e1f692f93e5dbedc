"""Captions of random tokens. They stand in for captions that a task does not have."""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from structalign.learning.context import TaskContext
from structalign.model.adapters import generator
from structalign.model.backbone import Tokens

CAPTIONS, LENGTH = 512, 8  # random captions, and the tokens of each

_own: WeakKeyDictionary[TaskContext, Tokens] = WeakKeyDictionary()  # every step of a task asks for them


def vocabulary(task: TaskContext) -> Tokens:
    """Captions of tokens drawn from all tokens of the tokenizer. They are the same in every task."""
    edges = torch.tensor(_edges(task))
    known = torch.arange(task.model.clip.text_tokens)
    return _captions(task, known[~torch.isin(known, edges)], "vocabulary", task.settings.seed)


def own_vocabulary(task: TaskContext) -> Tokens:
    """Captions of tokens drawn from the task's own captions, except the start and end tokens. Drawn once for a task."""
    if task not in _own:
        tokens = task.captions.tokens
        inside = torch.arange(tokens.ids.shape[1]) < tokens.eot[:, None]
        words = torch.unique(tokens.ids[:, 1:][inside[:, 1:]])
        _own[task] = _captions(task, words, "own vocabulary", task.settings.seed, task.number)
    return _own[task]


def _edges(task: TaskContext) -> tuple[int, int]:
    """The tokens that start and end a caption."""
    tokens = task.captions.tokens
    return int(tokens.ids[0, 0]), int(tokens.ids[0, tokens.eot[0]])


def _captions(task: TaskContext, words: Tensor, *key: str | int) -> Tokens:
    length = min(LENGTH, task.model.clip.text_positions - 2)
    drawn = words[torch.randint(len(words), (CAPTIONS, length), generator=generator(*key))]
    start, end = _edges(task)
    edge = torch.ones(CAPTIONS, 1, dtype=torch.int64)
    return Tokens(torch.cat([start * edge, drawn, end * edge], dim=1), torch.full((CAPTIONS,), length + 1))
