"""Encode one view of one video by the frozen part of CLIP, in any process. A process loads the backbone once."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from structalign.errors import UserError
from structalign.model.backbone import Clip, load_clip, pixel_statistics
from structalign.model.device import autocast, matrix_products, prepare_device
from structalign.model.features import CENTRE
from structalign.model.views import normalised_view
from structalign.params.backbone import Backbone
from structalign.params.features import FeaturesParams
from structalign.text import plural


@dataclass(frozen=True)
class Recipe:
    """The inputs of a view's states besides its frames: the CLIP in `folder`, the settings and torch's threads."""

    folder: Path
    backbone: Backbone
    features: FeaturesParams
    threads: int


@torch.inference_mode()
def encode_view(recipe: Recipe, frames: NDArray[np.uint8], video: str, view: str, precision: str) -> dict[str, Tensor]:
    """`states` [N, T, W] float16 of a view of the video with id `video`.

    The centre view also gives zero-shot CLIP's `frames` [N, D] float32. frames: [N, H, W, 3]. One video is encoded at a
    time, so that results do not depend on other videos.
    """
    clip, mean, std, device = _loaded(recipe.folder, _stamp(recipe.folder))
    torch.set_num_threads(recipe.threads)  # a worker may have another number of cores
    depth, layers = recipe.backbone.vision_frozen, len(clip.vision_layers)
    if depth > layers:
        raise UserError(
            f"`backbone.vision_frozen` = {depth}, but {recipe.backbone.name} has only "
            f"{plural(layers, 'vision layer')}: lower it."
        )
    section = recipe.features
    key = () if view == CENTRE else (section.seed, view, video)
    pixels = normalised_view(frames, clip.image_size, (mean, std), *key, flip=section.flip)
    with matrix_products(precision), autocast(device, precision):
        states = clip.vision_prefix(pixels, depth).half()
    if view != CENTRE:
        return {"states": states.cpu()}
    return {"states": states.cpu(), "frames": clip.vision_suffix(states.float(), depth).cpu()}


@lru_cache(maxsize=1)
def _loaded(folder: Path, stamp: tuple[tuple[str, int, int], ...]) -> tuple[Clip, Tensor, Tensor, torch.device]:
    device = prepare_device()
    mean, std = pixel_statistics(folder)
    return load_clip(folder, device), mean.to(device), std.to(device), device


def _stamp(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Sizes and times of a folder's files, to detect changes in a worker that outlives a run."""
    files = sorted(folder.iterdir())
    return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
