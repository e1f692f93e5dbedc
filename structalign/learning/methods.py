"""The table of methods: each is a row over one training loop (method, sections 6 and 7; docs/methods.md)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from structalign.errors import UserError
from structalign.learning import batches as cutting
from structalign.learning import hooks, keeping, released, terms
from structalign.learning import optimiser as moving
from structalign.learning.batches import Pairs
from structalign.learning.losses import PSEUDO_SCALE
from structalign.learning.memory import Memory
from structalign.learning.task import Scale, Task
from structalign.learning.terms import Term
from structalign.model.video_text import VideoText
from structalign.sections.optim import Phase, Shared


def configured(task: Task) -> float:
    """`contrastive.scale`."""
    return task.settings.contrastive.scale


def published(task: Task) -> float:
    """e^4.60."""
    return PSEUDO_SCALE


def own(task: Task) -> Tensor:
    """CLIP's own temperature, which learns where CLIP does."""
    return task.model.clip.temperature


CONTRASTIVE = Term("contrastive", terms.contrastive)


@dataclass(frozen=True)
class Method:
    """One row.

    builds: parts around CLIP (`model.video_text`); queries are routed per task where a part routes.
    trains: groups of parameters that learn.
    reads: what a video comes as, and so from which depth the vision tower runs.
    comparison: what a video is stored as and how it is scored, a row of `search.heads`.
    scale: the factor that makes logits of similarities. terms: the addends of the loss, in order.
    optimiser: what moves the groups. rate: the factor on its rates in a step of all. batches: those of an epoch.
    keeps: what the checkpoint remembers of a task.
    after_step: called before the first step and after each one. after_task: called after the last one.
    """

    builds: tuple[str, ...] = ("fusion", "lora")
    trains: tuple[str, ...] = ("fusion", "alpha", "lora", "router", "task_prototypes")
    reads: str = "states"
    comparison: str = "fused"
    scale: Scale = configured
    terms: tuple[Term, ...] = (CONTRASTIVE,)
    optimiser: Callable[[VideoText, tuple[str, ...], int, Shared, Phase], Optimizer] = moving.optimiser
    rate: Callable[[int, int, float], float] = moving.schedule
    batches: Callable[[Pairs, int], Iterator[Pairs]] = cutting.batches
    keeps: Callable[[Task, int], Memory] = keeping.nothing
    after_step: Callable[[Task, int, int], None] = hooks.no_step
    after_task: Callable[[Task], None] = hooks.no_end


STRUCTALIGN = (
    CONTRASTIVE,
    Term("crp", terms.crp, section="crp", since=2, teacher=terms.crp_teacher),
    Term("etf", terms.etf, section="etf"),
    Term("pseudo", terms.pseudo, section="pseudo", since=2),
)


def tuned(*more: Term, **other: Any) -> Method:
    """All of CLIP fine-tuned from pixels on mean-pooled frames (CLIP4Clip), with `more` terms."""
    row = Method(("tower",), ("tower",), "pixels", "mean", own, (CONTRASTIVE, *more))
    return replace(row, **other)


METHODS = {
    "structalign": Method(
        trains=("fusion", "alpha", "lora", "router", "task_prototypes", "head"),
        terms=STRUCTALIGN,
        keeps=keeping.prototypes,
    ),
    "structalign_released": Method(
        trains=("fusion", "alpha", "lora", "router", "task_prototypes", "head"),
        scale=released.scale,
        terms=released.TERMS,
        optimiser=released.optimiser,
        rate=released.whole_cosine,
        batches=released.full_batches,
        keeps=released.pseudo_features,
        after_step=released.set_temperature,
        after_task=released.forget_leftovers,
    ),
    "finetune": Method(),
    "zero_shot": Method(builds=(), trains=(), terms=()),
    "head_only": Method(
        builds=("maps",),
        trains=("maps", "head"),
        reads="embeddings",
        terms=STRUCTALIGN,
        keeps=keeping.prototypes,
    ),
    "clip4clip": tuned(),
    "lwf": tuned(Term("lwf", terms.lwf, since=2, teacher=terms.previous)),
    "vr_lwf": tuned(Term("vr_lwf", terms.vr_lwf, since=2, teacher=terms.vocabulary_teacher)),
    "zscl": tuned(
        Term("zscl", terms.zscl, teacher=terms.pretrained),
        after_step=hooks.average_weights,
        after_task=hooks.take_average,
    ),
    "xpool": tuned(builds=("tower", "pooling"), trains=("tower", "pooling"), comparison="pooled"),
    "moe_adapter": Method(
        builds=("moe",),
        trains=("experts", "routers"),
        comparison="mean",
        scale=own,
        after_task=hooks.freeze_experts,
    ),
    "stablefusion": Method(
        comparison="raw_mean",
        scale=published,
        terms=(Term("contrastive", terms.softened), Term("stored", terms.against_stored, since=2)),
        keeps=keeping.video_vectors,
    ),
    "replay": Method(terms=(Term("contrastive", terms.with_past),), keeps=keeping.past_pairs),
}


def method_named(name: str) -> Method:
    """The row `name` of the table; an unknown one is a `UserError`."""
    if name not in METHODS:
        raise UserError(f"`method.name` = {name!r} is no method: choose one of {', '.join(METHODS)}.")
    return METHODS[name]
