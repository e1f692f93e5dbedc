"""The sampled frames of a split: work/frames/<task>/<split>."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from structalign.data.shards import Shards, VideoRow, write_shards

FrameArray = np.ndarray[Any, np.dtype[np.uint8]]


def write_split(folder: Path, items: Iterable[tuple[VideoRow, FrameArray]]) -> None:
    """Write (row, frames uint8 [N, H, W, 3]) pairs in order, completely or not at all.

    A row describes the clip: id, category, file, start and duration (seconds), times (N seconds).
    """
    write_shards(folder, items)


class FrameSplit:
    """Reads a split written by `write_split`."""

    def __init__(self, folder: Path) -> None:
        self._shards = Shards(folder)

    @property
    def rows(self) -> list[VideoRow]:
        """One row per clip, in the order of `frames`."""
        return self._shards.rows

    def __len__(self) -> int:
        return len(self._shards)

    def frames(self, position: int) -> FrameArray:
        """Frames of the clip at `position`: uint8 [N, H, W, 3], RGB, short side `frames.size`."""
        return self._shards.array(position)
