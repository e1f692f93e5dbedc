"""StructAlign: alignment to a simplex ETF, relation preservation and pseudo-features of old categories.

Wang et al., "StructAlign: Structured Cross-Modal Alignment for Continual Text-to-Video Retrieval", SIGIR 2026,
arXiv 2601.20597. From task 2 on the loss is L_con + crp.weight L_CRP + lambda L_ETF + pseudo.weight L_pseudo (method,
section 5).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from structalign.learning import losses
from structalign.learning.context import Batch, TaskContext, Teacher
from structalign.learning.distillation import pretrained_clip, previous_model, teacher_logits
from structalign.learning.gradients import on_embeddings
from structalign.learning.memory import Memory, remember
from structalign.learning.method import CONTRASTIVE, Method, Term
from structalign.model.device import send
from structalign.model.features import CENTRE
from structalign.model.text_encoding import encode_captions
from structalign.params.losses import Crp, Etf, Pseudo

Map = Callable[[Tensor], Tensor]


def crp_teachers(task: TaskContext) -> list[Teacher]:
    """The model before this task, routed as the task before, zero-shot CLIP, or both."""
    kind = task.settings[Crp].teacher
    previous = [] if kind == "pretrained" else previous_model(task)
    return previous if kind == "previous" else previous + pretrained_clip(task)


def crp(task: TaskContext, batch: Batch) -> Tensor:
    """L_CRP, the mean over its teachers."""
    section = task.settings[Crp]

    def relation(teacher: Teacher) -> Tensor:
        logits = zip(batch.logits, teacher_logits(task, batch, teacher), strict=True)
        return task.add_sentence_loss([losses.relation(own, target, section.temperature) for own, target in logits])

    return torch.stack([relation(teacher) for teacher in task.teachers]).mean()


def etf(task: TaskContext, batch: Batch) -> Tensor:
    """L_ETF. It includes pseudo-features of old categories, unless `pseudo.weight` is 0."""
    return etf_with(task, batch, task.model.head.text, task.model.head.video)


def etf_with(task: TaskContext, batch: Batch, old_text_map: Map, old_video_map: Map) -> Tensor:
    """`etf` with given maps of pseudo-features into ETF space."""
    vertices, head = task.vertices, task.model.head
    own = vertices[send(task.captions.category[batch.pairs.caption], task.device)]
    text = batch.text
    loss = losses.etf_alignment(text.words, text.mask, batch.frames, own, head.weight, head.weight_of_video)
    if task.memory.learned and task.settings.acts(Pseudo):
        old_text, old_video, category = task.draw(2 * task.settings.shared.batch, "etf", *batch.key)
        loss = loss + losses.vertex_distance(old_text_map(old_text), old_video_map(old_video), vertices[category])
    return loss


def etf_weight(task: TaskContext, batch: Batch, loss: Tensor) -> Tensor:
    """lambda, relative to the addends before L_ETF or to their gradient."""
    section, base = task.settings[Etf], sum(batch.addends.values(), torch.zeros((), device=task.device))
    if section.relative_to == "gradient":
        base, loss = (on_embeddings(batch, one).norm() for one in (base, loss))
    return losses.relative_weight(section.weight, base, loss)


def pseudo(task: TaskContext, batch: Batch) -> Tensor:
    """L_pseudo."""
    return pseudo_at(task, batch, task.settings[Pseudo].scale)


def pseudo_at(task: TaskContext, batch: Batch, scale: float | Tensor) -> Tensor:
    """`pseudo` with cosines multiplied by `scale`."""
    section = task.settings[Pseudo]
    old_text, old_video, category = task.draw(task.settings.shared.batch, "pseudo", *batch.key)
    return losses.pseudo_contrastive(
        F.normalize(batch.text.mean_words(), dim=-1),
        F.normalize(batch.frames.mean(dim=1), dim=-1),
        task.video_ids(batch.pairs.video),
        old_text,
        old_video,
        category,
        section.mask_same_category,
        section.negatives == "mixed",
        scale,
    )


def remember_prototypes(task: TaskContext, categories: int) -> Memory:
    """Remember the mean and radius of each of the task's `categories` new categories, for pseudo-features.

    The model after the task encodes the centre views and the task's captions.
    """
    text = encode_captions(task.model, task.captions.tokens, task.number, task.device)
    video = task.encode_videos(CENTRE).mean(dim=1)
    first = torch.tensor([int((task.captions.video == v).nonzero()[0, 0]) for v in range(len(task.features))])
    words, category = text.mean_words(), task.captions.category
    return remember(task.memory, words, category, video, category[first], categories)


TRAINS = ("fusion", "alpha", "lora", "router", "task_prototypes", "head")
TERMS = (
    CONTRASTIVE,
    Term("crp", crp, Crp, teachers=crp_teachers),
    Term("etf", etf, Etf, weight=etf_weight),
    Term("pseudo", pseudo, Pseudo),
)
METHOD = Method(trains=TRAINS, terms=TERMS, update_memory=remember_prototypes)
