"""The stored videos of an index in parts, and where a position of the index is among them.

Letters: V clips and segments, M stored vectors of one, D embedding.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from structalign.library.entries import Entry, Floats
from structalign.search.candidates import frames_of
from structalign.search.index import Gallery
from structalign.search.scoring import VECTORS
from structalign.search.signal import prepared
from structalign.search.similarity_heads import SimilarityHead


@dataclass(frozen=True)
class Part:
    """Videos stored by one encoder.

    means: [V, D] mapped vectors of videos in a table. Their frames [V', N, D] are mapped, too, and of these `rows` [V].
    """

    gallery: Gallery
    entries: Sequence[Entry]
    vectors: Tensor | None = None
    means: Floats | None = None
    rows: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.entries) if self.rows is None else len(self.rows)

    def frames(self, places: Sequence[int]) -> Tensor:
        """The stored vectors [len(places), M, D] of some videos."""
        chosen = places if self.rows is None else self.rows[list(places)].tolist()
        return frames_of(self.gallery.frames, chosen)

    def prepared(self, head: SimilarityHead) -> "Part":
        """The same, prepared for single queries (`search.signal.prepared`). It is no table."""
        return self if self.vectors is not None else self._of(self.gallery.frames, head)

    def pieces(self, head: SimilarityHead) -> Iterator["Part"]:
        """The same, prepared. A table is read a tile at a time, since new memory for a large copy is slow."""
        if self.rows is None:
            yield self.prepared(head)
            return
        at_once = max(1, VECTORS // self.gallery.frames.shape[1])
        for start in range(0, len(self), at_once):
            yield self._of(self.frames(range(start, min(start + at_once, len(self)))), head)

    def _of(self, frames: Tensor, head: SimilarityHead) -> "Part":
        videos, vectors = prepared(frames, head)
        return replace(self, gallery=replace(self.gallery, frames=videos), vectors=vectors, rows=None)


Chosen = list[tuple[list[int], Part]]  # for each task: where its segments are in the asked positions, and they


class Parts:
    """All parts of an index, in the order of its entries."""

    def __init__(self, parts: Iterable[Part]):
        self._parts = list(parts)
        self._firsts = [0, *accumulate(map(len, self._parts))][:-1]

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    @property
    def tasks(self) -> list[int]:
        """The number of each task with stored videos."""
        return sorted({part.gallery.number for part in self._parts})

    @property
    def numbers(self) -> int:
        """How many numbers are stored."""
        return sum(math.prod(part.gallery.frames.shape) for part in self._parts)

    def prepare(self, head: SimilarityHead) -> None:
        """Prepare the parts in memory for single queries. A table stays mapped, since it may be large."""
        self._parts = [part if part.means is not None else part.prepared(head) for part in self._parts]

    def at(self, place: int) -> tuple[Part, int]:
        """The part of the segment at a position, and its position in the part."""
        number = bisect_right(self._firsts, place) - 1
        return self._parts[number], place - self._firsts[number]

    def first_of(self, task: int) -> int:
        """The position of the first segment of a task, by its number."""
        return next(first for first, part in zip(self._firsts, self._parts, strict=True) if part.gallery.number == task)

    def some(self, places: Sequence[int]) -> Chosen:
        """The segments at some ascending positions."""
        found: dict[tuple[int, ...], tuple[list[int], list[Tensor], Gallery]] = {}
        for first, part in zip(self._firsts, self._parts, strict=True):
            begin, end = bisect_left(places, first), bisect_left(places, first + len(part))
            if begin < end:
                frames = part.frames([place - first for place in places[begin:end]])
                alike = part.gallery.number, *frames.shape[1:]
                here, parts, _ = found.setdefault(alike, ([], [], part.gallery))
                here += range(begin, end)
                parts.append(frames)
        return [
            (here, Part(replace(gallery, frames=torch.cat(frames)), ())) for here, frames, gallery in found.values()
        ]


def merged(parts: Sequence[Part]) -> list[Part]:
    """The parts of each task as one, since comparing many small parts is slow."""

    def alike(part: Part) -> tuple[int, ...]:
        return part.gallery.number, *part.gallery.frames.shape[1:], *part.gallery.zero_shot.shape[1:]

    joined = []
    for _, same in groupby(sorted(parts, key=alike), key=alike):
        group = list(same)
        gallery = replace(
            group[0].gallery,
            rows=[row for part in group for row in part.gallery.rows],
            frames=torch.cat([part.gallery.frames for part in group]),
            zero_shot=torch.cat([part.gallery.zero_shot for part in group]),
        )
        joined.append(Part(gallery, [entry for part in group for entry in part.entries]))
    return joined
