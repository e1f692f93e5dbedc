"""VR-LwF: LwF on similarities to captions of random tokens, the replayed vocabulary.

Ding et al., "Don't Stop Learning: Towards Continual Learning for the CLIP Model", arXiv 2207.09248.
"""

from torch import Tensor

from structalign.learning import losses
from structalign.learning.batches import cyclic_rows
from structalign.learning.context import Batch, TaskContext, Teacher
from structalign.learning.distillation import TEMPERATURE
from structalign.learning.fine_tuning import fine_tuned
from structalign.learning.method import Term
from structalign.learning.vocabulary import CAPTIONS, vocabulary


def vocabulary_teacher(task: TaskContext) -> list[Teacher]:
    """The previous model's videos and its embeddings of the vocabulary."""
    return [task.teach(max(1, task.number - 1), vocabulary(task))]


def vr_lwf(task: TaskContext, batch: Batch) -> Tensor:
    """Distillation of each video's similarities to a part of the vocabulary. Steps take the parts in turn."""
    (teacher,) = task.teachers
    rows = cyclic_rows(CAPTIONS, len(batch.pairs.video), batch.step)
    frames = teacher.frames(batch.pairs)
    student = task.logits(task.embed_text(teacher.tokens[rows]), batch.frames)[0]
    taught = task.logits(teacher.text(rows), frames)[0]
    return losses.distil(student.T, taught.T.detach(), TEMPERATURE)


METHOD = fine_tuned(Term("vr_lwf", vr_lwf, since=2, teachers=vocabulary_teacher))
