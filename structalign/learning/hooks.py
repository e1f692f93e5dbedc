"""What a method does beside its loss: after each step, and when the last step is done.

A hook keeps what it needs from step to step in `task.state`.
"""

import torch

from structalign.learning.task import Task

POINTS = 10  # of a task that ZSCL averages: every 100th of 1000 iterations, as published


def no_step(task: Task, step: int, steps: int) -> None:
    """Nothing after a step."""


def no_end(task: Task) -> None:
    """Nothing after the last step."""


@torch.no_grad()
def average_weights(task: Task, step: int, steps: int) -> None:
    """ZSCL's weight ensemble: the plain mean of the weights at the task's start and at `POINTS` steps of it.

    It is called with step 0 before the first step, then with the number of steps done.
    """
    if step % max(1, steps // POINTS):
        return
    learning = {name: p for name, p in task.model.named_parameters() if p.requires_grad}
    count = task.state.setdefault("points", torch.zeros((), dtype=torch.int64))
    for name, p in learning.items():
        mean = task.state.setdefault(f"mean.{name}", torch.zeros_like(p))
        mean += (p - mean) / (count + 1)
    count += 1


@torch.no_grad()
def take_average(task: Task) -> None:
    """The task ends with the averaged weights."""
    for name, p in task.model.named_parameters():
        if p.requires_grad:
            p.copy_(task.state[f"mean.{name}"])


def freeze_experts(task: Task) -> None:
    """MoE-Adapter: in every layer the experts that the task used most learn no more."""
    for moe in task.model.moes():
        moe.freeze_most_used()
