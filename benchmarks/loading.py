"""Reading the videos of a training batch.

Ours: stored uint8 frames become normalised pixels, or the cached states after the frozen prefix are read. Plain: one
PNG file for each frame is decoded and resized. On both sides the files are in the system's cache.
"""

import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks import made, plain
from benchmarks.measuring import Row, in_turn
from structalign.data.frame_store import FrameSplit, write_split
from structalign.model.features import CENTRE, Captions, Features, view_name, write_captions, write_index, write_view
from structalign.model.sources import PixelSource, load_batch

REPEATS = 5
CPU = torch.device("cpu")


def loading(toy: bool) -> Iterator[Row]:
    """Videos read into a batch: centre views for embedding, random crops or cached states for training."""
    size, videos, frames, height = (made.TINY, 2, 2, 48) if toy else (made.VIT_B_32, 8, 12, 240)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        files = lay_pictures(place, videos, frames, height)
        lay_frames(place / "frames", files, size.image)
        cached = lay_states(place / "features", videos, frames, size)
        pixels = PixelSource(
            cached, FrameSplit(place / "frames"), size.image, made.STATISTICS, flip=True, seed=0, device=CPU
        )
        visits = count()

        def read(load: Callable[..., Tensor]) -> Callable[[], Tensor]:
            return lambda: torch.stack([load(video, size.image, *made.STATISTICS) for video in files])

        def fresh() -> Tensor:
            return load_batch(pixels, [(video, view_name(next(visits))) for video in range(videos)])

        def centre(source: PixelSource | Features) -> Callable[[], Tensor]:
            return lambda: load_batch(source, [(video, CENTRE) for video in range(videos)])

        repeats = 1 if toy else REPEATS
        name = f"{videos} videos × {frames} frames to a batch"
        yield in_turn(f"{name}, centre", {"plain": read(plain.load_frames), "ours": centre(pixels)}, repeats)
        ways = {
            "plain": read(plain.load_random_crop),
            "ours, fresh crops": fresh,
            "ours, cached states": centre(cached),
        }
        yield in_turn(f"{name}, random crops", ways, repeats)


def lay_pictures(place: Path, videos: int, frames: int, height: int) -> list[list[Path]]:
    """Write a PNG file for each frame, 4:3."""
    files = []
    for video in range(videos):
        (folder := place / f"png{video}").mkdir()
        files.append([folder / f"{frame:02d}.png" for frame in range(frames)])
        for frame, file in enumerate(files[-1]):
            Image.fromarray(made.picture(height, height * 4 // 3, video * frames + frame)).save(file)
    return files


def lay_frames(folder: Path, files: list[list[Path]], size: int) -> None:
    """Write the same frames as the frames stage does, with short side `size`."""
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
    """Write random cached states of `videos` videos."""
    folder.mkdir()
    tokens = (size.image // size.patch) ** 2 + 1
    source = torch.Generator().manual_seed(0)
    states = [torch.randn(frames, tokens, size.vision[0], generator=source) for _ in range(videos)]
    write_view(folder, CENTRE, states, [])
    video = torch.arange(videos)
    write_captions(folder, Captions(made.captions(size, videos), video, torch.zeros_like(video)))
    write_index(folder, [{"id": str(number)} for number in range(videos)], 0, 0)
    return Features(folder)
