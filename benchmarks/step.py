"""One training step of the first task and of a later one: forward, backward and optimizer.

Ours as the train stage runs it: states after the frozen prefix from the cache, each distinct video of a batch once,
bfloat16, the teacher's embeddings computed once before the task. Plain: all of the towers on every pair, the teacher's
too, in float32. The plain side gets its pixels for nothing; ours reads its states from the files.

What the teacher costs before the first step is told beside the ratio, and spread over the steps of an MSRVTT-10 task
(32 videos, 20 captions each, 20 epochs) in `ratio_with_teacher`.
"""

import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from benchmarks import made, plain
from benchmarks.options import OUT, REPEATS, TINY
from benchmarks.timing import Row, compare, keep, show
from structalign.learning.batches import Pairs, batches
from structalign.learning.trainer import Trainer
from structalign.model.device import prepare_device

GOALS = {1: 4.0, 2: 6.0}  # by task
EPOCHS = 20


def step(
    batch: Annotated[int, typer.Option(min=2, help="pairs of a batch")] = 8,
    frames: Annotated[int, typer.Option(min=1, help="frames of a video")] = 12,
    videos: Annotated[int, typer.Option(min=2, help="training videos of the task")] = 32,
    each: Annotated[int, typer.Option(min=1, help="captions of a video")] = 20,
    distinct: Annotated[
        int, typer.Option(min=0, help="videos that a batch's pairs show; 0: captions drawn at random, as in MSR-VTT")
    ] = 0,
    precision: Annotated[str, typer.Option(help="ours: bf16 or fp32")] = "bf16",
    repeats: REPEATS = 3,
    tiny: TINY = False,
    out: OUT = Path("benchmarks/results"),
) -> None:
    """A training step of task 1 and of task 2."""
    options = dict(locals(), out=str(out))
    device, size = prepare_device(), made.size_of(tiny)
    rows = []
    for task in GOALS:
        with tempfile.TemporaryDirectory() as folder:
            sides = Sides(Path(folder), size, task, batch, frames, videos, each, precision, device)
            rows.append(measured(sides, distinct, repeats))
            show(rows[-1:])
    keep(out, "step", device, options, rows)


class Sides:
    """Both implementations at the start of a task, with equal weights."""

    def __init__(
        self,
        folder: Path,
        size: made.Size,
        task: int,
        batch: int,
        frames: int,
        videos: int,
        each: int,
        precision: str,
        device: torch.device,
    ):
        self.task, self.batch, self.each, self.device = task, batch, each, device
        acts = made.settings(size, task, batch, precision)
        clip = made.random_clip(size).to(device)
        self.shown = made.pixels(size, videos, frames)
        first = made.CATEGORIES * (task - 1)
        features = made.lay_features(folder / "features", clip, acts, self.shown, each, size, first)
        start = time.perf_counter()
        self.trainer = made.trainer_for(size, "structalign", features, acts, task, frames, clip, device)
        self.teacher_seconds = time.perf_counter() - start if task > 1 else 0.0
        self.adamw = self.trainer.start()
        self.training = plain_training(self.trainer, made.plan_of(self.trainer.model, size), self.adamw)

    def pairs(self, number: int, distinct: int = 0) -> Pairs:
        """Batch `number` of the task."""
        if distinct == 0:
            per_epoch = list(batches(self.trainer.epoch(number), self.batch))
            return per_epoch[0]
        video = torch.arange(self.batch) % distinct
        caption = video * self.each + torch.arange(self.batch) // distinct
        return Pairs(caption, video, torch.zeros_like(video))

    def plain_batch(self, pairs: Pairs, *key: int) -> plain.Batch:
        """The same batch for the plain side, with the same pseudo-features."""
        trainer, pseudo = self.trainer, None
        etf_pseudo = None
        if self.task > 1:
            etf_pseudo = trainer.draw(2 * self.batch, "etf", *key)
            pseudo = trainer.draw(self.batch, "pseudo", *key)
        tokens = trainer.captions.tokens[pairs.caption].to(self.device)
        category = trainer.captions.category[pairs.caption].to(self.device)
        shown = self.shown[pairs.video].to(self.device)
        return plain.Batch(shown, tokens.ids, tokens.eot, pairs.video, category, etf_pseudo, pseudo)


def plain_training(trainer: Trainer, plan: plain.Plan, adamw: torch.optim.Optimizer) -> plain.Training:
    """The plain side with the weights, the teacher and the rates of ours."""
    weights = plain.weights_of(trainer.model)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    groups: list[plain.Group] = [
        ([names[id(p)] for p in group["params"]], group["initial_lr"], group["weight_decay"])
        for group in adamw.param_groups
    ]
    learning = {name for group in groups for name in group[0]}
    teacher: dict[str, Tensor] = {name: x.detach().clone() if name in learning else x for name, x in weights.items()}
    vertices = trainer.memory.vertices.to(trainer.device)
    return plain.Training(weights, teacher, plan, trainer.number, vertices, groups)


def measured(sides: Sides, distinct: int, repeats: int) -> Row:
    """Steps on one batch after another, both sides on the same."""
    planned = [sides.pairs(number, distinct) for number in range(repeats)]
    given = [sides.plain_batch(pairs, 0, sides.task, number) for number, pairs in enumerate(planned)]
    ours, theirs = iter(list(enumerate(planned))), iter(given)

    def our_step() -> object:
        number, pairs = next(ours)
        return sides.trainer.step(sides.adamw, 1.0, pairs, 0, sides.task, number)

    row = compare(
        f"step of task {sides.task}",
        our_step,
        lambda: sides.training.step(next(theirs)),
        GOALS[sides.task],
        repeats,
        sides.device,
        warm=False,
        **described(sides, planned),
    )
    steps = EPOCHS * len(sides.trainer.captions.video) // sides.batch
    with_teacher = row.plain / (row.ours + sides.teacher_seconds / steps)
    row.more.update(teacher_seconds=round(sides.teacher_seconds, 2), ratio_with_teacher=round(with_teacher, 3))
    return row


def described(sides: Sides, planned: list[Pairs]) -> dict[str, Any]:
    return {"task": sides.task, "distinct_videos": [len(torch.unique(pairs.video)) for pairs in planned]}
