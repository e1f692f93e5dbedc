"""Many small arrays on disk: an index.json, and safetensors files of 32 videos each, in order."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from structalign.store import read_rows, reading, whole_folder, write_json

SHARD = 32
VideoRow = dict[str, Any]
Array = np.ndarray[Any, np.dtype[np.uint8]]


def write_shards(folder: Path, items: Iterable[tuple[VideoRow, Array]]) -> None:
    """Write (row, uint8 array) pairs, with one shard in memory at a time. Writes all or nothing."""
    rows: list[VideoRow] = []
    shard: dict[str, Array] = {}
    with whole_folder(folder) as part:
        for position, (row, array) in enumerate(items):
            rows.append(row)
            shard[str(position)] = np.ascontiguousarray(array)
            if len(shard) == SHARD:
                save_file(shard, _shard(part, position))
                shard = {}
        if shard:
            save_file(shard, _shard(part, len(rows) - 1))
        write_json(part / "index.json", {"videos": rows})


def _shard(folder: Path, position: int) -> Path:
    return folder / f"{position // SHARD:03d}.safetensors"


class Shards:
    """Reads the output of `write_shards`: `rows`, and the array at a position."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def rows(self) -> list[VideoRow]:
        """The rows of the index, in order."""
        return read_rows(self.folder / "index.json", "videos", "id")

    def __len__(self) -> int:
        return len(self.rows)

    def array(self, position: int) -> Array:
        """The array of the row at `position`, without reading the index. Raises IndexError if there is none."""
        file = _shard(self.folder, position)
        if position < 0 or not file.exists():
            raise IndexError(f"{self.folder} has no video at {position}")
        with reading(file), safe_open(file, framework="numpy") as tensors:
            there = str(position) in tensors.keys()  # noqa: SIM118 - not a dict
            array: Array = tensors.get_tensor(str(position)) if there else np.empty(0, np.uint8)
        if not there:
            raise IndexError(f"{self.folder} has no video at {position}")
        return array
