"""One task as the terms of a loss see it: its data, the model, the settings, and what never changes inside it.

Letters: B pairs of a batch, V videos, N frames, R captions, D embedding.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from structalign.learning.batches import Pairs, balanced, epoch_pairs
from structalign.learning.memory import Memory
from structalign.learning.settings import Settings
from structalign.model.backbone import Tokens
from structalign.model.device import autocast
from structalign.model.features import view_name
from structalign.model.inputs import Videos
from structalign.model.video_text import TextEmbeddings, VideoText, encode_frozen, encode_queries
from structalign.retrieval.comparison import Comparison
from structalign.sections.contrastive import Contrastive

VIDEOS_AT_A_TIME = 8


@dataclass(frozen=True)
class Teacher:
    """A frozen model's embeddings, computed once a task: frames [views, V, N, D] of every view, text of `tokens`."""

    frames: Tensor
    text: TextEmbeddings
    tokens: Tokens


@dataclass
class Batch:
    """One step: its pairs, the embeddings of both sides (frames [B, N, D] raw), their logits (`Task.logits`), and the
    addends found so far.

    key: (seed, task, step), of everything random in it.
    """

    pairs: Pairs
    text: TextEmbeddings
    frames: Tensor
    logits: list[Tensor]
    key: tuple[str | int, ...]
    addends: dict[str, Tensor] = field(default_factory=dict)

    @property
    def step(self) -> int:
        return int(self.key[-1])


Scale = Callable[[Contrastive, VideoText], float | Tensor]


class Task:
    """Task `number` (from 1) of a chain. `state` is what a method's hooks carry from step to step: tensors that they
    change in place."""

    def __init__(
        self,
        model: VideoText,
        features: Videos,
        memory: Memory,
        number: int,
        settings: Settings,
        device: torch.device,
        comparison: Comparison,
        scale: Scale,
    ):
        self.model = model.to(device)
        self.features = features
        self.captions = features.captions()
        self.memory = memory
        self.number = number
        self.settings = settings
        self.device = device
        self.comparison = comparison
        self.scale = scale
        self.prior = self._category_prior() if settings.contrastive.prior > 0 else None
        self.teacher: Teacher | None = None
        self.state: dict[str, Tensor] = {}
        self._frozen_text = self._encode_frozen_text() if model.text_map is not None else None

    def _epoch(self, epoch: int) -> Pairs:
        how = self.settings.shared.epoch
        key = (self.settings.seed, self.number, epoch)
        pairs = epoch_pairs(self.captions, len(self.features), self.features.views, how, *key)
        if self.settings.shared.sampling == "balanced":
            return balanced(pairs, self.captions, self.features.views, *key)
        return pairs

    def _category_prior(self) -> Tensor:
        """`contrastive.prior` times the log of the share that each category, by id, has of an epoch's pairs."""
        count = torch.bincount(self.captions.category[self._epoch(0).caption])
        return self.settings.contrastive.prior * (count / count.sum()).log()

    def _encode_frozen_text(self) -> TextEmbeddings:
        """All captions by frozen CLIP, once: no text tower runs in a step of a model that only maps embeddings."""
        return encode_frozen(self.model.clip, self.model, self.captions.tokens, self.device)

    @torch.no_grad()
    def encode_videos(self, view: str) -> Tensor:
        """[V, N, D] raw frame embeddings of the model as it is, in float32, on the CPU."""
        rows = torch.split(torch.arange(len(self.features)), VIDEOS_AT_A_TIME)
        states = (torch.stack([self.features.states(i, view) for i in part.tolist()]) for part in rows)
        return torch.cat([self.model.encode_frames(state.to(self.device)).cpu() for state in states])

    def teach(self, task: int, tokens: Tokens | None = None) -> Teacher:
        """The model as it is, as a teacher: all views, and `tokens` (the captions, if None) routed as `task`."""
        self.model.eval()
        tokens = self.captions.tokens if tokens is None else tokens
        frames = torch.stack([self.encode_videos(view_name(view)) for view in range(self.features.views)])
        return Teacher(frames, encode_queries(self.model, tokens, task, self.device), tokens)

    def embed(self, pairs: Pairs) -> tuple[TextEmbeddings, Tensor]:
        """Text embeddings [B, …] and raw frame embeddings [B, N, D]; each distinct view is encoded once."""
        distinct, inverse = torch.unique(torch.stack([pairs.video, pairs.view]), dim=1, return_inverse=True)
        states = [self.features.states(int(v), view_name(int(w))) for v, w in distinct.T]
        frames = self.embed_frames(torch.stack(states))[inverse.to(self.device)]
        if self._frozen_text is not None:
            return self.model.map_text(self._frozen_text[pairs.caption].to(self.device)), frames
        return self.embed_text(self.captions.tokens[pairs.caption]), frames

    def embed_frames(self, states: Tensor) -> Tensor:
        """[B, N, …] videos as the model reads them -> [B, N, D] float32, with gradients."""
        with autocast(self.device, self.settings.backbone.precision):
            return self.model.encode_frames(states.to(self.device)).float()

    def embed_text(self, tokens: Tokens, tasks: Tensor | None = None) -> TextEmbeddings:
        """Captions with gradients, routed as `tasks` [R], or as this task."""
        if tasks is None:
            tasks = torch.full((len(tokens.eot),), self.number)
        return self.model.encode_text(tokens.to(self.device), tasks.to(self.device))

    def temperature(self) -> float | Tensor:
        """The factor that makes logits of similarities."""
        return self.scale(self.settings.contrastive, self.model)

    def logits(self, text: TextEmbeddings, frames: Tensor) -> list[Tensor]:
        """[B, B'] logits of each similarity that is trained (`Comparison.trained`): that of sentences beside word-frame
        similarity only where `contrastive.sentence_weight` is above 0."""
        scale, both = self.temperature(), self.settings.contrastive.sentence_weight > 0
        return [scale * kind for kind in self.comparison.trained(self.model, text, frames, both)]

    def weighed(self, values: list[Tensor]) -> Tensor:
        """A loss on the first similarity plus `contrastive.sentence_weight` times that on the second."""
        total = values[0]
        for value in values[1:]:
            total = total + self.settings.contrastive.sentence_weight * value
        return total
