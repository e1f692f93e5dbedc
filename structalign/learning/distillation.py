"""Teachers and their outputs for a batch, shared by LwF, VR-LwF, ZSCL and StructAlign's L_CRP."""

from torch import Tensor

from structalign.learning.context import Batch, TaskContext, Teacher

TEMPERATURE = 2.0  # T of LwF, VR-LwF and ZSCL, as published (Hinton's T; ZSCL, section 4)


def previous_model(task: TaskContext) -> list[Teacher]:
    """The model as the task before left it, routed as that task."""
    return [task.teach(max(1, task.number - 1))]


def pretrained_clip(task: TaskContext) -> list[Teacher]:
    """Zero-shot CLIP."""
    with task.model.frozen():
        return [task.teach(max(1, task.number - 1))]


def teacher_logits(task: TaskContext, batch: Batch, teacher: Teacher) -> list[Tensor]:
    """The teacher's logits of the batch."""
    return task.logits(teacher.text(batch.pairs.caption), teacher.frames(batch.pairs))
