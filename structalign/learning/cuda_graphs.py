"""CUDA graphs of the towers.

A training step launches thousands of small kernels. A recorded tower launches all of its kernels at once. This helps if
the GPU waits for the CPU, as with ViT-B/32 and batches of 32.

A recording has fixed shapes. Videos are padded to a full batch by repeats of the first one, and captions to one length.
Towers that count in their forward pass, or recompute it, are not recorded.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structalign.model.adapters import Known
from structalign.model.backbone import Tokens
from structalign.model.device import autocast
from structalign.model.video_text import VideoText

Recorded = Callable[..., Tensor]


class FrameTower(nn.Module):
    """`VideoText.encode_frames` as a separate module, with autocast if `precision` asks for it."""

    def __init__(self, model: VideoText, precision: str):
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, states: Tensor) -> Tensor:
        # a cast that autocast cached outside would be missing from the graph
        with autocast(states.device, self.precision, cache=False):
            return self.model.encode_frames(states).to(states.dtype)


class TextTower(nn.Module):
    """Raw embeddings [R, L, D] of the tokens of captions that are all routed as task `number`."""

    def __init__(self, model: VideoText, number: int):
        super().__init__()
        self.model, self.number = model, number

    def forward(self, ids: Tensor, eot: Tensor) -> Tensor:
        prototypes = list(self.model.task_prototypes)
        own = prototypes[self.number - 1] if prototypes else ids.new_zeros(1, dtype=torch.float32)
        known: Known = "first" if self.number == 1 else "later"
        self.model.routing.set(torch.full_like(eot, self.number), eot, own.expand(len(eot), -1), known)
        return self.model.text_states(Tokens(ids, eot))


def recordable(model: VideoText) -> bool:
    """Whether the model's towers may be recorded."""
    return model.config.input_kind == "states" and not model.moes() and not model.clip.recompute


def record_frames(model: VideoText, states: Tensor, precision: str, rows: int) -> Recorded:
    """The frame tower for at most `rows` videos like `states` [B, N, T, W]."""
    sample = pad_batch(states, rows).clone()
    tower = torch.cuda.make_graphed_callables(FrameTower(model, precision), (sample,), allow_unused_input=True)
    return lambda videos: cast(Tensor, tower(pad_batch(videos, rows)))[: len(videos)]


def record_text(model: VideoText, tokens: Tokens, number: int, length: int) -> Recorded:
    """The text tower for as many captions as `tokens`, each of at most `length` tokens. It takes `Tokens`."""

    def widened(part: Tokens) -> tuple[Tensor, Tensor]:
        # padding after a caption's end does not change the tokens before it
        return F.pad(part.ids, (0, length - part.ids.shape[1])), part.eot

    tower = torch.cuda.make_graphed_callables(TextTower(model, number), widened(tokens), allow_unused_input=True)
    return lambda part: cast(Tensor, tower(*widened(part)))[:, : part.ids.shape[1]]


def pad_batch(x: Tensor, rows: int) -> Tensor:
    """[R, ...] -> [rows, ...], the first row repeated at the end."""
    return torch.cat([x, x[:1].expand(rows - len(x), *x.shape[1:])]) if len(x) < rows else x
