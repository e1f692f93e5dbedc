"""A method as one value, which configures the common training loop (method, sections 6 and 7; docs/methods.md).

The defaults are those of `finetune`: only the contrastive loss, and no memory. Each method is a file of
`learning.methods`.
"""

from collections.abc import Callable, Iterator, Sequence
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
    """An addend of a batch's loss: `loss` times its weight.

    section: a section of params.yaml, whose `since` and weight decide whether the term acts. Without a section the term
    acts from task `since` on. teachers: makes its teachers, before the task's first step. weight: gives the weight for
    a value of the loss. If it is None, the weight is the section's, or 1 without a section.
    """

    name: str
    loss: Callable[[TaskContext, Batch], Tensor]
    section: type[WeightedLoss] | None = None
    since: int = 1
    teachers: Callable[[TaskContext], Sequence[Teacher]] | None = None
    weight: Callable[[TaskContext, Batch, Tensor], float | Tensor] | None = None

    def acts(self, task: TaskContext) -> bool:
        """Whether the term is part of the task's loss."""
        return task.number >= self.since and (self.section is None or task.settings.acts(self.section))

    def weigh(self, task: TaskContext, batch: Batch, loss: Tensor) -> Tensor:
        """The given loss times its weight."""
        if self.weight is not None:
            return self.weight(task, batch, loss) * loss
        return loss if self.section is None else task.settings[self.section].weight * loss


def contrastive(task: TaskContext, batch: Batch) -> Tensor:
    """L_con on the batch, with logit adjustment if it is on."""
    video, category = task.video_ids(batch.pairs.video), task.captions.category[batch.pairs.caption]
    adjustment = None if task.adjustment is None else send(task.adjustment[category], task.device)
    return task.add_sentence_loss([losses.contrastive(logits, video, adjustment) for logits in batch.logits])


CONTRASTIVE = Term("contrastive", contrastive)


def configured_scale(task: TaskContext) -> float:
    """`contrastive.scale`."""
    return task.settings[Contrastive].scale


def same_memory(task: TaskContext, categories: int) -> Memory:
    """The memory as it was before the task."""
    return task.memory


def no_step(task: TaskContext, step: int, steps: int) -> None:
    """Do nothing after a step."""


def no_end(task: TaskContext) -> None:
    """Do nothing after the last step."""


@dataclass(frozen=True)
class Method:
    """What is trained, and how.

    modules: modules around CLIP (`model.video_text`). If one of them routes, queries are routed per task.
    trains: groups of parameters that learn.
    input_kind: the kind of a video's input. It decides from which depth the vision tower runs.
    similarity: a head of `search.similarity_heads`. It decides what is stored of a video and how it is scored.
    scale: the factor that turns similarities into logits. terms: the addends of the loss, in order.
    optimizer: makes the optimizer of the groups. rate: the factor on the learning rates, given the step, the number of
    steps and the warm-up. batches: splits an epoch's pairs into batches.
    update_memory: the memory after a task, given its number of categories.
    after_step: called before the first step and after each step, with the number of steps done and of all steps.
    after_task: called after the last step. Both callbacks keep their state in `TaskContext.state`.
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
