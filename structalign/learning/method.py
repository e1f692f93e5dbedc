"""What a method is: one value over the one training loop (method, sections 6 and 7; docs/methods.md).

The defaults are those of `finetune`: the contrastive loss alone, and nothing remembered. The methods are in
`learning.methods`, a file each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.optim import Optimizer

from structalign.learning import losses
from structalign.learning.batches import Pairs, batches
from structalign.learning.context import Batch, Scale, TaskContext, Teacher
from structalign.learning.memory import Memory
from structalign.learning.optimizer import optimizer, schedule
from structalign.model.device import send
from structalign.model.video_text import VideoText
from structalign.params.losses import Contrastive, WeightedLoss
from structalign.params.optim import Phase, Shared


@dataclass(frozen=True)
class Term:
    """An addend of a batch: `loss` times its weight.

    section: of params.yaml, whose `since` and weight say whether it acts; without one it acts from task `since` on.
    teacher: what is computed once, before the task's first step. weight: of this loss, given its value; if None, the
    section's, or 1 without a section.
    """

    name: str
    loss: Callable[[TaskContext, Batch], Tensor]
    section: type[WeightedLoss] | None = None
    since: int = 1
    teacher: Callable[[TaskContext], Teacher] | None = None
    weight: Callable[[TaskContext, Batch, Tensor], float | Tensor] | None = None

    def acts(self, task: TaskContext) -> bool:
        """Whether the term is part of the task's loss."""
        return task.number >= self.since and (self.section is None or task.settings.acts(self.section))

    def weigh(self, task: TaskContext, batch: Batch, loss: Tensor) -> Tensor:
        """The addend whose loss is given."""
        if self.weight is not None:
            return self.weight(task, batch, loss) * loss
        return loss if self.section is None else task.settings[self.section].weight * loss


def contrastive(task: TaskContext, batch: Batch) -> Tensor:
    """L_con on the batch, with logit adjustment where it is on."""
    video, category = task.video_ids(batch.pairs.video), task.captions.category[batch.pairs.caption]
    adjustment = None if task.adjustment is None else send(task.adjustment[category], task.device)
    return task.add_sentence_loss([losses.contrastive(logits, video, adjustment) for logits in batch.logits])


CONTRASTIVE = Term("contrastive", contrastive)


def configured_scale(task: TaskContext) -> float:
    """`contrastive.scale`."""
    return task.settings[Contrastive].scale


def same_memory(task: TaskContext, categories: int) -> Memory:
    """What was remembered before: the task leaves nothing."""
    return task.memory


def no_step(task: TaskContext, step: int, steps: int) -> None:
    """Nothing after a step."""


def no_end(task: TaskContext) -> None:
    """Nothing after the last step."""


@dataclass(frozen=True)
class Method:
    """What is trained, and how.

    modules: modules around CLIP (`model.video_text`); queries are routed per task where a module routes.
    trains: groups of parameters that learn.
    input_kind: what a video comes as, and so from which depth the vision tower runs.
    similarity: what a video is stored as and how it is scored, a head of `search.similarity_heads`.
    scale: the factor that makes logits of similarities. terms: the addends of the loss, in order.
    optimizer: what moves the groups. rate: the factor on its rates in a step of all. batches: those of an epoch.
    update_memory: the memory after a task, which brought so many categories.
    after_step: called before the first step and after each one, with how many are done and how many there are.
    after_task: called after the last one. What both need from step to step is in `TaskContext.state`.
    """

    modules: tuple[str, ...] = ("fusion", "lora")
    trains: tuple[str, ...] = ("fusion", "alpha", "lora", "router", "task_prototypes")
    input_kind: str = "states"
    similarity: str = "fused"
    scale: Scale = configured_scale
    terms: tuple[Term, ...] = (CONTRASTIVE,)
    optimizer: Callable[[VideoText, tuple[str, ...], int, Shared, Phase], Optimizer] = optimizer
    rate: Callable[[int, int, float], float] = schedule
    batches: Callable[[Pairs, int], Iterator[Pairs]] = batches
    update_memory: Callable[[TaskContext, int], Memory] = same_memory
    after_step: Callable[[TaskContext, int, int], None] = no_step
    after_task: Callable[[TaskContext], None] = no_end
