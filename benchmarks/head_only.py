"""A whole run of `head_only`: ten tasks in sequence, and after each a ranking of all seen queries.

Only training and ranking take time. The frozen embeddings of videos are random vectors. Those of captions come from
a text tower too small to matter. With fewer tasks, epochs or videos, the time of the whole run is projected: the cost
of a step does not change, nor does the cost of one query's score for one video.
"""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn import functional as F

from benchmarks import made
from benchmarks.measuring import MIB, Memory
from benchmarks.table import machine
from structalign.evaluation.metrics import measure
from structalign.evaluation.ranks import rank
from structalign.evaluation.score_files import queries_at_once
from structalign.learning.init_task import from_scratch
from structalign.learning.loading import load_method
from structalign.learning.memory import Memory as Remembered
from structalign.learning.trainer import Trainer
from structalign.model.backbone import Clip, Tokens
from structalign.model.device import prepare_device
from structalign.model.features import CENTRE, Captions
from structalign.model.video_text import VideoText
from structalign.params.ranking import Ranking
from structalign.search.encoder import Encoder
from structalign.search.index import Gallery
from structalign.search.scoring import score_in_blocks
from structalign.search.signal import Statistics, observe, states
from structalign.search.similarity_heads import HEADS
from structalign.store import write_json

TASKS, EPOCHS, VIDEOS, EACH, SHOWN, BATCH = 10, 20, 320, 20, 2990, 32  # MSRVTT-10
GOAL = 180.0  # seconds
METHOD = "head_only"


@dataclass(frozen=True)
class Held:
    """Random frozen embeddings [V, N, D] of videos, with one training view, and their captions."""

    frames: Tensor
    spoken: Captions
    views: int = 1

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, video: int, view: str = CENTRE) -> Tensor:
        return self.frames[video]

    def captions(self) -> Captions:
        return self.spoken


@dataclass
class Run:
    """The state of a chain of tasks, and the seconds of its parts."""

    clip: Clip
    size: made.Size
    device: torch.device
    galleries: list[Gallery] = field(default_factory=list)
    observed: list[Statistics] = field(default_factory=list)  # of the signals, one for each task
    steps: int = 0
    cells: int = 0
    step_seconds: float = 0.0
    task_seconds: float = 0.0
    ranking_seconds: float = 0.0


def head_only(
    tasks: Annotated[int, typer.Option(min=1, max=TASKS, help="tasks to run")] = TASKS,
    epochs: Annotated[int, typer.Option(min=1, help="epochs of a task")] = EPOCHS,
    videos: Annotated[int, typer.Option(min=40, help="training videos of ten tasks together")] = VIDEOS,
    shown: Annotated[
        int, typer.Option(min=40, help="gallery videos of ten tasks together, with one query each")
    ] = SHOWN,
    frames: Annotated[int, typer.Option(min=1, help="frames of a video")] = 12,
    tiny: Annotated[bool, typer.Option("--toy", help="a tiny CLIP, to try the command")] = False,
    json: Annotated[Path, typer.Option("--json", help="file for the results")] = Path("head-only.json"),
) -> None:
    """A run of the size of MSRVTT-10, with the method that trains maps over frozen embeddings."""
    device = prepare_device()
    size = made.Size(**{**vars(made.TINY), "dim": made.TINY.dim if tiny else made.VIT_B_32.dim, "positions": 77})
    with Memory() as memory:
        done = chain(made.random_clip(size), size, tasks, epochs, videos // TASKS, shown // TASKS, frames, device)
    whole = tasks == TASKS and epochs == EPOCHS and videos == VIDEOS and shown == SHOWN
    seconds = done.step_seconds + done.task_seconds + done.ranking_seconds if whole else projected(done, tasks)
    verb = "measured" if whole else "projected"
    row = {
        "name": "head_only, MSRVTT-10",
        "seconds": round(seconds, 1),
        "how": verb,
        "goal_seconds": GOAL,
        "steps": done.steps,
        "step_milliseconds": round(1000 * done.step_seconds / done.steps, 3),
        "step_seconds": round(done.step_seconds, 2),
        "task_seconds": round(done.task_seconds, 2),
        "ranking_seconds": round(done.ranking_seconds, 2),
        "own_peak_mib": memory.own // MIB,
    }
    typer.echo(
        f"head_only: {seconds:.0f} s {verb} (goal {GOAL:.0f}); this run: {done.steps} steps of "
        f"{row['step_milliseconds']} ms, {done.task_seconds:.1f} s around them, {done.ranking_seconds:.1f} s to rank, "
        f"peak {row['own_peak_mib']} MiB"
    )
    write_json(json, {"machine": machine(), **row})


def projected(done: Run, tasks: int) -> float:
    """Seconds of the whole run."""
    steps = TASKS * EPOCHS * -(-VIDEOS // TASKS * EACH // BATCH)
    cells = sum((SHOWN // TASKS * t) ** 2 for t in range(1, TASKS + 1))
    return (
        done.step_seconds / done.steps * steps
        + done.task_seconds / tasks * TASKS
        + done.ranking_seconds / done.cells * cells
    )


def chain(
    clip: Clip, size: made.Size, tasks: int, epochs: int, videos: int, shown: int, frames: int, device: torch.device
) -> Run:
    """Train and rank task after task. videos: training videos of a task. shown: its gallery videos."""
    run = Run(clip.to(device), size, device)
    spoken = made.captions(size, tasks * shown, seed=1)
    model, memory = from_scratch(clip, load_method(METHOD), made.settings(size, 1, BATCH, "fp32"), frames)
    for number in range(1, tasks + 1):
        source = torch.Generator().manual_seed(number)
        memory = learn(run, model, memory, number, epochs, torch.randn(videos, frames, size.dim, generator=source))
        begun = time.perf_counter()
        add_gallery(run, model, number, torch.randn(shown, frames, size.dim, generator=source))
        rank_all(run, model, Tokens(spoken.ids[: number * shown], spoken.eot[: number * shown]))
        run.ranking_seconds += time.perf_counter() - begun
        typer.echo(f"task {number}: {run.steps} steps, {run.step_seconds:.1f} + {run.ranking_seconds:.1f} s so far")
    return run


def learn(run: Run, model: VideoText, memory: Remembered, number: int, epochs: int, seen: Tensor) -> Remembered:
    """Train on a task's videos as the train stage does. Returns the memory."""
    begun = time.perf_counter()
    video = torch.arange(len(seen)).repeat_interleave(EACH)
    first = made.CATEGORIES * (number - 1)
    spoken = Captions(made.captions(run.size, len(video), number), video, first + video % made.CATEGORIES)
    acts = made.settings(run.size, number, BATCH, "fp32", epochs)
    trainer = Trainer(model, load_method(METHOD), Held(seen, spoken), memory, number, acts, run.device)
    rows: list[object] = []
    start = time.perf_counter()
    trainer.fit(rows.append)
    spent = time.perf_counter() - start
    run.steps += len(rows)
    run.step_seconds += spent
    remembered = trainer.remember(made.CATEGORIES)
    run.observed.append(observe(encoder_of(run, model).zero_shot(spoken.tokens), spoken.category, number))
    run.task_seconds += time.perf_counter() - begun - spent
    return remembered


@torch.no_grad()
def add_gallery(run: Run, model: VideoText, number: int, seen: Tensor) -> None:
    """Embed a task's gallery videos and store them."""
    silent = Captions(made.captions(run.size, 1), torch.zeros(1), torch.zeros(1))
    frames = encoder_of(run, model).videos(Held(seen, silent), "embed")
    times = list(range(seen.shape[1]))
    rows = [{"id": f"{number}-{v}", "task": f"t{number}", "times": times} for v in range(len(seen))]
    run.galleries.append(
        Gallery(f"t{number}", number, number, rows, F.normalize(frames, dim=-1), F.normalize(seen, dim=-1))
    )


def encoder_of(run: Run, model: VideoText) -> Encoder:
    return Encoder(run.clip, model, HEADS[load_method(METHOD).similarity], run.device)


@torch.no_grad()
def rank_all(run: Run, model: VideoText, tokens: Tokens) -> None:
    """Score and rank the queries of all seen tasks, one for each video, against all galleries."""
    video_tasks = [row["task"] for part in run.galleries for row in part.rows]
    ground_truth, at_once = np.arange(len(video_tasks)), queries_at_once(len(video_tasks), len(video_tasks))
    galleries, encoder = run.galleries, encoder_of(run, model)
    blocks = score_in_blocks(encoder, tokens, video_tasks, galleries, states(run.observed), "rank", at_once)
    arrays = ({name: x.numpy() for name, x in found.items()} for found, _ in blocks)
    ranks = rank(arrays, ground_truth, video_tasks, Ranking(beta=0.5, task_prior=0.1))
    for system in ("method", "zero_shot"):
        measure(ranks, system, ground_truth, video_tasks, [part.task for part in galleries])
    run.cells += len(ground_truth) ** 2
