"""Training in the published setting on a GPU, on synthetic frames, in at most seven minutes.

First, steps are timed before and after the GPU optimisations. "Before" is the same code with blocking copies, without
CUDA graphs, with frozen weights cast at every use, and with an optimizer that is not fused. The former code may have
been slower than that.

Then two tasks of MSRVTT-10's size run, and ten are extrapolated. Training that takes too long is stopped, and its other
steps are extrapolated from those after the first one. The start counts once. Later tasks train as the second one does.
The number of queries grows with the tasks, and the number of tasks that each query is encoded as grows too. Decoding,
ranking and process starts are not measured. Each result is written as soon as it exists.

`python -m benchmarks.gpu` is the same command without the other benchmarks. It needs neither DVC nor ffmpeg.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer
from torch.profiler import ProfilerActivity, profile

from benchmarks import made, published, suffix
from benchmarks.table import machine
from structalign.learning.cuda_graphs import record_frames
from structalign.learning.memory import Memory
from structalign.learning.settings import Settings
from structalign.learning.trainer import Trainer
from structalign.model.device import cast_once, prepare_device
from structalign.model.text_encoding import encode_as_tasks
from structalign.model.video_text import VideoText
from structalign.store import write_json

TASKS = 10
GOALS = {"ten_tasks_seconds": 600, "suffix_percent_of_matrix_rate": 40, "busy_percent": 85}
EPOCHS = 1000  # more than the timed steps need
WARM, WATCHED = 5, 10  # warm-up steps; steps under the profiler
LIMIT = 420  # seconds of the whole command
AFTER_TRAINING = 30  # seconds that are kept for a task's gallery and queries


class Enough(Exception):
    """Stops the training after enough timed steps."""


def gpu(
    device: Annotated[str, typer.Option(help="torch device")] = "cuda",
    seconds: Annotated[float, typer.Option(min=0.1, help="seconds for the steps before, and again after")] = 60,
    precision: Annotated[str, typer.Option(help="bf16, tf32 or fp32")] = "bf16",
    toy: Annotated[bool, typer.Option("--toy", help="use a tiny CLIP and few steps, to try the command")] = False,
    json: Annotated[Path, typer.Option("--json", help="file for the results, written one by one")] = Path("gpu.json"),
) -> None:
    """Training steps, the vision suffix, and ten tasks on a GPU."""
    end = time.perf_counter() + LIMIT
    with patch.dict(os.environ, {"STRUCTALIGN_DEVICE": device}):
        place = prepare_device()
    shape = published.TOY if toy else published.PUBLISHED
    chip = torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu"
    found = {"goals": GOALS, "machine": machine(), "device": chip, "precision": precision, "toy": toy}

    def note(name: str, value: Any) -> None:
        found[name] = value
        write_json(json, found)
        typer.echo(f"{name}: {value}")

    rate = suffix.matrix_rate(place, (64,) if toy else suffix.SIZES[place.type], 3)
    note("matrix_tflops", rate / 1e12)
    for name, share in suffix_shares(shape, place, rate).items():
        note(f"suffix_{name}", share)
    for name, switched in (("before", before), ("after", after)):
        with switched():
            note(f"step_{name}", timed_steps(published.trainer(shape, 2, precision, place, EPOCHS), seconds, rate))
    run, steps = two_tasks(shape, precision, place, 1 if toy else 20, end)
    note("two_tasks", run)
    note("two_tasks_steps", steps)
    note("ten_tasks_extrapolated_seconds", extrapolated(run))
    note("command_seconds", LIMIT + time.perf_counter() - end)
    typer.echo(f"goals: {GOALS}\n-> {json}")


@contextmanager
def before() -> Iterator[None]:
    """Run with blocking copies, casts at every use, no CUDA graphs, and an optimizer that is not fused."""

    def not_fused(*given: Any, fused: bool | None = None, **named: Any) -> torch.optim.Optimizer:
        return adamw(*given, **named)

    adamw = torch.optim.AdamW
    with (
        patch.dict(os.environ, {"STRUCTALIGN_GRAPHS": "0"}),
        patch("structalign.model.device.ASYNCHRONOUS", ()),
        patch("structalign.learning.trainer.ASYNCHRONOUS", ()),
        patch("structalign.learning.context.cast_once", lambda weights, precision: nullcontext()),
        patch("torch.optim.AdamW", not_fused),
    ):
        yield


@contextmanager
def after() -> Iterator[None]:
    """Run as the train stage does."""
    with patch.dict(os.environ, {"STRUCTALIGN_GRAPHS": "1"}):
        yield


@dataclass
class Watch:
    """A callback after each training step, which stops the training in time. wall: seconds since the warm-up."""

    seconds: float
    steps: int = 0
    begun: float = 0.0
    wall: float = 0.0
    busy: float | None = None

    def __call__(self, row: dict[str, float]) -> None:
        now = time.perf_counter()
        self.steps += 1
        if self.steps == WARM:
            self.begun = now
        self.wall = now - self.begun
        if self.steps > WARM and self.wall > self.seconds:
            raise Enough


def timed_steps(trainer: Trainer, seconds: float, rate: float) -> dict[str, Any]:
    """Milliseconds of a step, the vision suffix's share of the matrix rate, and how busy the GPU was."""
    watch = Watch(seconds)
    with suppress(Enough):
        trainer.fit(watch)
    each = watch.wall / (watch.steps - WARM)
    size, images = made_size(trainer), trainer.settings.shared.batch * trainer.model.config.frames
    work = images * (suffix.flops(size, backward=True) + suffix.flops(size, backward=False))  # student and teacher
    return {
        "milliseconds": 1000 * each,
        "steps": watch.steps - WARM,
        "suffix_percent_of_matrix_rate": 100 * work / each / rate,
        "busy_percent": busy_percent(trainer) if trainer.device.type == "cuda" else None,
    }


def busy_percent(trainer: Trainer) -> float:
    """Percent of the time in which a kernel or copy runs on the GPU, over a few steps."""
    taken, spent = 0, 0.0
    with ExitStack() as stack:
        watched: Any = None

        def look(row: dict[str, float]) -> None:
            nonlocal taken, spent, watched
            taken += 1
            if taken == WARM:
                torch.cuda.synchronize()
                watched = stack.enter_context(profile(activities=[ProfilerActivity.CUDA]))
                spent = time.perf_counter()
            if taken == WARM + WATCHED:
                torch.cuda.synchronize()
                spent = time.perf_counter() - spent
                raise Enough

        with suppress(Enough):
            trainer.fit(look)
    ranges = [e.time_range for e in watched.events() if e.device_type.name == "CUDA"]
    return 100 * united((r.start / 1e6, r.end / 1e6) for r in ranges) / spent


def united(ranges: Iterator[tuple[float, float]]) -> float:
    """The total length that the ranges cover."""
    covered, end = 0.0, float("-inf")
    for start, stop in sorted(ranges):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered


def suffix_shares(shape: published.Shape, device: torch.device, rate: float) -> dict[str, dict[str, float]]:
    """Forward and backward of a batch of distinct videos in bf16: layer by layer and, on a GPU, as a CUDA graph."""
    model = suffix.learning_model(shape.size, shape.frames).to(device)
    states = torch.randn(shape.batch, shape.frames, model.clip.vision_positions, shape.size.vision[0], device=device)
    work = shape.batch * shape.frames * suffix.flops(shape.size, backward=True)

    def share(run: Callable[[], None]) -> dict[str, float]:
        seconds = suffix.median_of(run, 3, device)
        return {"milliseconds": 1000 * seconds, "percent_of_matrix_rate": 100 * work / seconds / rate}

    with cast_once([p for p in model.clip.vision_products() if not p.requires_grad], "bf16"):
        found = {"eager": share(lambda: suffix.run_both(model, states, device))}
        if device.type == "cuda":
            tower = record_frames(model, states, "bf16", shape.batch)
            found["recorded"] = share(lambda: tower(states).float().square().mean().backward())  # type: ignore[no-untyped-call]
    return found


def made_size(trainer: Trainer) -> made.Size:
    """The synthetic CLIP's size, found by its width."""
    return next(s for s in (made.VIT_B_32, made.TINY) if s.text[0] == trainer.model.clip.text_width)


def two_tasks(
    shape: published.Shape, precision: str, device: torch.device, epochs: int, end: float
) -> tuple[list[dict[str, float]], list[str]]:
    """Seconds of each part of the first two tasks, and the steps of each that were timed.

    Training stops in time for the rest to be done at `end`, by `time.perf_counter`.
    """
    acts, clip = published.settings(shape, 1, precision, epochs), published.random_clip(shape, device)
    model, memory = made.model_for(clip, shape.size, "structalign", acts, 1, shape.frames)
    first = Parts(device)
    middle = (time.perf_counter() + end) / 2
    memory, steps = learn(first, shape, model, memory, 1, acts, middle - AFTER_TRAINING)
    model.add_task("benchmark", 2)
    for mixture in model.mixtures():
        mixture.spread_first_expert()
    second, acts = Parts(device), published.settings(shape, 2, precision, epochs)
    _, more = learn(second, shape, model.to(device), memory, 2, acts, end - AFTER_TRAINING)
    return [first.seconds, second.seconds], [steps, more]


def learn(
    parts: "Parts", shape: published.Shape, model: VideoText, memory: Memory, task: int, acts: Settings, end: float
) -> tuple[Memory, str]:
    """Train a task, embed its gallery, and encode the queries of all tasks as each task.

    Returns the memory, and how many steps were timed. Training stops at `end`, and its seconds are those of all steps.
    """
    device, steps = parts.device, acts.phase.epochs * -(-shape.videos * shape.each // shape.batch)
    trainer: Trainer = parts.time("teach", lambda: published.begin(shape, model, memory, task, acts, device))
    clock = Clock(end, time.perf_counter())
    with suppress(Enough):
        parts.time("train", lambda: trainer.fit(clock))
    if clock.steps < steps:
        parts.seconds["train"] = clock.seconds(steps)
    remembered: Memory = parts.time("remember", lambda: trainer.remember(made.CATEGORIES))
    shown = published.centre_views(shape, published.Noise(shape, task + TASKS), model, device)
    count = min(len(shown), shape.gallery)
    parts.time(
        "gallery", lambda: [model.encode_frames(shown.read(i)[None]) for i in range(count)], shape.gallery / count
    )
    captions, tasks = made.captions(shape.size, shape.gallery * task), range(1, task + 1)
    parts.time("queries", lambda: encode_as_tasks(model, captions, tasks, device))
    return remembered, f"{clock.steps} of {steps}"


@dataclass
class Clock:
    """A callback after each training step, which stops the training at `end`, but not before the second step.

    begun: the start of the training. Times are of `time.perf_counter`.
    """

    end: float
    begun: float
    steps: int = 0
    first: float = 0.0  # when the first step was logged
    last: float = 0.0

    def __call__(self, row: dict[str, float]) -> None:
        self.steps, self.last = self.steps + 1, time.perf_counter()
        if self.steps == 1:
            self.first = self.last
        elif self.last >= self.end:
            raise Enough

    def seconds(self, steps: int) -> float:
        """Seconds of so many steps: the start and the first step once, and the others as those that were timed."""
        each = (self.last - self.first) / (self.steps - 1)
        return self.first - self.begun + (steps - 1) * each


class Parts:
    """Seconds of named parts on a device."""

    def __init__(self, device: torch.device):
        self.device = device
        self.seconds: dict[str, float] = {}

    def time(self, name: str, part: Callable[[], Any], times: float = 1.0) -> Any:
        """Call `part` and return its result. Notes its seconds, multiplied by `times`."""
        start = time.perf_counter()
        try:
            with torch.set_grad_enabled(name == "train"):
                return part()
        finally:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self.seconds[name] = times * (time.perf_counter() - start)


def extrapolated(run: list[dict[str, float]]) -> float:
    """Seconds of ten tasks, if eight more are like the second.

    Task t has t times the first task's queries, each encoded t times.
    """
    first, second = run
    same = sum(first[part] + (TASKS - 1) * second[part] for part in first if part != "queries")
    each = (first["queries"] + second["queries"]) / (1 + 4)
    return same + each * sum(t**2 for t in range(1, TASKS + 1))


if __name__ == "__main__":
    typer.run(gpu)
