"""Learning without Forgetting: the batch's similarities are distilled from the previous model.

Li and Hoiem, "Learning without Forgetting", arXiv 1606.09282, in the form that CLIP baselines use.
"""

from torch import Tensor

from structalign.learning import losses
from structalign.learning.context import Batch, TaskContext
from structalign.learning.distillation import TEMPERATURE, previous_model, teacher_logits
from structalign.learning.fine_tuning import fine_tuned
from structalign.learning.method import Term


def lwf(task: TaskContext, batch: Batch) -> Tensor:
    """Distillation of the batch's similarities, rows and columns, from the previous model."""
    (teacher,) = task.teachers
    return losses.relation(batch.logits[0], teacher_logits(task, batch, teacher)[0], TEMPERATURE)


METHOD = fine_tuned(Term("lwf", lwf, since=2, teachers=previous_model))
