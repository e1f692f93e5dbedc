"""VR-LwF: LwF whose old responses are similarities to captions of random tokens, a replayed vocabulary.

Ding et al., "Don't Stop Learning: Towards Continual Learning for the CLIP Model", arXiv 2207.09248.
"""

import torch
from torch import Tensor

from structalign.learning import losses
from structalign.learning.batches import cyclic_rows
from structalign.learning.context import Batch, TaskContext, Teacher
from structalign.learning.distillation import TEMPERATURE
from structalign.learning.fine_tuning import fine_tuned
from structalign.learning.method import Term
from structalign.model.adapters import generator
from structalign.model.backbone import Tokens

VOCABULARY, LENGTH = 512, 8  # random captions, and the tokens of each


def vocabulary(task: TaskContext) -> Tokens:
    """Captions of random tokens, the same in every task: what is replayed instead of texts."""
    own = task.captions.tokens
    start, end = int(own.ids[0, 0]), int(own.ids[0, own.eot[0]])
    length = min(LENGTH, task.model.clip.text_positions - 2)
    source = generator("vocabulary", task.settings.seed)
    words = torch.tensor([i for i in range(task.model.clip.text_tokens) if i not in (start, end)])
    drawn = words[torch.randint(len(words), (VOCABULARY, length), generator=source)]
    edge = torch.ones(VOCABULARY, 1, dtype=torch.int64)
    return Tokens(torch.cat([start * edge, drawn, end * edge], dim=1), torch.full((VOCABULARY,), length + 1))


def vocabulary_teacher(task: TaskContext) -> Teacher:
    """The previous model's videos and its embeddings of the vocabulary."""
    return task.teach(max(1, task.number - 1), vocabulary(task))


def vr_lwf(task: TaskContext, batch: Batch) -> Tensor:
    """Each video's similarities to a part of the vocabulary, in turn, stay those of the previous model."""
    assert task.teacher is not None
    rows = cyclic_rows(VOCABULARY, len(batch.pairs.video), batch.step)
    frames = task.teacher.frames(batch.pairs)
    student = task.logits(task.embed_text(task.teacher.tokens[rows]), batch.frames)[0]
    taught = task.logits(task.teacher.text(rows), frames)[0]
    return losses.distil(student.T, taught.T.detach(), TEMPERATURE)


METHOD = fine_tuned(Term("vr_lwf", vr_lwf, since=2, teacher=vocabulary_teacher))
