"""The result of one decoding pass: all frames' times in order of presentation, and the pictures of some frames."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from structalign.data.decoding.broken import BrokenVideo
from structalign.data.decoding.pipes import Image, Times

Ticks = np.ndarray[Any, np.dtype[np.int64]]

STILL = Fraction(1, 25)  # seconds that a single frame without a length is shown


class Begins(Sequence[Fraction]):
    """The times at which frames appear, in seconds, computed on access."""

    def __init__(self, ticks: Ticks, base: Fraction) -> None:
        self._ticks, self._base = ticks, base

    def __len__(self) -> int:
        return len(self._ticks)

    def __getitem__(self, index: Any) -> Any:
        return int(self._ticks[index]) * self._base


class Seen:
    """`begins`: seconds. `aspects`: width / height in thousandths. `end`: the end of the last frame in seconds.

    `spacing` is how long the last frame may be shown, from the file or from the frame before it, in seconds.
    """

    def __init__(
        self,
        times: Times,
        selected: Times | None,
        images: Sequence[list[Image] | None],
        log: str,
        lengths: bool = True,
    ) -> None:
        """`images`, in each size, show the frames with the times `selected`, or all frames if it is None.

        Without `lengths` the file gives no frame lengths. Then ffmpeg's computed lengths count if they match the times.
        """
        if times.base is None or not times.begins:
            raise BrokenVideo("its frames have no times")
        stamps = np.frombuffer(times.begins, np.int64)
        self._order = np.argsort(stamps, kind="stable")  # arrays, since a day of video has five million frames
        self.log = log
        self.ticks = stamps[self._order]
        self.begins = Begins(self.ticks, times.base)
        self.aspects = np.frombuffer(times.sizes, np.int64)[self._order]
        before = int(self.ticks[-1] - self.ticks[-2]) if len(stamps) > 1 else 0
        length = times.lengths[int(self._order[-1])] or before
        if not lengths and before > 2 * length:
            length = before
        self.spacing = max(length, before) * times.base
        self.end = self.begins[-1] + (length * times.base or STILL)
        self._kept = None if selected is None else _places(times.begins, selected.begins)
        count = len(stamps) if self._kept is None else len(self._kept)
        self._images = [images for images in images if images is not None and len(images) == count]
        self._whole = 0 < len(self._images) == len(images)

    def numbers(self, indexes: Sequence[int]) -> list[int]:
        """The frames' numbers in the order of decoding, from 0."""
        return [int(self._order[index]) for index in indexes]

    def pictures(self, indexes: Sequence[int]) -> list[list[Image]] | None:
        """The frames' pictures in each size. None if one is missing."""
        numbers = self.numbers(indexes)
        places = numbers if self._kept is None else [self._kept[number] for number in numbers if number in self._kept]
        if not self._whole or len(places) < len(numbers):
            return None
        return [[images[place] for place in places] for images in self._images]


def _places(ticks: Sequence[int], selected: Sequence[int]) -> dict[int, int]:
    """Maps each selected frame's number among all frames to its place among the selected, in the order of decoding."""
    found, here = dict[int, int](), 0
    for place, tick in enumerate(selected):
        while here < len(ticks) and ticks[here] != tick:
            here += 1
        found[here] = place
        here += 1
    return found
