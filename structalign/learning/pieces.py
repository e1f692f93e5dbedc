"""The method in pieces: functions of tensors and a state dict, for whoever compares it with another implementation.

A state dict has the released names (`model.released_names`). What it doesn't say comes beside it: `clip`, the content
of CLIP's config.json, and `like`, a `Shape` whose frames, vision_frozen, alpha, dropout, head and words count. Pieces
that need no state dict are pure functions where they are used; docs/methods.md lists all of them.

Letters: B pairs of a batch, R captions, L tokens, N frames, S image size, D embedding, d ETF space, E experts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from structalign.learning.batches import Pairs
from structalign.learning.loading import load_method
from structalign.learning.memory import Memory
from structalign.learning.resume import Row
from structalign.learning.settings import Settings
from structalign.learning.training import TaskTrainer
from structalign.model.backbone import Tokens
from structalign.model.features import CENTRE, Captions
from structalign.model.released_names import State, clip_of, from_released, released_name, to_released
from structalign.model.video_text import Shape, TextEmbeddings, VideoText

Config = Mapping[str, Any]
Pseudo = tuple[Tensor, Tensor, Tensor]  # text and video [n, D], category [n]


@torch.no_grad()
def frame_embeddings(state: State, clip: Config, like: Shape, pixels: Tensor, adapters: bool = True) -> Tensor:
    """[B, N, 3, S, S] normalised pixels -> [B, N, D] raw; without `adapters` by CLIP alone."""
    model, _ = model_of(state, clip, like)
    states = torch.stack([model.inputs(video) for video in pixels])
    if adapters:
        return model.encode_frames(states)
    with model.frozen():
        return model.encode_frames(states)


@torch.no_grad()
def text_embeddings(
    state: State, clip: Config, like: Shape, tokens: Tokens, tasks: Tensor | None, adapters: bool = True
) -> TextEmbeddings:
    """R captions as words [R, L, D], mask [R, L] and sentences [R, D]. tasks: [R] what each is routed as, from 1, or
    None for x[eot] without a prototype."""
    model, _ = model_of(state, clip, like)
    if tasks is None:
        nothing = torch.zeros(len(tokens.eot), model.clip.text_width)
        return model.encode_routed(tokens, torch.full((len(tokens.eot),), 2), nothing)
    if adapters:
        return model.encode_text(tokens, tasks)
    with model.frozen():
        return model.encode_text(tokens, tasks)


def model_of(state: State, clip: Config, like: Shape) -> tuple[VideoText, dict[str, Tensor]]:
    """The model of a state dict, in eval mode, and the tensors that it has no place for."""
    return from_released(state, clip_of(state, clip), like)


@dataclass(frozen=True)
class Step:
    """One batch. pixels: [B, N, 3, S, S]; tokens: B captions; video: [B] ids; category: [B].

    etf_pseudo and pseudo: the pairs drawn for L_ETF and for L_pseudo, from task 2 on. noise: standard normals like the
    router logits [B, E] of a projection, asked for in the order in which CLIP calls its projections.
    """

    pixels: Tensor
    tokens: Tokens
    video: Tensor
    category: Tensor
    etf_pseudo: Pseudo | None = None
    pseudo: Pseudo | None = None
    noise: Callable[[Tensor], Tensor] = torch.randn_like


class _Videos:
    """The videos of steps: a view's number is a row of all their pairs."""

    views = 0

    def __init__(self, model: VideoText, steps: Sequence[Step]):
        self.model, self.pixels = model, torch.cat([step.pixels for step in steps])
        length = max(step.tokens.ids.shape[1] for step in steps)
        # columns beyond a batch's own are cut off again when it is read
        ids = torch.cat([torch.nn.functional.pad(x.tokens.ids, (0, length - x.tokens.ids.shape[1])) for x in steps])
        tokens = Tokens(ids, torch.cat([step.tokens.eot for step in steps]))
        category = torch.cat([step.category for step in steps])
        self._captions = Captions(tokens, torch.cat([step.video for step in steps]), category)

    def __len__(self) -> int:
        return len(self.pixels)

    def states(self, video: int, view: str = CENTRE) -> Tensor:
        return self.model.inputs(self.pixels[int(view.removeprefix("view"))])

    def captions(self) -> Captions:
        return self._captions


class _Trainer(TaskTrainer):
    """The one loop, whose pseudo-features are given."""

    steps: Sequence[Step]

    def draw(self, count: int, purpose: str, *key: str | int) -> Pseudo:
        step = self.steps[int(key[-1])]
        given = step.etf_pseudo if purpose == "etf" else step.pseudo
        assert given is not None, f"step {key[-1]} has no pseudo-features for {purpose}"
        return given


@dataclass(frozen=True)
class Trained:
    """state: after the steps. rows: what was logged of each: the addends of the loss by name, and `grad_norm`, the
    global norm before clipping. gradients: of the last step, clipped, by released name."""

    state: dict[str, Tensor]
    rows: list[Row]
    gradients: dict[str, Tensor]


def train(
    method: str,
    state: State,
    clip: Config,
    like: Shape,
    settings: Settings,
    number: int,
    vertices: Tensor,
    steps: Sequence[Step],
    updates: int,
) -> Trained:
    """The first `len(steps)` of `updates` steps of task `number` by a method, as precise as `state`.

    It begins with `state`: where task 2 begins, the first expert must have been copied into the others already.
    vertices: [C, d].
    """
    model, kept = model_of(state, clip, like)
    old = torch.zeros(int(number > 1), model.clip.embedding_dim)
    how, videos = load_method(method), _Videos(model, steps)
    trainer = _Trainer(
        model, how, videos, Memory(vertices=vertices, text_mean=old), number, settings, torch.device("cpu")
    )
    trainer.steps = steps
    optimiser, first, rows = trainer.start(), 0, []
    for k, step in enumerate(steps):
        own = torch.arange(first, first + len(step.video))
        first += len(step.video)
        model.routing.noise = step.noise
        factor = how.rate(k, updates, settings.phase.warmup)
        rows.append(trainer.step(optimiser, factor, Pairs(own, step.video, own), settings.seed, number, k))
    names = {name: released_name(name, like.vision_frozen) for name, _ in model.named_parameters()}
    gradients = {names[name]: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return Trained(to_released(model, kept), rows, gradients)
