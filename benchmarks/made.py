"""Synthetic inputs of the benchmarks: a random CLIP, captions, a task's videos, and a model at the start of a task.

Letters: V videos, N frames, S image size, R captions, L tokens, D embedding.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.plain import Plan
from structalign.learning.init_task import from_scratch
from structalign.learning.loading import load_method
from structalign.learning.memory import Memory, remember
from structalign.learning.settings import Settings
from structalign.model.backbone import Clip, Tokens, empty_clip
from structalign.model.device import autocast
from structalign.model.features import (
    CENTRE,
    Captions,
    Features,
    view_name,
    write_captions,
    write_index,
    write_view,
)
from structalign.model.video_text import VideoText
from structalign.params.adapters import Adapters
from structalign.params.backbone import Backbone
from structalign.params.losses import Contrastive, Crp, Etf, Pseudo
from structalign.params.optim import Phase, Shared

CATEGORIES = 2  # categories of a task, as in MSRVTT-10
ROOM = 20  # categories of all tasks


@dataclass(frozen=True)
class Size:
    """Sizes of a CLIP and its adapters. text and vision: (width, inner width, layers, heads)."""

    text: tuple[int, int, int, int]
    vision: tuple[int, int, int, int]
    vocabulary: int
    positions: int
    image: int
    patch: int
    dim: int
    frozen: int
    rank: int
    experts: int


VIT_B_32 = Size((512, 2048, 12, 8), (768, 3072, 12, 12), 49408, 77, 224, 32, 512, 2, 64, 10)
SAMPLE = Size((128, 512, 3, 4), (160, 640, 4, 5), 1468, 32, 48, 8, 128, 2, 8, 5)  # as in data/clip and params.yaml
TINY = Size((32, 40, 3, 4), (32, 40, 3, 4), 64, 32, 32, 16, 24, 1, 2, 3)

# mean and deviation of pixels, roughly CLIP's
STATISTICS = torch.tensor([0.481, 0.458, 0.408]).view(3, 1, 1), torch.tensor([0.269, 0.261, 0.276]).view(3, 1, 1)


def size_of(tiny: bool) -> Size:
    return TINY if tiny else VIT_B_32


def random_clip(size: Size) -> Clip:
    """A random CLIP of this size. Every call gives equal weights."""
    text, vision = (
        dict(zip(("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"), x, strict=True))
        for x in (size.text, size.vision)
    )
    end = size.vocabulary - 1
    ids = {"bos_token_id": end - 1, "eos_token_id": end, "pad_token_id": end}
    config = {
        "text_config": {**text, **ids, "vocab_size": size.vocabulary, "max_position_embeddings": size.positions},
        "vision_config": {**vision, "image_size": size.image, "patch_size": size.patch},
        "projection_dim": size.dim,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        clip = empty_clip(config)
    if torch.cuda.is_available():  # as `load_clip` chooses it on a GPU
        clip.model.set_attn_implementation("sdpa")  # type: ignore[operator]
    return clip


def captions(size: Size, count: int, seed: int = 0) -> Tokens:
    """Random captions as long as MSR-VTT's: 6 to 30 tokens, about 12 on average, with start and end."""
    source = torch.Generator().manual_seed(seed)
    spread = torch.randn(count, generator=source) * 0.35
    lengths = (torch.exp(2.42 + spread)).round().long().clamp(6, min(30, size.positions))
    end = size.vocabulary - 1
    ids = torch.randint(end - 1, (count, int(lengths.max())), generator=source)
    ids[:, 0] = end - 1
    eot = lengths - 1
    ids[torch.arange(ids.shape[1]) >= eot[:, None]] = end
    return Tokens(ids, eot)


def settings(size: Size, task: int, batch: int, precision: str, epochs: int = 20) -> Settings:
    """MSRVTT's published settings, except those that depend on a shape."""
    rates = Phase(
        epochs=epochs,
        lr=2e-5 if task == 1 else 3e-6,
        alpha_lr=2e-5 if task == 1 else 1e-5,
        head_lr=1e-5,
        tower_lr=1e-7,
        warmup=0.1 if task == 1 else 0.0,
    )
    losses = (
        Contrastive(scale=17.6, logit_adjustment=0, sentence_weight=0, mask_duplicates=True),
        Etf(dim=size.dim, capacity=ROOM, weight=0.1, vertices="exact", head="shared", seed=0),
        Crp(weight=10, temperature=2, teacher="previous"),
        Pseudo(weight=0.5, covariance="radius", mask_same_category=False),
    )
    return Settings(
        seed=0,
        backbone=Backbone.model_validate({"name": "random", "vision_frozen": size.frozen, "precision": precision}),
        adapters=Adapters(
            rank=size.rank,
            alpha=4 * size.rank,
            experts=size.experts,
            dropout=0.1,
            fusion_init="identity",
            words="strict",
        ),
        losses=tuple(section for section in losses if section.since <= task),
        shared=Shared(batch=batch, epoch="captions", sampling="uniform", weight_decay=0.5, clip=1),
        phase=rates,
    )


def model_for(clip: Clip, size: Size, method: str, acts: Settings, task: int, frames: int) -> tuple[VideoText, Memory]:
    """A model at the start of `task` and its memory. Everything trained is slightly off its initial value."""
    model, memory = from_scratch(clip, load_method(method), acts, frames)
    for number in range(2, task + 1):
        model.add_task("benchmark", number)
    shake(model)
    if task > 1:
        for mixture in model.mixtures():
            mixture.spread_first_expert()
        memory = remembered(memory, size.dim, CATEGORIES * (task - 1))
    return model.eval(), memory


def shake(model: VideoText) -> None:
    """Add small seeded noise to every adapter, so that no adapter is the identity."""
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameters in model.groups().items():
            if name != "tower":
                for p in parameters:
                    p.add_(torch.randn(p.shape, generator=source) * 0.02)


def remembered(memory: Memory, dim: int, categories: int) -> Memory:
    """`memory` with that many learned categories, of random samples."""
    source = torch.Generator().manual_seed(2)
    category = torch.arange(categories).repeat_interleave(4)
    text, video = (torch.randn(len(category), dim, generator=source) for _ in range(2))
    return remember(memory, text, category, video, category, categories)


def plan_of(model: VideoText, size: Size) -> Plan:
    """The settings that the plain implementation needs besides the model's weights."""
    config = model.config
    return Plan(
        frames=config.frames,
        fused=config.vision_frozen,
        vision_heads=size.vision[3],
        text_heads=size.text[3],
        patch=size.patch,
        scale=config.alpha / config.rank,
        dropout=config.dropout,
    )


def picture(height: int, width: int, number: int) -> NDArray[np.uint8]:
    """[height, width, 3] of smooth colours with a little noise, roughly as hard to decode as a photograph."""
    source = np.random.default_rng(number)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    waves = source.uniform(0.005, 0.06, (3, 2)).astype(np.float32)
    smooth = np.stack([np.sin(x * a + number) + np.cos(y * b) for a, b in waves], axis=-1) * 55 + 128
    noisy = smooth + source.normal(0, 4, smooth.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def pixels(size: Size, videos: int, frames: int) -> Tensor:
    """[V, N, 3, S, S] random normalised pixels."""
    return torch.randn(videos, frames, 3, size.image, size.image, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def lay_features(
    folder: Path, clip: Clip, acts: Settings, shown: Tensor, each: int, size: Size, first: int, views: int
) -> Features:
    """Write features of a task's training videos, as the features stage does.

    There are `views` training views of each video, each of the pixels `shown` [V, N, 3, S, S]. Each video has `each`
    captions. The categories begin at `first`.
    """
    folder.mkdir(parents=True)
    device = next(clip.parameters()).device
    states = []
    for video in shown:
        with autocast(device, acts.backbone.precision):
            states.append(clip.vision_prefix(video.to(device), size.frozen).cpu())
    write_view(
        folder, CENTRE, states, [torch.zeros(shown.shape[1], size.dim)] * len(shown)
    )  # no training step reads these
    for view in range(views):
        write_view(folder, view_name(view), states, [])
    video = torch.arange(len(shown)).repeat_interleave(each)
    write_captions(folder, Captions(captions(size, len(video)), video, first + video % CATEGORIES))
    write_index(folder, [{"id": str(v)} for v in range(len(shown))], views, 0)
    return Features(folder)
