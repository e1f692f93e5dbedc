"""Sources of a model's videos: cached states, the frames' pixels, embeddings of zero-shot CLIP, or new crops.

New crops at every visit are used if no training views are cached. All sources have the interface of
`model.features.Features`: `len`, `views`, `captions()` and `read(video, view)`. `read` gives [N, ...] of one video for
`VideoText.encode_frames`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from structalign.model.backbone import Clip
from structalign.model.features import CENTRE, Captions, Features, Stored, VideoSource
from structalign.model.video_text import VideoText
from structalign.model.views import Crop, crop_of, views_of


class FrameReader(Protocol):
    """Decoded frames of a split, in the order of its features."""

    def frames(self, position: int) -> NDArray[np.uint8]: ...


class PixelSource:
    """Normalised pixels [N, 3, S, S] of the same centre and seeded views as the features.

    The device crops the bytes.
    """

    def __init__(
        self,
        features: Features,
        frames: FrameReader,
        size: int,
        statistics: tuple[Tensor, Tensor],
        flip: bool,
        seed: int,
        device: torch.device,
    ):
        self.features, self.frames, self.size, self.flip, self.seed = features, frames, size, flip, seed
        mean, std = statistics
        self.statistics = mean.to(device), std.to(device)
        self.views = features.views

    def __len__(self) -> int:
        return len(self.features)

    def captions(self) -> Captions:
        return self.features.captions()

    def read(self, video: int, view: str = CENTRE) -> Tensor:
        return self.batch([(video, view)])[0]

    def batch(self, shown: Sequence[tuple[int, str]]) -> Tensor:
        """[B, N, 3, S, S] of views (video, view), each put in its place at once, since a stack takes longer."""
        mean, std = self.statistics
        crops = [self._crop(video, view) for video, view in shown]
        out = torch.empty(len(crops), len(crops[0].shown), 3, self.size, self.size, device=mean.device)
        for place, one in zip(out, views_of(crops, mean.device), strict=True):
            place.copy_(one)
        return out.sub_(mean).div_(std)

    def _crop(self, video: int, view: str) -> Crop:
        key = () if view == CENTRE else (self.seed, view, str(self.features.rows[video]["id"]))
        return crop_of(self.frames.frames(video), self.size, *key, flip=self.flip)


class EmbeddingSource:
    """Zero-shot CLIP's frame embeddings [N, D]. The tower runs once per view, and not for centre views."""

    def __init__(self, features: Features, clip: Clip, depth: int, device: torch.device):
        self.features, self.clip, self.depth, self.device = features, clip, depth, device
        self.views = features.views
        self._done: dict[str, Any] = {CENTRE: features.zero_shot_frames()} if len(features) else {}

    def __len__(self) -> int:
        return len(self.features)

    def captions(self) -> Captions:
        return self.features.captions()

    @torch.no_grad()
    def read(self, video: int, view: str = CENTRE) -> Tensor:
        if view not in self._done:
            states = (self.features.read(i, view).to(self.device) for i in range(len(self)))
            self._done[view] = torch.stack([self.clip.vision_suffix(x, self.depth).cpu() for x in states])
        found: Tensor = self._done[view][video]
        return found


class OnlineCrops:
    """A new crop at every visit (`features.train_views` 0), encoded by the frozen part of the tower.

    A visit's number keys its crop, so repeated reads give the same crop. Centre views are `cached`. precision: of the
    frozen tower, as for cached training views.
    """

    views = 0

    def __init__(self, pixels: PixelSource, cached: VideoSource, model: VideoText, precision: str = "fp32"):
        self.pixels, self.cached, self.model, self.precision = pixels, cached, model, precision

    def __len__(self) -> int:
        return len(self.cached)

    def captions(self) -> Captions:
        return self.cached.captions()

    def read(self, video: int, view: str = CENTRE) -> Tensor:
        if view == CENTRE:
            return self.cached.read(video)
        return self.model.inputs(self.pixels.read(video, view), self.precision)


def load_batch(videos: VideoSource, shown: Sequence[tuple[int, str]]) -> Tensor:
    """[B, N, ...], the views (video, view) of a batch.

    Stored views keep their precision. New crops are encoded together.
    """
    if isinstance(videos, OnlineCrops) and all(view != CENTRE for _, view in shown):
        pixels = videos.pixels.batch(shown)
        read = videos.model.inputs(pixels.flatten(0, 1), videos.precision)
        return read.view(*pixels.shape[:2], *read.shape[1:])
    if isinstance(videos, PixelSource):
        return videos.batch(shown)
    look = videos.stored if isinstance(videos, Stored) else videos.read
    return torch.stack([look(video, view) for video, view in shown])


def make_source(
    model: VideoText,
    features: Features,
    frames: FrameReader,
    statistics: tuple[Tensor, Tensor],
    device: torch.device,
    flip: bool = False,
    seed: int = 0,
    precision: str = "fp32",
) -> VideoSource:
    """The source of a split's videos for `model`. flip, seed, precision: for training views that are not cached."""
    pixels = PixelSource(features, frames, model.clip.image_size, statistics, flip, seed, device)
    if model.config.input_kind == "pixels":
        return pixels
    made = EmbeddingSource(features, model.clip, model.config.vision_frozen, device)
    cached = made if model.config.input_kind == "embeddings" else features
    return cached if features.views else OnlineCrops(pixels, cached, model, precision)
