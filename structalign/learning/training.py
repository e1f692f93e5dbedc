"""The one training loop: a task is learned from its own pairs, the checkpoint before and what that remembers.

Everything random is keyed by (seed, name, task, step), so a task's result depends on nothing but its inputs.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from structalign.errors import UserError
from structalign.learning import losses
from structalign.learning.batches import Pairs, balanced, batches, epoch_pairs
from structalign.learning.memory import Memory, draw_pseudo, remember
from structalign.learning.methods import Method
from structalign.learning.optimiser import optimiser, schedule
from structalign.learning.resume import Progress, Row
from structalign.model.adapters import generator
from structalign.model.device import autocast
from structalign.model.features import CENTRE, Features, JoinedFeatures, view_name
from structalign.model.video_text import TextEmbeddings, VideoText, encode_queries
from structalign.retrieval.similarity import sentence_video, word_frame
from structalign.sections.contrastive import Contrastive
from structalign.sections.crp import Crp
from structalign.sections.etf import Etf
from structalign.sections.optim import Phase, Shared
from structalign.sections.pseudo import Pseudo
from structalign.seeds import seed_of

VIDEOS_AT_A_TIME = 8


@dataclass(frozen=True)
class Settings:
    """The sections of params.yaml that act in this task; `crp` and `pseudo` are None in task 1."""

    seed: int
    precision: str
    contrastive: Contrastive
    etf: Etf
    crp: Crp | None
    pseudo: Pseudo | None
    shared: Shared
    phase: Phase


@dataclass(frozen=True)
class Teacher:
    """The frozen model's embeddings of every view and caption of a task, computed once.

    frames: [views, V, N, D]; text: of all R captions.
    """

    frames: Tensor
    text: TextEmbeddings


class TaskTrainer:
    """One task's data, model and settings, and the losses of a batch."""

    def __init__(
        self,
        model: VideoText,
        method: Method,
        features: Features | JoinedFeatures,
        memory: Memory,
        task: int,
        settings: Settings,
        device: torch.device,
    ):
        self.model = model.to(device)
        self.method = method
        self.features = features
        self.captions = features.captions()
        self.memory = memory
        self.task = task
        self.settings = settings
        self.device = device
        self.prior = self._category_prior() if settings.contrastive.prior > 0 else None
        self.teacher = self._teach() if self._acts("crp") else None

    def _acts(self, term: str) -> bool:
        section = getattr(self.settings, term)
        return term in self.method.terms and section is not None and section.weight > 0

    @torch.no_grad()
    def encode_videos(self, view: str) -> Tensor:
        """[V, N, D] raw frame embeddings of the model as it is, in float32."""
        rows = torch.split(torch.arange(len(self.features)), VIDEOS_AT_A_TIME)
        states = (torch.stack([self.features.states(i, view) for i in part.tolist()]) for part in rows)
        return torch.cat([self.model.encode_frames(state.to(self.device)).cpu() for state in states])

    def _teach(self) -> Teacher:
        """Embeddings of the model before this task, routed as the task before, or of frozen CLIP."""
        assert self.settings.crp is not None
        views = [view_name(view) for view in range(self.features.views)]
        self.model.eval()
        pretrained = self.settings.crp.teacher == "pretrained"
        with self.model.frozen() if pretrained else nullcontext():
            frames = torch.stack([self.encode_videos(view) for view in views])
            return Teacher(frames, encode_queries(self.model, self.captions.tokens, self.task - 1, self.device))

    def embed(self, pairs: Pairs) -> tuple[TextEmbeddings, Tensor]:
        """Text embeddings [B, …] and raw frame embeddings [B, N, D]; each distinct view is encoded once."""
        distinct, inverse = torch.unique(torch.stack([pairs.video, pairs.view]), dim=1, return_inverse=True)
        states = [self.features.states(int(v), view_name(int(w))) for v, w in distinct.T]
        with autocast(self.device, self.settings.precision):
            frames = self.model.encode_frames(torch.stack(states).to(self.device)).float()
        tokens = self.captions.tokens[pairs.caption].to(self.device)
        tasks = torch.full((len(pairs.caption),), self.task, device=self.device)
        return self.model.encode_text(tokens, tasks), frames[inverse.to(self.device)]

    def losses(self, pairs: Pairs, *key: str | int) -> dict[str, Tensor]:
        """Named addends of the loss of a batch, weighted: their sum is what is minimised (method, section 5)."""
        settings, video = self.settings, pairs.video.to(self.device)
        text, frames = self.embed(pairs)
        student = self._logits(text, frames)
        own = self.captions.category[pairs.caption]
        prior = None if self.prior is None else self.prior[own].to(self.device)
        terms = {"contrastive": self._weighed([losses.contrastive(logits, video, prior) for logits in student])}
        if self.teacher is not None and settings.crp is not None:
            taught = self._logits(self.teacher.text[pairs.caption], self.teacher.frames[pairs.view, pairs.video])
            relations = [
                losses.relation(logits, target.to(self.device), settings.crp.temperature)
                for logits, target in zip(student, taught, strict=True)
            ]
            terms["crp"] = settings.crp.weight * self._weighed(relations)
        if self._acts("etf"):
            loss = self._etf_loss(text, frames, pairs, *key)
            base = sum(terms.values(), torch.zeros((), device=self.device))
            terms["etf"] = losses.relative_weight(settings.etf.weight, base, loss) * loss
        if self._acts("pseudo") and settings.pseudo is not None:
            old_text, old_video, category = self._draw(settings.shared.batch, "pseudo", *key)
            terms["pseudo"] = settings.pseudo.weight * losses.pseudo_contrastive(
                F.normalize(masked_mean(text.words, text.mask), dim=-1),
                F.normalize(frames.mean(dim=1), dim=-1),
                video,
                old_text,
                old_video,
                category,
                settings.pseudo.mask_same_category,
            )
        return terms

    def _logits(self, text: TextEmbeddings, frames: Tensor) -> list[Tensor]:
        """[B, B] logits of word-frame similarity and, where it has a weight, of sentence-video similarity."""
        section = self.settings.contrastive
        logits = [section.scale * word_frame(text.words, text.mask, frames)]
        if section.sentence_weight > 0:
            logits.append(section.scale * sentence_video(text.sentence, frames))
        return logits

    def _category_prior(self) -> Tensor:
        """`contrastive.prior` times the log of the share that each category, by id, has of an epoch's pairs."""
        count = torch.bincount(self.captions.category[self._epoch(0).caption])
        return self.settings.contrastive.prior * (count / count.sum()).log()

    def _weighed(self, values: list[Tensor]) -> Tensor:
        """The loss on word-frame similarity plus `contrastive.sentence_weight` times that on sentence-video's."""
        total = values[0]
        for value in values[1:]:
            total = total + self.settings.contrastive.sentence_weight * value
        return total

    def _etf_loss(self, text: TextEmbeddings, frames: Tensor, pairs: Pairs, *key: str | int) -> Tensor:
        vertices = self.memory.vertices.to(self.device)
        own = vertices[self.captions.category[pairs.caption].to(self.device)]
        head = self.model.head
        loss = losses.etf_alignment(head(text.words), text.mask, head(frames), own)
        if self.memory.learned:
            old_text, old_video, category = self._draw(2 * self.settings.shared.batch, "etf", *key)
            loss = loss + losses.vertex_distance(head(old_text), head(old_video), vertices[category])
        return loss

    def _draw(self, count: int, *key: str | int) -> tuple[Tensor, Tensor, Tensor]:
        assert self.settings.pseudo is not None
        source = generator("draw", *key)
        text, video, category = draw_pseudo(self.memory, count, source, self.settings.pseudo.covariance)
        return text.to(self.device), video.to(self.device), category.to(self.device)

    def fit(self, log: Callable[[Row], None], scratch: Path | None = None) -> None:
        """Train for the phase's epochs; `log` gets one row of numbers a step.

        In the folder `scratch` progress is saved, and that of an interrupted run taken up: the result is the same.
        """
        settings, shared, phase = self.settings, self.settings.shared, self.settings.phase
        adamw = optimiser(self.model, self.method, self.task, shared, phase)
        trained = [p for group in adamw.param_groups for p in group["params"]]
        epochs = range(phase.epochs)
        plan = [(epoch, pairs) for epoch in epochs for pairs in batches(self._epoch(epoch), shared.batch)]
        if not plan:
            raise UserError(f"task {self.task} has fewer than two training pairs: add videos and captions for it.")
        self.model.train()
        self.model.clip.model.eval()
        for mixture in self.model.mixtures():
            mixture.train()
        progress = Progress(scratch, adamw)
        rows = progress.resume()
        for row in rows:
            log(row)
        for step, (epoch, pairs) in enumerate(plan[len(rows) :], start=len(rows)):
            key = (settings.seed, self.task, step)
            torch.manual_seed(seed_of("step", *key))
            factor = schedule(step, len(plan), phase.warmup)
            for group in adamw.param_groups:
                group["lr"] = factor * group["initial_lr"]
            terms = self.losses(pairs, *key)
            total = sum(terms.values(), torch.zeros((), device=self.device))
            adamw.zero_grad(set_to_none=True)
            total.backward()  # type: ignore[no-untyped-call]
            for mixture in self.model.mixtures():
                mixture.drop_unused_gradients()
            norm = torch.nn.utils.clip_grad_norm_(trained, shared.clip).item()
            values = {"loss": total.item(), **{name: value.item() for name, value in terms.items()}}
            if not math.isfinite(values["loss"] + norm):
                raise UserError(f"task {self.task} diverged at step {step} ({values}): lower the rates in `optim`.")
            adamw.step()
            rows.append({"step": step, "epoch": epoch, **values, "lr": factor * phase.lr, "grad_norm": norm})
            log(rows[-1])
            progress.save(rows)
        self.model.eval()

    def _epoch(self, epoch: int) -> Pairs:
        how = self.settings.shared.epoch
        key = (self.settings.seed, self.task, epoch)
        pairs = epoch_pairs(self.captions, len(self.features), self.features.views, how, *key)
        if self.settings.shared.sampling == "balanced":
            return balanced(pairs, self.captions, self.features.views, *key)
        return pairs

    def steps(self) -> int:
        """Optimiser steps that `fit` will take."""
        pairs = len(self._epoch(0).caption)
        full, rest = divmod(pairs, self.settings.shared.batch)
        return self.settings.phase.epochs * (full + (rest >= 2))

    def remember(self, categories: int) -> Memory:
        """The memory after this task: prototypes of its `categories` from centre views and all captions."""
        self.model.eval()
        text = encode_queries(self.model, self.captions.tokens, self.task, self.device)
        video = self.encode_videos(CENTRE).mean(dim=1)
        first = torch.tensor([int((self.captions.video == v).nonzero()[0, 0]) for v in range(len(self.features))])
        return remember(
            self.memory,
            masked_mean(text.words, text.mask),
            self.captions.category,
            video,
            self.captions.category[first],
            categories,
        )


def masked_mean(words: Tensor, mask: Tensor) -> Tensor:
    """[R, L, D] -> [R, D]: mean over the words of each caption."""
    return (words * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
