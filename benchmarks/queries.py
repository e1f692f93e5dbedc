"""Captions encoded as each of several tasks.

Ours: `encode_as_tasks`, with pairs of captions and tasks in one pass. A pair's numbers do not depend on the others.
Plain: a pass for words and one for sentences, of 32 captions in order, padded to the longest. Both are in float32.
"""

from collections.abc import Iterator

import torch

from benchmarks import made, plain
from benchmarks.measuring import Row, in_turn
from structalign.model.text_encoding import encode_as_tasks

TASKS = 10
REPEATS = {1: 5, 32: 3}  # by number of captions


def queries(toy: bool) -> Iterator[Row]:
    """One caption and a batch of captions, as ten tasks."""
    for captions, repeats in REPEATS.items():
        yield _row(toy, min(captions, 5) if toy else captions, repeats)


def many_queries(toy: bool) -> Iterator[Row]:
    """256 captions as ten tasks."""
    yield _row(toy, 6 if toy else 256, 3)


def _row(toy: bool, captions: int, repeats: int) -> Row:
    size, tasks = made.size_of(toy), range(1, TASKS + 1)
    acts = made.settings(size, TASKS, 32, "fp32")
    model, _ = made.model_for(made.random_clip(size), size, "structalign", acts, TASKS, 12)
    tokens = made.captions(size, captions)
    weights, plan = plain.weights_of(model), made.plan_of(model, size)
    ways = {
        "plain": lambda: plain.encode_captions(weights, plan, tokens.ids, tokens.eot, tasks),
        "ours": lambda: encode_as_tasks(model, tokens, tasks, torch.device("cpu")),
    }
    name = f"{captions} {'caption' if captions == 1 else 'captions'} as {TASKS} tasks"
    mean = float((tokens.eot + 1.0).mean())
    return in_turn(name, ways, 1 if toy else repeats, f"{mean:.0f} tokens a caption")
