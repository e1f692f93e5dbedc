"""The one training loop: a task is learned from its own pairs, the checkpoint before and what that remembers.

Everything random is keyed by (seed, name, task, step), so a task's result depends on nothing but its inputs.
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
from structalign.learning.memory import Memory
from structalign.learning.method import Method
from structalign.learning.resume import LogRow, Progress
from structalign.learning.settings import Settings
from structalign.model.adapters import share_used
from structalign.model.device import ASYNCHRONOUS, Fetched, env_flag, matrix_products
from structalign.model.features import VideoSource
from structalign.model.video_text import VideoText
from structalign.search.similarity_heads import HEADS
from structalign.seeds import seed_of


@dataclass(frozen=True)
class Taken:
    """What a step came to, once its numbers have arrived; before and after: what the log says around them."""

    failure: str
    names: list[str]
    numbers: Fetched
    before: LogRow = field(default_factory=dict)
    after: LogRow = field(default_factory=dict)

    def row(self) -> LogRow:
        """The step's row of the log. A `UserError` where loss or gradient are no numbers: the model is spoilt."""
        values = dict(zip(self.names, self.numbers.tolist(), strict=True))
        if not math.isfinite(values["loss"] + values["grad_norm"]):
            raise UserError(f"{self.failure} ({values}): lower the rates in `optim`.")
        return {**self.before, **values, **self.after}


class Trainer(TaskContext):
    """A task that a method learns."""

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
        self.method = method
        self.experts = self.model.experts()
        self.used = share_used(self.experts, device)
        self.terms = [term for term in method.terms if term.acts(self)]
        for term in self.terms:
            if term.teacher is not None:
                self.teacher = term.teacher(self)

    def losses(self, pairs: Pairs, *key: str | int) -> dict[str, Tensor]:
        """Named addends of the loss of a batch, weighted: their sum is what is minimised (method, section 5)."""
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
        """Train for the phase's epochs; `log` gets one row of numbers a step, on a GPU, which runs ahead, a step late.

        In the folder `scratch` progress is saved, and that of an interrupted run taken up: the result is the same.
        """
        with matrix_products(self.settings.backbone.precision):
            self._fit(log, scratch)

    def _fit(self, log: Callable[[LogRow], None], scratch: Path | None) -> None:
        settings, shared, phase = self.settings, self.settings.shared, self.settings.phase
        epochs = range(phase.epochs)
        plan = [(epoch, pairs) for epoch in epochs for pairs in self.method.batches(self.epoch(epoch), shared.batch)]
        if not plan:
            raise UserError(f"task {self.number} has fewer than two training pairs: add videos and captions for it.")
        optimizer = self.start()
        graphs = env_flag("STRUCTALIGN_GRAPHS", default=not env_flag("STRUCTALIGN_COMPILE"))
        if self.device.type == "cuda" and graphs and not several():
            self.record(plan[0][1])  # before another thread reads ahead: nothing else may use the GPU meanwhile
        self.method.after_step(self, 0, len(plan))
        progress = Progress(scratch, optimizer, self.state | self.model.counters())
        rows = progress.resume()
        for row in rows:
            log(row)
        left = plan[len(rows) :]
        ahead = self.reading_ahead([pairs for _, pairs in left])
        taken: list[Taken] = []  # steps that are not logged yet: to ask for their numbers is to wait for the device

        def settle() -> None:
            for done in taken:
                rows.append(done.row())
                log(rows[-1])
            taken.clear()

        for step, pairs in enumerate(track(ahead, f"train task {self.number}", len(left)), start=len(rows)):
            key = (settings.seed, self.number, step)
            torch.manual_seed(seed_of("step", *key, *([process_number()] if process_number() else [])))
            factor = self.method.rate(step, len(plan), phase.warmup)
            one = self.take_step(optimizer, factor, pairs, *key)
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
        """The model in the mode that it learns in, and a fresh optimizer of what learns."""
        self.model.train()
        self.model.clip.model.eval()
        for wrapper in self.model.wrappers():
            wrapper.train()
        settings = self.settings
        return self.method.optimizer(self.model, self.method.trains, self.number, settings.shared, settings.phase)

    def step(self, optimizer: Optimizer, factor: float, pairs: Pairs, *key: str | int) -> LogRow:
        """One update on a batch, at `factor` times the learning rates; what is logged of it."""
        return self.take_step(optimizer, factor, pairs, *key).row()

    def take_step(self, optimizer: Optimizer, factor: float, pairs: Pairs, *key: str | int) -> "Taken":
        """`step`, which a device may still be at when this returns."""
        for group in optimizer.param_groups:
            group["lr"] = factor * group["initial_lr"]
        self.used.zero_()
        with all_reduce_counts(self.model.counts()):
            terms = self.losses(pairs, *key)
        used = Fetched(any_process(self.used))  # arrives during the backward pass
        total = sum(terms.values(), torch.zeros((), device=self.device))
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        learning = [p for group in optimizer.param_groups for p in group["params"]]
        sync_gradients(learning)
        for expert, chosen in zip(self.experts, used.tolist(), strict=True):
            expert.drop_gradients(chosen)
        logged = {"loss": total, **terms, "grad_norm": self.clip(learning)}
        optimizer.step()
        numbers = Fetched(torch.stack(list(logged.values())))
        return Taken(f"task {self.number} diverged at step {key[-1]}", list(logged), numbers)

    def clip(self, learning: list[nn.Parameter]) -> Tensor:
        """Clip the gradients in place; their global norm before."""
        return torch.nn.utils.clip_grad_norm_(learning, self.settings.shared.clip)

    @property
    def trained_parameters(self) -> int:
        """How many numbers learn in this task, once `fit` has begun."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)

    def remember(self, categories: int) -> Memory:
        """The memory after this task, which brought `categories` new ones."""
        self.model.eval()
        return self.method.update_memory(self, categories)
