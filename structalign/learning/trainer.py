"""The training loop of all methods. A task is learned from its own pairs, the previous checkpoint and its memory.

All random numbers are keyed by (seed, name, task, step), so a task's result depends only on its inputs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from structalign.console import track
from structalign.errors import UserError
from structalign.learning.batches import Pairs
from structalign.learning.context import Batch, TaskContext
from structalign.learning.distributed import (
    all_reduce_counts,
    any_process,
    process_number,
    several,
    sync_gradients,
)
from structalign.learning.gradients import shares_and_angles
from structalign.learning.memory import Memory
from structalign.learning.method import Method
from structalign.learning.resume import LogRow, Progress
from structalign.learning.settings import Settings
from structalign.learning.vertices import grown_vertices
from structalign.model.adapters import share_used
from structalign.model.device import ASYNCHRONOUS, Fetched, env_flag, matrix_products
from structalign.model.features import VideoSource
from structalign.model.video_text import VideoText
from structalign.search.similarity_heads import HEADS
from structalign.seeds import seed_of


@dataclass(frozen=True)
class Taken:
    """A step whose numbers may not have arrived from the device yet.

    failure: start of the error message if the step diverged. before, after: entries of the log row around the numbers.
    """

    failure: str
    names: list[str]
    numbers: Fetched
    before: LogRow = field(default_factory=dict)
    after: LogRow = field(default_factory=dict)

    def row(self) -> LogRow:
        """The step's log row. Raises `UserError` if the loss or the gradient norm is not finite."""
        values = dict(zip(self.names, self.numbers.tolist(), strict=True))
        if not math.isfinite(values["loss"] + values["grad_norm"]):
            raise UserError(f"{self.failure} ({values}): lower the learning rates in `optim`.")
        return {**self.before, **values, **self.after}


class Trainer(TaskContext):
    """Trains a method on one task."""

    def __init__(
        self,
        model: VideoText,
        method: Method,
        features: VideoSource,
        memory: Memory,
        number: int,
        settings: Settings,
        device: torch.device,
    ):
        similarity = HEADS[method.similarity]
        super().__init__(model, features, memory, number, settings, device, similarity, method.scale)
        self.memory = grown_vertices(self)
        self.method = method
        self.experts = self.model.experts()
        self.used = share_used(self.experts, device)
        self.terms = [term for term in method.terms if term.acts(self)]
        for term in self.terms:
            if term.teachers is not None:
                self.teachers = term.teachers(self)

    def losses(self, pairs: Pairs, *key: str | int) -> dict[str, Tensor]:
        """The weighted addends of a batch's loss, by name. Their sum is minimised (method, section 5)."""
        return self.forward(pairs, *key).addends

    def forward(self, pairs: Pairs, *key: str | int) -> Batch:
        """A batch with all of its losses."""
        text, frames = self.embed(pairs)
        batch = Batch(pairs, text, frames, self.logits(text, frames), key)
        for term in self.terms:
            batch.unweighted[term.name] = loss = term.loss(self, batch)
            batch.addends[term.name] = term.weigh(self, batch, loss)
        return batch

    def fit(self, log: Callable[[LogRow], None], scratch: Path | None = None) -> None:
        """Train for the phase's epochs. `log` gets one row of numbers per step. On a GPU it gets each row a step later.

        The first row of an epoch has the addends' gradients (`learning.gradients`).
        Progress is saved in the folder `scratch`. An interrupted run resumes from it with the same result.
        """
        optimizer = self.start()
        with matrix_products(self.settings.backbone.precision), self.frozen_cast_once():
            self._fit(optimizer, log, scratch)

    def _fit(self, optimizer: Optimizer, log: Callable[[LogRow], None], scratch: Path | None) -> None:
        settings, shared, phase = self.settings, self.settings.shared, self.settings.phase
        epochs = range(phase.epochs)
        plan = [(epoch, pairs) for epoch in epochs for pairs in self.method.batches(self.epoch(epoch), shared.batch)]
        if not plan:
            raise UserError(f"task {self.number} has fewer than two training pairs: add videos and captions for it.")
        graphs = env_flag("STRUCTALIGN_GRAPHS", default=not env_flag("STRUCTALIGN_COMPILE"))
        if self.device.type == "cuda" and graphs and not several():
            self.record(plan[0][1])  # before reading ahead begins: no other thread may use the GPU now
        self.method.after_step(self, 0, len(plan))
        progress = Progress(scratch, optimizer, self.state | self.model.counters())
        rows = progress.resume()
        for row in rows:
            log(row)
        left = plan[len(rows) :]
        ahead = self.reading_ahead([pairs for _, pairs in left])
        taken: list[Taken] = []  # steps that are not logged yet: reading their numbers waits for the device

        def settle() -> None:
            for done in taken:
                rows.append(done.row())
                log(rows[-1])
            taken.clear()

        for step, pairs in enumerate(track(ahead, f"train task {self.number}", len(left)), start=len(rows)):
            key = (settings.seed, self.number, step)
            torch.manual_seed(seed_of("step", *key, *([process_number()] if process_number() else [])))
            factor = self.method.rate(step, len(plan), phase.warmup)
            first = step == 0 or plan[step][0] != plan[step - 1][0]
            one = self.take_step(optimizer, factor, pairs, *key, measured=first)
            self.method.after_step(self, step + 1, len(plan))
            settle()
            taken.append(replace(one, before={"step": step, "epoch": plan[step][0]}, after={"lr": factor * phase.lr}))
            due = process_number() == 0 and progress.due()
            if due or self.device.type not in ASYNCHRONOUS:
                settle()
            if due:
                progress.save(rows)
        settle()
        self.method.after_task(self)
        self.model.eval()

    def start(self) -> Optimizer:
        """Put the model into training mode. Returns a new optimizer of the parameters that learn."""
        self.model.train()
        self.model.clip.model.eval()
        for wrapper in self.model.wrappers():
            wrapper.train()
        settings = self.settings
        return self.method.optimizer(self.model, self.method.trains, self.number, settings.shared, settings.phase)

    def step(self, optimizer: Optimizer, factor: float, pairs: Pairs, *key: str | int) -> LogRow:
        """One update on a batch, at `factor` times the learning rates. Returns its log row."""
        return self.take_step(optimizer, factor, pairs, *key).row()

    def take_step(
        self, optimizer: Optimizer, factor: float, pairs: Pairs, *key: str | int, measured: bool = False
    ) -> "Taken":
        """`step`, but without waiting for the device. measured: log the addends' gradients, too."""
        for group in optimizer.param_groups:
            group["lr"] = factor * group["initial_lr"]
        self.used.zero_()
        with all_reduce_counts(self.model.counts()):
            batch = self.forward(pairs, *key)
        used = Fetched(any_process(self.used))  # arrives during the backward pass
        gradients = shares_and_angles(batch) if measured else {}
        total = sum(batch.addends.values(), torch.zeros((), device=self.device))
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        learning = [p for group in optimizer.param_groups for p in group["params"]]
        sync_gradients(learning)
        for expert, chosen in zip(self.experts, used.tolist(), strict=True):
            expert.drop_gradients(chosen)
        logged = {"loss": total, **batch.addends, "grad_norm": self.clip(learning), **gradients}
        optimizer.step()
        numbers = Fetched(torch.stack(list(logged.values())))
        return Taken(f"task {self.number} diverged at step {key[-1]}", list(logged), numbers)

    def clip(self, learning: list[nn.Parameter]) -> Tensor:
        """Clip the gradients in place. Returns their global norm before clipping."""
        return torch.nn.utils.clip_grad_norm_(learning, self.settings.shared.clip)

    @property
    def trained_parameters(self) -> int:
        """Number of trainable parameters in this task, once `fit` has begun."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def remember(self, categories: int) -> Memory:
        """The memory after this task, which has `categories` new categories."""
        self.model.eval()
        return self.method.update_memory(self, categories)
