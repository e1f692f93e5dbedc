"""The addends of every method's loss: weighted values of a batch (method, sections 5 and 7; docs/methods.md).

A term looks at the task and the batch, and leaves the arithmetic to `learning.losses`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from structalign.learning import losses
from structalign.learning.task import Batch, Task, Teacher
from structalign.model.adapters import generator
from structalign.model.backbone import Tokens
from structalign.model.video_text import TextEmbeddings
from structalign.search.heads import unit_mean

TEMPERATURE = 2.0  # T of LwF, VR-LwF and ZSCL, as published (Hinton's T; ZSCL, section 4)
VOCABULARY, LENGTH = 512, 8  # random captions of VR-LwF, and the tokens of each
STORED_WEIGHT = 0.6  # w of StableFusion, as published


Map = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Term:
    """An addend `loss` that acts from task `since` on, unless the weight of its `section` in Settings is 0.

    teacher: what is computed once, before the task's first step.
    """

    name: str
    loss: Callable[[Task, Batch], Tensor]
    section: str | None = None
    since: int = 1
    teacher: Callable[[Task], Teacher] | None = None

    def acts(self, task: Task) -> bool:
        if task.number < self.since:
            return False
        section = getattr(task.settings, self.section) if self.section else None
        return self.section is None or (section is not None and section.weight > 0)


# --- every method ---


def contrastive(task: Task, batch: Batch) -> Tensor:
    """L_con on the batch, with the categories' prior where there is one."""
    video, category = task.owners(batch.pairs.video), task.captions.category[batch.pairs.caption]
    prior = None if task.prior is None else task.prior[category].to(task.device)
    return task.weighed([losses.contrastive(logits, video, prior) for logits in batch.logits])


# --- StructAlign ---


def crp_teacher(task: Task) -> Teacher:
    """The model before this task, routed as the task before, or frozen CLIP."""
    assert task.settings.crp is not None
    if task.settings.crp.teacher == "pretrained":
        return pretrained(task)
    return previous(task)


def crp(task: Task, batch: Batch) -> Tensor:
    """crp.weight * L_CRP."""
    section = task.settings.crp
    assert section is not None
    relations = [
        losses.relation(logits, target, section.temperature)
        for logits, target in zip(batch.logits, _taught(task, batch), strict=True)
    ]
    return section.weight * task.weighed(relations)


def etf(task: Task, batch: Batch) -> Tensor:
    """lambda * L_ETF: relative to the addends before it, and with pseudo-features once there are old categories, unless
    `pseudo.weight` turns them off."""
    return etf_with(task, batch, task.model.head.text, task.model.head.video)


def etf_with(task: Task, batch: Batch, old_text_map: Map, old_video_map: Map) -> Tensor:
    """`etf` with the maps of pseudo-features into ETF space given."""
    vertices, head = task.memory.vertices.to(task.device), task.model.head
    own = vertices[task.captions.category[batch.pairs.caption].to(task.device)]
    text = batch.text
    loss = losses.etf_alignment(text.words, text.mask, batch.frames, own, head.weight, head.weight_of_video)
    if task.memory.learned and task.settings.pseudo is not None and task.settings.pseudo.weight > 0:
        old_text, old_video, category = task.draw(2 * task.settings.shared.batch, "etf", *batch.key)
        loss = loss + losses.vertex_distance(old_text_map(old_text), old_video_map(old_video), vertices[category])
    base = sum(batch.addends.values(), torch.zeros((), device=task.device))
    return losses.relative_weight(task.settings.etf.weight, base, loss) * loss


def pseudo(task: Task, batch: Batch) -> Tensor:
    """pseudo.weight * L_pseudo."""
    return pseudo_at(task, batch, losses.PSEUDO_SCALE)


def pseudo_at(task: Task, batch: Batch, scale: float | Tensor) -> Tensor:
    """`pseudo` with cosines multiplied by `scale`."""
    section = task.settings.pseudo
    assert section is not None
    old_text, old_video, category = task.draw(task.settings.shared.batch, "pseudo", *batch.key)
    return section.weight * losses.pseudo_contrastive(
        F.normalize(masked_mean(batch.text.words, batch.text.mask), dim=-1),
        F.normalize(batch.frames.mean(dim=1), dim=-1),
        task.owners(batch.pairs.video),
        old_text,
        old_video,
        category,
        section.mask_same_category,
        scale,
    )


def masked_mean(words: Tensor, mask: Tensor) -> Tensor:
    """[R, L, D] -> [R, D]: mean over the words of each caption."""
    return (words * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)


# --- distillation: LwF, VR-LwF, ZSCL ---


def previous(task: Task) -> Teacher:
    """The model as the task before left it, routed as that task."""
    return task.teach(max(1, task.number - 1))


def pretrained(task: Task) -> Teacher:
    """Frozen CLIP."""
    with task.model.frozen():
        return task.teach(max(1, task.number - 1))


def _taught(task: Task, batch: Batch) -> list[Tensor]:
    """The teacher's logits of the batch."""
    text, frames = _teacher_batch(task, batch)
    return task.logits(text, frames)


def _teacher_batch(task: Task, batch: Batch) -> tuple[TextEmbeddings, Tensor]:
    assert task.teacher is not None
    return task.teacher.text(batch.pairs.caption), task.teacher.frames(batch.pairs)


def lwf(task: Task, batch: Batch) -> Tensor:
    """LwF: the batch's similarities, rows and columns, stay those of the previous model."""
    student, teacher = batch.logits[0], _taught(task, batch)[0]
    return losses.relation(student, teacher, TEMPERATURE)


def zscl(task: Task, batch: Batch) -> Tensor:
    """ZSCL: as LwF from frozen CLIP, one side a time: new videos against its texts, new texts against its videos."""
    text, frames = _teacher_batch(task, batch)
    taught = task.logits(text, frames)[0]
    videos, texts = task.logits(text, batch.frames)[0], task.logits(batch.text, frames)[0]
    half = losses.distil(videos.T, taught.T.detach(), TEMPERATURE)
    return (half + losses.distil(texts, taught.detach(), TEMPERATURE)) / 2


def vocabulary(task: Task) -> Tokens:
    """Captions of random tokens, the same in every task: what VR-LwF replays instead of texts."""
    own = task.captions.tokens
    start, end = int(own.ids[0, 0]), int(own.ids[0, own.eot[0]])
    length = min(LENGTH, task.model.clip.text_positions - 2)
    source = generator("vocabulary", task.settings.seed)
    words = torch.tensor([i for i in range(task.model.clip.text_tokens) if i not in (start, end)])
    drawn = words[torch.randint(len(words), (VOCABULARY, length), generator=source)]
    edge = torch.ones(VOCABULARY, 1, dtype=torch.int64)
    return Tokens(torch.cat([start * edge, drawn, end * edge], dim=1), torch.full((VOCABULARY,), length + 1))


def vocabulary_teacher(task: Task) -> Teacher:
    """The previous model's videos and its embeddings of the vocabulary."""
    return task.teach(max(1, task.number - 1), vocabulary(task))


def vr_lwf(task: Task, batch: Batch) -> Tensor:
    """VR-LwF: each video's similarities to a part of the vocabulary, in turn, stay those of the previous model."""
    assert task.teacher is not None
    rows = turn(VOCABULARY, len(batch.pairs.video), batch.step)
    frames = task.teacher.frames(batch.pairs)
    student = task.logits(task.embed_text(task.teacher.tokens[rows]), batch.frames)[0]
    taught = task.logits(task.teacher.text(rows), frames)[0]
    return losses.distil(student.T, taught.T.detach(), TEMPERATURE)


def turn(count: int, size: int, step: int) -> Tensor:
    """[size] rows of `count` that are due in a step: consecutive ones, and from the start again."""
    return (step * size + torch.arange(min(size, count))) % count


# --- what is remembered of past tasks: StableFusion, replay ---


def softened(task: Task, batch: Batch) -> Tensor:
    """L_con in task 1, later (1 - w) * L_con."""
    return (1.0 if task.number == 1 else 1 - STORED_WEIGHT) * contrastive(task, batch)


def against_stored(task: Task, batch: Batch) -> Tensor:
    """w * CE of each caption over [the batch's videos ; one batch of stored past videos, in turn] (StableFusion)."""
    stored = task.memory.videos
    past = stored[turn(len(stored), task.settings.shared.batch, batch.step)].to(task.device)
    candidates = torch.cat([unit_mean(batch.frames)[:, 0], past])[:, None]
    logits = task.logits(batch.text, candidates)[0]
    return STORED_WEIGHT * losses.caption_to_video(logits, task.owners(batch.pairs.video))


def with_past(task: Task, batch: Batch) -> Tensor:
    """L_con on the batch together with as many remembered pairs, drawn anew each step, each caption routed as its own
    task (experience replay)."""
    if task.number == 1:
        return contrastive(task, batch)
    memory, pairs = task.memory, batch.pairs
    count = min(len(pairs.video), len(memory.pair_task))
    rows = torch.randperm(len(memory.pair_task), generator=generator("past", *batch.key))[:count]
    past = task.embed_text(Tokens(memory.pair_ids, memory.pair_eot)[rows], memory.pair_task[rows])
    frames = task.embed_frames(memory.pair_states[rows].float())
    video = task.owners(torch.cat([pairs.video, -1 - rows]))
    logits = task.logits(batch.text.followed_by(past), torch.cat([batch.frames, frames]))
    return task.weighed([losses.contrastive(x, video) for x in logits])
