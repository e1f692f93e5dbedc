"""Teachers and their outputs for a batch, shared by LwF, VR-LwF, ZSCL and StructAlign's L_CRP."""

from torch import Tensor

from structalign.learning.context import Batch, TaskContext, Teacher
from structalign.model.video_text import TextEmbeddings

TEMPERATURE = 2.0  # T of LwF, VR-LwF and ZSCL, as published (Hinton's T; ZSCL, section 4)


def previous_model(task: TaskContext) -> Teacher:
    """The model as the task before left it, routed as that task."""
    return task.teach(max(1, task.number - 1))


def pretrained_clip(task: TaskContext) -> Teacher:
    """Zero-shot CLIP."""
    with task.model.frozen():
        return task.teach(max(1, task.number - 1))


def teacher_embeddings(task: TaskContext, batch: Batch) -> tuple[TextEmbeddings, Tensor]:
    """The teacher's text embeddings and frames [B, N, D] of the batch."""
    assert task.teacher is not None
    return task.teacher.text(batch.pairs.caption), task.teacher.frames(batch.pairs)


def teacher_logits(task: TaskContext, batch: Batch) -> list[Tensor]:
    """The teacher's logits of the batch."""
    text, frames = teacher_embeddings(task, batch)
    return task.logits(text, frames)
