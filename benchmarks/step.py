"""One training step of the first task and of a later one: forward, backward and optimizer, on distinct videos.

Ours runs as in the train stage. Each setting reads its inputs as it would there. With cached views, the teacher's
embeddings are computed before the first step. Plain runs all towers on every pair in float32, also the teacher's. Its
pixels are ready in memory. All use the losses of the paper.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import made, plain
from benchmarks.measuring import Row, in_turn
from structalign.data.frame_store import FrameSplit, write_split
from structalign.learning.batches import Pairs, visits
from structalign.learning.loading import load_method
from structalign.learning.trainer import Trainer
from structalign.model.features import view_name
from structalign.model.sources import OnlineCrops, make_source

EACH = 4  # captions of a video
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Setting:
    """The settings of a step. views: cached views of a training video, 0 for fresh crops."""

    name: str
    size: made.Size
    batch: int
    frames: int
    precision: str
    views: int


PAPER = Setting("ours, paper preset: fp32, fresh crops", made.VIT_B_32, 8, 12, "fp32", 0)
CACHED = Setting("ours, bf16, cached views", made.VIT_B_32, 8, 12, "bf16", 1)
SAMPLE = Setting("ours, bf16, cached views", made.SAMPLE, 16, 8, "bf16", 1)
TOY = Setting("ours", made.TINY, 3, 2, "fp32", 0)
LONG, SHORT = 3, 15  # repeats


def step(toy: bool) -> Iterator[Row]:
    """A training step of task 1 and of task 2, at published shapes and at the sample's."""
    for task in (1, 2):
        if toy:
            yield _row(f"step of task {task}, toy", task, [TOY], 1)
        else:
            yield _row(f"step of task {task}, ViT-B/32, 8 pairs", task, [PAPER, CACHED], LONG)
            yield _row(f"step of task {task}, the sample's shape, 16 pairs", task, [SAMPLE], SHORT)


def _row(name: str, task: int, settings: list[Setting], repeats: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        ours = [Ours(Path(folder, str(number)), setting, task) for number, setting in enumerate(settings)]
        training, batches = ours[0].plain_training(), (ours[0].plain_batch(number) for number in count())
        ways = {"plain": lambda: training.step(next(batches))} | {side.setting.name: side.step for side in ours}
        told = [f"{side.setting.name}: teacher before the task {side.begun:.1f} s" for side in ours]
        return in_turn(name, ways, repeats, "; ".join(told) if task > 1 else "")


class Ours:
    """The library at the start of a task.

    begun: CPU seconds of the start. They include the teacher's embeddings of the batch's videos and of EACH captions
    a video.
    """

    def __init__(self, folder: Path, setting: Setting, task: int):
        self.setting, self.task, self._numbers = setting, task, count()
        size, first = setting.size, made.CATEGORIES * (task - 1)
        acts = made.settings(size, task, setting.batch, setting.precision)
        clip = made.random_clip(size)
        self.pixels = made.pixels(size, setting.batch, setting.frames)
        cached = made.lay_features(folder / "features", clip, acts, self.pixels, EACH, size, first, setting.views)
        frames = lay_frames(folder / "frames", size, setting.batch, setting.frames)
        self.model, memory = made.model_for(clip, size, "structalign", acts, task, setting.frames)
        self.source = make_source(self.model, cached, frames, made.STATISTICS, CPU, flip=True)
        start = time.process_time()
        self.trainer = Trainer(self.model, load_method("structalign"), self.source, memory, task, acts, CPU)
        self.begun = time.process_time() - start
        self.adamw = self.trainer.start()

    def pairs(self, number: int) -> Pairs:
        """Batch `number`, with every video once."""
        video = torch.arange(self.setting.batch)
        view = torch.zeros_like(video) if self.setting.views else visits(number, len(video))
        return Pairs(video * EACH + number % EACH, video, view)

    def step(self) -> dict[str, float | int]:
        """Do an update on the next batch."""
        number = next(self._numbers)
        return self.trainer.step(self.adamw, 1.0, self.pairs(number), 0, self.task, number)

    def shown(self, pairs: Pairs) -> Tensor:
        """The pixels of a batch, [B, N, 3, S, S]."""
        if isinstance(self.source, OnlineCrops):
            views = zip(pairs.video.tolist(), pairs.view.tolist(), strict=True)
            return self.source.pixels.batch([(video, view_name(view)) for video, view in views])
        return self.pixels[pairs.video]

    def plain_batch(self, number: int) -> plain.Batch:
        """Batch `number` for the plain side, with the same pseudo-features."""
        pairs, trainer, key = self.pairs(number), self.trainer, (0, self.task, number)
        drawn = (2 * self.setting.batch, "etf"), (self.setting.batch, "pseudo")
        pseudo = [trainer.draw(size, purpose, *key) if self.task > 1 else None for size, purpose in drawn]
        tokens, category = trainer.captions.tokens[pairs.caption], trainer.captions.category[pairs.caption]
        return plain.Batch(self.shown(pairs), tokens.ids, tokens.eot, category, *pseudo)

    def plain_training(self) -> plain.Training:
        """The plain side, with this side's weights, teacher and learning rates."""
        weights = plain.weights_of(self.model)
        names = {id(p): name for name, p in self.model.named_parameters()}
        groups: list[plain.Group] = [
            ([names[id(p)] for p in group["params"]], group["initial_lr"], group["weight_decay"])
            for group in self.adamw.param_groups
        ]
        learning = {name for group in groups for name in group[0]}
        teacher: plain.Weights = {name: x.detach().clone() if name in learning else x for name, x in weights.items()}
        plan = made.plan_of(self.model, self.setting.size)
        return plain.Training(weights, teacher, plan, self.task, self.trainer.memory.vertices, groups)


def lay_frames(folder: Path, size: made.Size, videos: int, frames: int) -> FrameSplit:
    """Write frames of noise, 4:3. Their short side is that of the model's images."""
    noise = np.random.default_rng(0)
    shape = (frames, size.image, size.image * 4 // 3, 3)
    write_split(folder, [({"id": str(v)}, noise.integers(0, 256, shape, dtype=np.uint8)) for v in range(videos)])
    return FrameSplit(folder)
