"""One LoRA per task, and random captions as negatives. The method is ours, not the paper's.

A task's adapters in the text tower start at zero-shot CLIP and do not change after the task. A query routed as task p
is compared with videos of p by the adapters that learned with them, so nothing of it can be forgotten. An adapter never
sees a query about another task. Random captions stand in for these: a video's own caption must score higher.
"""

from torch import Tensor

from structalign.learning import losses
from structalign.learning.batches import cyclic_rows
from structalign.learning.context import Batch, TaskContext
from structalign.learning.method import CONTRASTIVE, Method, Term
from structalign.learning.vocabulary import CAPTIONS, own_vocabulary
from structalign.params.losses import RandomNegatives


def random_negatives(task: TaskContext, batch: Batch) -> Tensor:
    """L_neg = mean_b CE([S(caption_b, video_b), S(r_1, video_b), ..., S(r_B, video_b)], 0) over B random captions r.

    They consist of words of the task's own captions. Steps take them in turn.
    """
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
