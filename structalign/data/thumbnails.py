"""Thumbnails of test videos for the report and the search: work/thumbs/<task>, JPEG, short side 96 px."""

from collections.abc import Iterable
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from structalign.data.shards import Shards, write_shards
from structalign.errors import UserError
from structalign.text import plural


def encode(frames: np.ndarray[Any, np.dtype[np.uint8]]) -> list[bytes]:
    """JPEG bytes of each frame of uint8 [N, h, w, 3]."""
    return [_jpeg(frame) for frame in frames]


def _jpeg(frame: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    with BytesIO() as stream:
        Image.fromarray(frame).save(stream, "JPEG", quality=80, optimize=True)
        return stream.getvalue()


def write_thumbs(folder: Path, items: Iterable[tuple[str, list[bytes]]]) -> None:
    """Write (clip id, JPEG bytes per frame) pairs. A clip's pictures are concatenated in one array."""
    write_shards(
        folder,
        (
            (
                {"id": name, "lengths": [len(picture) for picture in pictures]},
                np.frombuffer(b"".join(pictures), np.uint8),
            )
            for name, pictures in items
        ),
    )


class Thumbs:
    """Reads the output of `write_thumbs`."""

    def __init__(self, folder: Path) -> None:
        self._shards = Shards(folder)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {row["id"]: position for position, row in enumerate(self._shards.rows)}

    def __contains__(self, video: str) -> bool:
        return video in self._position

    def jpeg(self, video: str, frame: int) -> bytes:
        """JPEG bytes of a clip's sampled frame, counted from 0.

        Raises `UserError` if the clip or frame does not exist.
        """
        if video not in self:
            raise UserError(f"{self._shards.folder} has no thumbnail of {video}: run `dvc repro`.")
        position = self._position[video]
        lengths: list[int] = self._shards.rows[position]["lengths"]
        if not 0 <= frame < len(lengths):
            raise UserError(
                f"{video} has {plural(len(lengths), 'sampled frame')}, counted from 0, but no frame {frame}."
            )
        begin = sum(lengths[:frame])
        return self._shards.array(position)[begin : begin + lengths[frame]].tobytes()
