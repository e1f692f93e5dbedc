"""A LoRA that only its task trains, and random captions as negatives. Ours, not the paper's.

The text tower's adapters of a task begin at zero-shot CLIP and stay as the task leaves them. A query that is read as
task p is compared with videos of p by what learned them together, so nothing of it can be forgotten. An adapter has
never read a query about another task. Random captions stand for these: a video's own caption must win against them.
"""

from torch import Tensor

from structalign.learning import losses
from structalign.learning.batches import cyclic_rows
from structalign.learning.context import Batch, TaskContext
from structalign.learning.method import CONTRASTIVE, Method, Term
from structalign.learning.vocabulary import CAPTIONS, own_vocabulary
from structalign.params.losses import RandomNegatives


def random_negatives(task: TaskContext, batch: Batch) -> Tensor:
    """L_neg = mean_b CE([S(caption_b, video_b), S(r_1, video_b), ..., S(r_B, video_b)], 0) over B random captions r, in
    turn, of the words of the task's own captions."""
    rows = cyclic_rows(CAPTIONS, len(batch.pairs.video), batch.step)
    against = task.logits(task.embed_text(own_vocabulary(task)[rows]), batch.frames)
    return task.add_sentence_loss(
        [losses.among_negatives(s.diag(), r.T) for s, r in zip(batch.logits, against, strict=True)]
    )


METHOD = Method(
    modules=("fusion", "task_lora"),
    trains=("fusion", "alpha", "lora"),
    terms=(CONTRASTIVE, Term("random_negatives", random_negatives, RandomNegatives)),
)
