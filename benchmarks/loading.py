"""Frames to batch: what a training step reads of its videos.

Ours: stored uint8 frames made into normalised pixels, and cached states after the frozen prefix. Plain: a PNG file a
frame, decoded and resized. Files are in the system's cache on both sides.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from benchmarks import made, plain
from benchmarks.options import OUT, REPEATS, TINY
from benchmarks.timing import compare, keep, show
from structalign.data.frame_store import FrameSplit, write_split
from structalign.model.device import prepare_device
from structalign.model.features import CENTRE, Features, write_captions, write_index, write_view
from structalign.model.features import Captions as TrainingCaptions
from structalign.model.sources import PixelSource, load_batch

GOAL = 6.0
MEAN, STD = (torch.tensor(x).view(3, 1, 1) for x in ([0.481, 0.458, 0.408], [0.269, 0.261, 0.276]))


def loading(
    videos: Annotated[int, typer.Option(min=1, help="videos of a batch")] = 8,
    frames: Annotated[int, typer.Option(min=1, help="frames of a video")] = 12,
    height: Annotated[int, typer.Option(min=16, help="short side of the PNG files, pixels; the long one is 4/3")] = 240,
    repeats: REPEATS = 7,
    tiny: TINY = False,
    out: OUT = Path("benchmarks/results"),
) -> None:
    """Frames read into a batch."""
    options = dict(locals(), out=str(out))
    device, size = prepare_device(), made.size_of(tiny)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = lay_pictures(place, videos, frames, height)
        lay_frames(place / "frames", files, size.image)
        features = lay_states(place / "features", videos, frames, size)
        split = FrameSplit(place / "frames")
        pixels = PixelSource(features, split, size.image, (MEAN, STD), flip=False, seed=0, device=device)

        def theirs() -> Tensor:
            return torch.stack([plain.load_frames(video, size.image, MEAN, STD) for video in files]).to(device)

        def ours(side: PixelSource | Features) -> Callable[[], Tensor]:
            return lambda: load_batch(side, [(video, CENTRE) for video in range(videos)]).to(device)

        rows = [
            compare("stored frames to pixels", ours(pixels), theirs, GOAL, repeats, device),
            compare("cached states", ours(features), theirs, GOAL, repeats, device),
        ]
    show(rows)
    keep(out, "loading", device, options, rows)


def lay_pictures(place: Path, videos: int, frames: int, height: int) -> list[list[Path]]:
    """A PNG file a frame."""
    files = []
    for video in range(videos):
        (folder := place / f"png{video}").mkdir()
        files.append([folder / f"{frame:02d}.png" for frame in range(frames)])
        for frame, file in enumerate(files[-1]):
            Image.fromarray(made.picture(height, height * 4 // 3, video * frames + frame)).save(file)
    return files


def lay_frames(folder: Path, files: list[list[Path]], size: int) -> None:
    """The same frames as the frames stage stores them: short side `size`."""
    rows = []
    for number, video in enumerate(files):
        shown = []
        for file in video:
            with Image.open(file) as image:
                width = round(image.width * size / image.height)
                shown.append(np.asarray(image.resize((width, size), Image.Resampling.BICUBIC)))
        rows.append(({"id": str(number)}, np.stack(shown)))
    write_split(folder, rows)


def lay_states(folder: Path, videos: int, frames: int, size: made.Size) -> Features:
    """Random cached states of as many videos."""
    folder.mkdir()
    tokens = (size.image // size.patch) ** 2 + 1
    source = torch.Generator().manual_seed(0)
    states = [torch.randn(frames, tokens, size.vision[0], generator=source) for _ in range(videos)]
    write_view(folder, CENTRE, states, [])
    video = torch.arange(videos)
    write_captions(folder, TrainingCaptions(made.captions(size, videos), video, torch.zeros_like(video)))
    write_index(folder, [{"id": str(number)} for number in range(videos)], 0, 0)
    return Features(folder)
