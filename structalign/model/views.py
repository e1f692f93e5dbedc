"""Views of a video: the centre view, and seeded random crops, which can be cached (method, section 6)."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from structalign.model.backbone import CPU
from structalign.model.device import send, send_bytes
from structalign.seeds import seed_of

SCALE = (0.5, 1.0)  # crop area as a share of the frame's
ASPECT = (3 / 4, 4 / 3)
ATTEMPTS = 10


def normalised_view(
    frames: NDArray[np.uint8],
    size: int,
    statistics: tuple[Tensor, Tensor],
    *key: str | int,
    flip: bool = False,
) -> Tensor:
    """[N, H, W, 3] stored frames -> [N, 3, size, size] normalised pixels: the centre view, or a seeded one.

    statistics: mean and standard deviation [3, 1, 1], on the device that crops. key: (features.seed, name of
    the view, id of the video). Without a key it is the centre view.
    """
    mean, std = statistics
    # in place, since fresh memory takes longer than the arithmetic
    return view_of(frames, size, *key, flip=flip, device=mean.device).contiguous().sub_(mean).div_(std)


@dataclass(frozen=True)
class Crop:
    """shown: [N, 3, h, w], bytes or in 0..1, the part of the frames that a view shows.

    finish: makes the view [N, 3, size, size] of it, in 0..1.
    """

    shown: Tensor
    finish: Callable[[Tensor], Tensor]

    def view(self, device: torch.device) -> Tensor:
        return self.finish(_colours(self.shown, device))


def view_of(
    frames: NDArray[np.uint8], size: int, *key: str | int, flip: bool = False, device: torch.device = CPU
) -> Tensor:
    """`normalised_view` before it is normalised, in 0..1."""
    return crop_of(frames, size, *key, flip=flip).view(device)


def crop_of(frames: NDArray[np.uint8], size: int, *key: str | int, flip: bool = False) -> Crop:
    """The crop of `view_of`."""
    stored = torch.from_numpy(frames).permute(0, 3, 1, 2)
    if not key:
        return centre_crop(stored, size)
    return random_crop(stored, size, flip, torch.Generator().manual_seed(seed_of(*key)))


def views_of(crops: Sequence[Crop], device: torch.device) -> Iterator[Tensor]:
    """The views of crops whose frames are bytes, sent to a GPU together."""
    if device.type == "cpu":
        yield from (crop.view(device) for crop in crops)
        return
    row = send_bytes([crop.shown.permute(0, 2, 3, 1) for crop in crops], device)
    sizes = [crop.shown.numel() // 3 for crop in crops]
    colours = torch.empty(3, sum(sizes), device=device)
    torch.div(row.view(-1, 3).T, 255, out=colours)
    for crop, own in zip(crops, torch.split(colours, sizes, dim=1), strict=True):
        frames, _, height, width = crop.shown.shape
        yield crop.finish(own.view(3, frames, height, width).transpose(0, 1))


def centre_crop(frames: Tensor, size: int) -> Crop:
    """Of frames [N, 3, H, W], bytes or in 0..1: bicubic resize of the short side, then the centre square."""
    height, width = frames.shape[-2:]
    short = min(height, width)
    if short == size:
        return Crop(_centre(frames, size), lambda colours: colours)
    shape = (size * height // short, size * width // short)  # CLIP's own resize drops the fraction too

    def finish(colours: Tensor) -> Tensor:
        resized = F.interpolate(colours, shape, mode="bicubic", antialias=True).clamp(0, 1)
        return _centre(resized, size)

    return Crop(frames, finish)


def _centre(frames: Tensor, size: int) -> Tensor:
    height, width = frames.shape[-2:]
    top, left = (height - size) // 2, (width - size) // 2
    return frames[..., top : top + size, left : left + size]


def _colours(frames: Tensor, device: torch.device) -> Tensor:
    """Bytes as floats in 0..1, on the device. They are sent as bytes, in their order in memory."""
    if frames.dtype != torch.uint8:
        return frames.to(device)
    if device.type != "cpu":
        frames = send(frames.permute(0, 2, 3, 1).contiguous(), device).permute(0, 3, 1, 2)
    return torch.empty(frames.shape, device=device).copy_(frames).div_(255)


def random_crop(frames: Tensor, size: int, flip: bool, source: torch.Generator) -> Crop:
    """Of frames [N, 3, H, W], bytes or in 0..1: one random resized crop of all. With `flip`, half are mirrored."""
    whole_height, whole_width = frames.shape[-2:]
    top, left, height, width = _box(whole_height, whole_width, source)
    mirrored = flip and bool(torch.rand((), generator=source) < 0.5)

    def finish(colours: Tensor) -> Tensor:
        view = F.interpolate(colours, (size, size), mode="bilinear", antialias=True)
        return view.flip(-1) if mirrored else view

    return Crop(frames[..., top : top + height, left : left + width], finish)


def _box(height: int, width: int, source: torch.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a crop, with uniform area and log-aspect.

    After `ATTEMPTS` crops that do not fit, it is the largest centre crop.
    """
    for _ in range(ATTEMPTS):
        area = height * width * _uniform(*SCALE, source)
        aspect = math.exp(_uniform(math.log(ASPECT[0]), math.log(ASPECT[1]), source))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(height - h + 1, (), generator=source))
            left = int(torch.randint(width - w + 1, (), generator=source))
            return top, left, h, w
    h, w = min(height, round(width / ASPECT[0])), min(width, round(height * ASPECT[1]))
    return (height - h) // 2, (width - w) // 2, h, w


def _uniform(low: float, high: float, source: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=source))
