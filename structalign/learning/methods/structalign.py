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
from structalign.learning.memory import Memory, remember
from structalign.learning.method import CONTRASTIVE, Method, Term
from structalign.model.device import send
from structalign.model.features import CENTRE
from structalign.model.text_encoding import encode_captions
from structalign.params.losses import Crp, Etf, Pseudo

Map = Callable[[Tensor], Tensor]


def crp_teacher(task: TaskContext) -> Teacher:
    """The model before this task, routed as the task before, or zero-shot CLIP."""
    return pretrained_clip(task) if task.settings[Crp].teacher == "pretrained" else previous_model(task)


def crp(task: TaskContext, batch: Batch) -> Tensor:
    """L_CRP."""
    section = task.settings[Crp]
    relations = [
        losses.relation(logits, target, section.temperature)
        for logits, target in zip(batch.logits, teacher_logits(task, batch), strict=True)
    ]
    return task.add_sentence_loss(relations)


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
    """lambda, relative to the addends before L_ETF."""
    base = sum(batch.addends.values(), torch.zeros((), device=task.device))
    return losses.relative_weight(task.settings[Etf].weight, base, loss)


def pseudo(task: TaskContext, batch: Batch) -> Tensor:
    """L_pseudo."""
    return pseudo_at(task, batch, losses.PSEUDO_SCALE)


def pseudo_at(task: TaskContext, batch: Batch, scale: float | Tensor) -> Tensor:
    """`pseudo` with cosines multiplied by `scale`."""
    old_text, old_video, category = task.draw(task.settings.shared.batch, "pseudo", *batch.key)
    return losses.pseudo_contrastive(
        F.normalize(masked_mean(batch.text.words, batch.text.mask), dim=-1),
        F.normalize(batch.frames.mean(dim=1), dim=-1),
        task.video_ids(batch.pairs.video),
        old_text,
        old_video,
        category,
        task.settings[Pseudo].mask_same_category,
        scale,
    )


def masked_mean(words: Tensor, mask: Tensor) -> Tensor:
    """[R, L, D] -> [R, D]: mean over the words of each caption."""
    return (words * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


def remember_prototypes(task: TaskContext, categories: int) -> Memory:
    """Remember the mean and radius of each of the task's `categories` new categories, for pseudo-features.

    The model after the task encodes the centre views and the task's captions.
    """
    text = encode_captions(task.model, task.captions.tokens, task.number, task.device)
    video = task.encode_videos(CENTRE).mean(dim=1)
    first = torch.tensor([int((task.captions.video == v).nonzero()[0, 0]) for v in range(len(task.features))])
    words, category = masked_mean(text.words, text.mask), task.captions.category
    return remember(task.memory, words, category, video, category[first], categories)


TRAINS = ("fusion", "alpha", "lora", "router", "task_prototypes", "head")
TERMS = (
    CONTRASTIVE,
    Term("crp", crp, Crp, teacher=crp_teacher),
    Term("etf", etf, Etf, weight=etf_weight),
    Term("pseudo", pseudo, Pseudo),
)
METHOD = Method(trains=TRAINS, terms=TERMS, update_memory=remember_prototypes)
