"""A synthetic task of the published setting, in memory: MSRVTT-10, each caption once an epoch, 12 frames, fresh crops.

Frames are noise, captions are random ids, and CLIP has random weights.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import made
from structalign.learning.loading import load_method
from structalign.learning.memory import Memory
from structalign.learning.settings import Settings
from structalign.learning.trainer import Trainer
from structalign.model.backbone import Clip
from structalign.model.features import CENTRE, Captions
from structalign.model.sources import OnlineCrops, PixelSource
from structalign.model.video_text import VideoText

MEAN, STD = (torch.tensor(x).view(3, 1, 1) for x in ([0.481, 0.458, 0.408], [0.269, 0.261, 0.276]))
HEIGHT, WIDTH = 224, 299  # size of a stored frame of MSR-VTT


@dataclass(frozen=True)
class Shape:
    """size: of CLIP and adapters. Also pairs of a batch, frames of a video, videos of a task and captions of a video.

    gallery: test videos of a task, with one caption each.
    """

    size: made.Size = made.VIT_B_32
    batch: int = 32
    frames: int = 12
    videos: int = 32
    each: int = 20
    gallery: int = 299


PUBLISHED = Shape()
TOY = Shape(made.TINY, batch=4, frames=2, videos=4, each=2, gallery=4)


class Noise:
    """Decoded frames [N, H, W, 3] of a task's videos, cut out of one block of noise, and its captions."""

    views = 0

    def __init__(self, shape: Shape, task: int):
        self.rows = [{"id": f"{task}-{video}"} for video in range(shape.videos)]
        ratio = shape.size.image / HEIGHT
        block = (2 * shape.frames, shape.size.image, round(ratio * WIDTH), 3)
        self._noise = np.random.default_rng(task).integers(0, 256, block, dtype=np.uint8)
        self._frames = shape.frames
        video = torch.arange(shape.videos).repeat_interleave(shape.each)
        category = made.CATEGORIES * (task - 1) + video % made.CATEGORIES
        self._captions = Captions(made.captions(shape.size, len(video), seed=task), video, category)

    def __len__(self) -> int:
        return len(self.rows)

    def captions(self) -> Captions:
        return self._captions

    def frames(self, position: int) -> NDArray[np.uint8]:
        start = position % self._frames
        return self._noise[start : start + self._frames]


@dataclass
class CentreViews:
    """The centre views of `pixels` as the model reads them, computed on request."""

    pixels: PixelSource
    model: VideoText
    views: int = 0

    def __len__(self) -> int:
        return len(self.pixels)

    def captions(self) -> Captions:
        return self.pixels.captions()

    def read(self, video: int, view: str = CENTRE) -> Tensor:
        return self.model.inputs(self.pixels.read(video, view))


def random_clip(shape: Shape, device: torch.device) -> Clip:
    """A random CLIP with the attention implementation of a GPU."""
    clip = made.random_clip(shape.size)
    clip.model.set_attn_implementation("sdpa")  # type: ignore[operator]
    return clip.to(device)


def settings(shape: Shape, task: int, precision: str, epochs: int = 20) -> Settings:
    """The preset's settings of a task."""
    return made.settings(shape.size, task, shape.batch, precision, epochs)


def centre_views(shape: Shape, noise: Noise, model: VideoText, device: torch.device) -> CentreViews:
    """Centre views of noise. A stage would read them from a cache."""
    pixels = PixelSource(noise, noise, shape.size.image, (MEAN, STD), True, 0, device)  # type: ignore[arg-type]
    return CentreViews(pixels, model)


def begin(shape: Shape, model: VideoText, memory: Memory, task: int, acts: Settings, device: torch.device) -> Trainer:
    """Begin task `task` on fresh crops of its videos, as the train stage does."""
    centre = centre_views(shape, Noise(shape, task), model, device)
    videos = OnlineCrops(centre.pixels, centre, model, acts.backbone.precision)
    return Trainer(model, load_method("structalign"), videos, memory, task, acts, device)


def trainer(shape: Shape, task: int, precision: str, device: torch.device, epochs: int = 20) -> Trainer:
    """A trainer of task `task` after synthetic tasks."""
    acts, clip = settings(shape, task, precision, epochs), random_clip(shape, torch.device("cpu"))
    model, memory = made.model_for(clip, shape.size, "structalign", acts, task, shape.frames)
    return begin(shape, model.to(device), memory, task, acts, device)
