"""The losses and the updates of a task. The constants of the losses are the paper's (method, section 5).

Letters: B pairs, N frames, S image size, L tokens of a caption, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.plain.similarities import word_frame_by_pair
from benchmarks.plain.towers import Plan, Weights, frame_embeddings, token_embeddings, words_of

SCALE, PSEUDO_SCALE = 17.6, 99.48431564193378  # of the word-frame logits: e^4.60
CRP_WEIGHT, CRP_TEMPERATURE = 10.0, 2.0
ETF_WEIGHT, PSEUDO_WEIGHT = 0.1, 0.5

Pseudo = tuple[Tensor, Tensor, Tensor]  # text and video [n, D], category [n]
Group = tuple[list[str], float, float]  # names, learning rate, decay


@dataclass(frozen=True)
class Batch:
    """pixels: [B, N, 3, S, S] of distinct videos, normalised; ids: [B, L], padded; eot: [B]; category: [B].

    etf_pseudo and pseudo: pairs drawn for L_ETF and for L_pseudo, from task 2 on.
    """

    pixels: Tensor
    ids: Tensor
    eot: Tensor
    category: Tensor
    etf_pseudo: Pseudo | None = None
    pseudo: Pseudo | None = None


def cross_entropies(logits: Tensor) -> Tensor:
    """Cross-entropy of rows plus cross-entropy of columns. The diagonal is the ground truth."""
    target = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)


def relation(student: Tensor, teacher: Tensor) -> Tensor:
    parts = []
    for s, r in ((student, teacher), (student.T, teacher.T)):
        p = (r / CRP_TEMPERATURE).softmax(dim=1)
        q = (s / CRP_TEMPERATURE).log_softmax(dim=1)
        parts.append(CRP_TEMPERATURE**2 * (p * (p.log() - q)).sum(dim=1).mean())
    return (parts[0] + parts[1]) / 2


def alignment(words: Sequence[Tensor], frames: Tensor, vertices: Tensor) -> Tensor:
    """mean_b [2 - cos(w_b, e_c) - cos(f_b, e_c)], pooled by attention to the vertex. All vectors are in ETF space."""
    rows = []
    for caption, video, vertex in zip(words, frames, vertices, strict=True):
        text = (caption @ vertex).softmax(dim=0) @ caption
        seen = (video @ vertex).softmax(dim=0) @ video
        rows.append(2 - F.cosine_similarity(text, vertex, dim=0) - F.cosine_similarity(seen, vertex, dim=0))
    return torch.stack(rows).mean()


def addends(
    weights: Weights, teacher: Weights, plan: Plan, batch: Batch, task: int, vertices: Tensor
) -> dict[str, Tensor]:
    """The weighted losses of a batch, by name. The teacher encodes the batch again, routed as the previous task."""
    frames = frame_embeddings(weights, plan, batch.pixels)
    words = words_of(token_embeddings(weights, plan, batch.ids, batch.eot, task, train=True), batch.eot)
    logits = SCALE * word_frame_by_pair(words, frames)
    found = {"contrastive": cross_entropies(logits)}
    if task > 1:
        with torch.no_grad():
            shown = frame_embeddings(teacher, plan, batch.pixels)
            said = words_of(token_embeddings(teacher, plan, batch.ids, batch.eot, task - 1), batch.eot)
            taught = SCALE * word_frame_by_pair(said, shown)
        found["crp"] = CRP_WEIGHT * relation(logits, taught)
    head = weights["head.weight"]
    etf = alignment([w @ head.T for w in words], frames @ head.T, vertices[batch.category])
    if batch.etf_pseudo is not None:
        text, video, category = batch.etf_pseudo
        own = vertices[category]
        both = F.cosine_similarity(text @ head.T, own) + F.cosine_similarity(video @ head.T, own)
        etf = etf + (2 - both).mean()
    base = sum((value.detach() for value in found.values()), torch.zeros((), device=etf.device))
    found["etf"] = ETF_WEIGHT * base / etf.detach().clamp(min=1e-3) * etf
    if batch.pseudo is not None:
        text, video, _ = batch.pseudo
        texts = torch.cat([torch.stack([F.normalize(w.mean(dim=0), dim=0) for w in words]), text])
        videos = torch.cat([torch.stack([F.normalize(f.mean(dim=0), dim=0) for f in frames]), video])
        found["pseudo"] = PSEUDO_WEIGHT * cross_entropies(PSEUDO_SCALE * texts @ videos.T)
    return found


class Training:
    """The updates of one task."""

    def __init__(
        self, weights: Weights, teacher: Weights, plan: Plan, task: int, vertices: Tensor, groups: Sequence[Group]
    ):
        self.weights, self.teacher, self.plan, self.task, self.vertices = weights, teacher, plan, task, vertices
        self.learning = [weights[name] for names, _, _ in groups for name in names]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [weights[name] for name in names], "lr": lr, "weight_decay": decay}
                for names, lr, decay in groups
            ],
            eps=1e-6,
        )

    def step(self, batch: Batch) -> dict[str, float]:
        """One update. Returns the loss's addends and the gradient norm before clipping to 1."""
        found = addends(self.weights, self.teacher, self.plan, batch, self.task, self.vertices)
        self.optimizer.zero_grad()
        torch.stack(list(found.values())).sum().backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.learning, 1.0)
        self.optimizer.step()
        return {name: value.item() for name, value in found.items()} | {"grad_norm": norm.item()}
