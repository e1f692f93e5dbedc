"""Embeddings, gates and router logits of videos and captions, by a state dict.

Letters: B videos, R captions, L tokens, N frames, S image size, D embedding, E experts.
"""

import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from structalign.errors import UserError
from structalign.learning.methods.structalign_released import encode_unrouted
from structalign.model.adapters import LoraMixture
from structalign.model.backbone import Tokens
from structalign.model.released_names import State, clip_of, from_released, released_name
from structalign.model.video_text import ModelConfig, TextEmbeddings, VideoText
from structalign.text import plural


@dataclass(frozen=True)
class ReferenceModel:
    """A state dict with the released names (`model.released_names`), and the configs that it lacks.

    clip_config: the content of CLIP's config.json. model_config: only its frames, vision_frozen, alpha, dropout, head
    and words are used. All else is read from the state dict.
    """

    state: State
    clip_config: Mapping[str, Any]
    model_config: ModelConfig

    def build(self) -> tuple[VideoText, dict[str, Tensor]]:
        """The model in eval mode, and the tensors that it does not use.

        Raises `UserError` for unknown or missing names, and for wrong shapes.
        """
        return from_released(self.state, clip_of(self.state, self.clip_config), self.model_config)


@torch.no_grad()
def frame_embeddings(model: ReferenceModel, pixels: Tensor, adapters: bool = True) -> Tensor:
    """[B, N, 3, S, S] pixels -> raw frame embeddings [B, N, D]. Without `adapters`, zero-shot CLIP computes them.

    pixels: normalised by CLIP's mean and standard deviation. N must be that of the model config, and S that of the
    backbone.
    """
    built, _ = model.build()
    refuse_pixels(built, pixels)
    states = torch.stack([built.inputs(video) for video in pixels])
    with _adapted(built, adapters):
        return built.encode_frames(states)


@torch.no_grad()
def text_embeddings(
    model: ReferenceModel, tokens: Tokens, tasks: Tensor | None, adapters: bool = True
) -> TextEmbeddings:
    """R captions as raw words [R, L, D], mask [R, L] and raw sentences [R, D].

    tasks: [R] the task that each is routed as, from 1 to the number of task prototypes. None routes by x[eot] without a
    prototype. Without `adapters`, zero-shot CLIP computes the embeddings.
    """
    built, _ = model.build()
    with _adapted(built, adapters):
        return _encode(built, tokens, tasks)


@dataclass(frozen=True)
class Routed:
    """The routing of R captions in one projection: gates [R, E], and router logits [R, E] without noise.

    Task 1 uses no router. Its gates are one-hot on the first expert, and its logits are NaN.
    """

    gates: Tensor
    logits: Tensor


@torch.no_grad()
def route(model: ReferenceModel, tokens: Tokens, tasks: Tensor | None) -> dict[str, Routed]:
    """Gates and router logits of every projection of the text tower, without noise.

    Keys are released names of the adapters, for example `clipmodel.text_model.encoder.layers.0.self_attn.q_lora`.
    tasks: as for `text_embeddings`.
    """
    built, _ = model.build()
    found: dict[str, Routed] = {}

    def look(name: str, mixture: LoraMixture, x: Tensor) -> None:
        alone = mixture.routing[0].tasks == 1
        logits = F.linear(mixture.router_input(x), mixture.router)
        found[name] = Routed(mixture.gates(x), logits.masked_fill(alone[:, None], math.nan))

    for name, module in built.named_modules():
        if isinstance(module, LoraMixture):
            released = released_name(f"{name}.router", built.config.vision_frozen).removesuffix(".lora_route.weight")
            module.register_forward_pre_hook(lambda mixture, given, at=released: look(at, mixture, *given))
    _encode(built, tokens, tasks)
    return found


def _adapted(model: VideoText, adapters: bool) -> AbstractContextManager[None]:
    return nullcontext() if adapters else model.frozen()


def _encode(model: VideoText, tokens: Tokens, tasks: Tensor | None) -> TextEmbeddings:
    if tasks is None:
        return encode_unrouted(model, tokens)
    refuse_tasks(model, tasks.tolist(), "the state dict")
    if tasks.shape != tokens.eot.shape:
        raise UserError(f"`tasks` must name one task per caption, [{len(tokens.eot)}], not {list(tasks.shape)}.")
    return model.encode_text(tokens, tasks)


def refuse_pixels(model: VideoText, pixels: Tensor) -> None:
    """Raise `UserError` unless pixels are [B, N, 3, S, S] floating-point numbers with the model's N and S."""
    frames, size = model.config.frames, model.clip.image_size
    if pixels.ndim != 5 or not len(pixels) or not pixels.is_floating_point():
        raise UserError(
            f"pixels must be normalised videos [B, N, 3, S, S], not {list(pixels.shape)} of {pixels.dtype}."
        )
    if pixels.shape[1] != frames:
        raise UserError(
            f"the pixels have {plural(pixels.shape[1], 'frame')} per video, but the model config has N = {frames}: "
            "give as many, or set `frames` in the model config."
        )
    if list(pixels.shape[2:]) != [3, size, size]:
        raise UserError(f"frames must be [3, {size}, {size}] for this backbone, not {list(pixels.shape[2:])}.")


def refuse_tasks(model: VideoText, tasks: Iterable[int], source: str) -> None:
    """Raise `UserError` unless the model has a task prototype of every task."""
    known = len(model.task_prototypes)
    if wrong := [task for task in tasks if not 1 <= task <= known]:
        raise UserError(
            f"{source} has {plural(known, 'task prototype')}, none of them of task {wrong[0]}: tasks count from 1."
        )
