"""ZSCL: distillation from zero-shot CLIP in feature space, and averaged weights in parameter space.

Zheng et al., "Preventing Zero-Shot Transfer Degradation in Continual Learning of Vision-Language Models", ICCV 2023,
arXiv 2303.06628.
"""

import torch
from torch import Tensor

from structalign.learning import losses
from structalign.learning.context import Batch, TaskContext
from structalign.learning.distillation import TEMPERATURE, pretrained_clip
from structalign.learning.fine_tuning import fine_tuned
from structalign.learning.method import Term

POINTS = 10  # steps of a task whose weights are averaged: every 100th of 1000, as published


def zscl(task: TaskContext, batch: Batch) -> Tensor:
    """Distillation from zero-shot CLIP: new videos against its texts, and new texts against its videos."""
    (teacher,) = task.teachers
    text, frames = teacher.text(batch.pairs.caption), teacher.frames(batch.pairs)
    taught = task.logits(text, frames)[0]
    videos, texts = task.logits(text, batch.frames)[0], task.logits(batch.text, frames)[0]
    half = losses.distil(videos.T, taught.T.detach(), TEMPERATURE)
    return (half + losses.distil(texts, taught.detach(), TEMPERATURE)) / 2


@torch.no_grad()
def average_weights(task: TaskContext, step: int, steps: int) -> None:
    """Update the weight ensemble: the mean of the weights at the task's start and at `POINTS` of its steps."""
    if step % max(1, steps // POINTS):
        return
    learning = {name: p for name, p in task.model.named_parameters() if p.requires_grad}
    count = task.state.setdefault("points", torch.zeros((), dtype=torch.int64))
    for name, p in learning.items():
        mean = task.state.setdefault(f"mean.{name}", torch.zeros_like(p))
        mean += (p - mean) / (count + 1)
    count += 1


@torch.no_grad()
def take_average(task: TaskContext) -> None:
    """Replace the weights by their average, at the end of a task."""
    for name, p in task.model.named_parameters():
        if p.requires_grad:
            p.copy_(task.state[f"mean.{name}"])


METHOD = fine_tuned(
    Term("zscl", zscl, teachers=pretrained_clip),
    after_step=average_weights,
    after_task=take_average,
)
