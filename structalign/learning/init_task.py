"""The model and memory with which a task begins: those of the previous checkpoint, or new ones."""

from pathlib import Path

import torch
from torch import Tensor

from structalign.errors import UserError
from structalign.learning.etf import etf_head_init, random_head_init
from structalign.learning.memory import Memory, empty_memory, memory_of
from structalign.learning.method import Method
from structalign.learning.settings import Settings
from structalign.learning.vertices import initial_vertices
from structalign.model.backbone import Clip, load_clip
from structalign.model.checkpoint import build_model, load_memory, read_config
from structalign.model.device import env_flag, prepare_device
from structalign.model.video_text import ModelConfig, VideoText
from structalign.params.losses import Etf


def backbone(folder: Path) -> tuple[Clip, torch.device]:
    """Load the CLIP in `folder` for training on this machine's device.

    STRUCTALIGN_RECOMPUTE=1 saves memory: activations of the vision tower are computed again in the backward pass.
    STRUCTALIGN_COMPILE=1 compiles its layers.
    """
    device = prepare_device()
    clip = load_clip(folder, device, recompute=env_flag("STRUCTALIGN_RECOMPUTE"))
    if env_flag("STRUCTALIGN_COMPILE"):
        for layer in clip.vision_layers:
            layer.compile(dynamic=True)  # the number of distinct videos differs between batches
    return clip, device


def from_checkpoint(
    clip: Clip, previous: Path, method: Method, settings: Settings, number: int, frames: int
) -> tuple[VideoText, Memory]:
    """The model and memory with which task `number` (from 1) begins, from the checkpoint folder `previous`.

    Task 1 trains only the mixture's first expert. When task 2 begins, it is copied into the others (method, section 2).
    """
    model, memory = build_model(clip, read_config(previous), previous), memory_of(load_memory(previous))
    if model is None:
        return from_scratch(clip, method, settings, frames)
    if not len(memory.vertices):
        raise UserError(
            f"{previous} was imported, so it remembers no category and no vertex. Use it for search only, and train "
            f"task {number} after tasks that were trained here."
        )
    model.add_task(settings.seed, "task prototype", number)
    if number == 2:
        for mixture in model.mixtures():
            mixture.spread_first_expert()
    return model, memory


def from_scratch(clip: Clip, method: Method, settings: Settings, frames: int) -> tuple[VideoText, Memory]:
    """A new model of `method` for its first task, for videos of `frames` frames.

    `seed` seeds its modules, and `etf.seed` the head and the simplex. Diagnostics measure every method against the
    simplex.
    """
    etf = settings[Etf]
    model = VideoText(clip, shape_of(method, settings, frames), settings.seed)
    with torch.no_grad():
        for name, weight in model.head.named_parameters():
            weight.copy_(_head(etf, clip.embedding_dim, name))
    if settings.adapters.fusion_init == "uniform":
        for fusion in model.fusions():
            fusion.initialise_uniformly(settings.seed, "fusion", fusion.layer)
    model.add_task(settings.seed, "task prototype", 1)
    return model, empty_memory(initial_vertices(etf), clip.embedding_dim)


def shape_of(method: Method, settings: Settings, frames: int) -> ModelConfig:
    """The model config of `method` for videos of `frames` frames."""
    adapters, etf = settings.adapters, settings[Etf]
    return ModelConfig(
        frames=frames,
        vision_frozen=settings.backbone.vision_frozen,
        rank=adapters.rank,
        alpha=adapters.alpha,
        experts=adapters.experts,
        dropout=adapters.dropout,
        etf_dim=etf.dim,
        modules=method.modules,
        input_kind=method.input_kind,
        head=etf.head,
        words=adapters.words,
    )


def _head(etf: Etf, embedding: int, name: str) -> Tensor:
    if etf.head == "frozen_random":
        return random_head_init(etf.dim, embedding, etf.seed, name)
    return etf_head_init(etf.dim, embedding, etf.seed)
