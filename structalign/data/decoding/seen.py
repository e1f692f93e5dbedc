"""What one pass of decoding gave: every frame's times, in order of presentation, and the pictures of some."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from structalign.data.decoding.broken import BrokenVideo
from structalign.data.decoding.pipes import Image, Times

STILL = Fraction(1, 25)  # seconds that a lone frame without a length of its own is taken to be shown


class Begins(Sequence[Fraction]):
    """When frames appear, seconds, computed only where it is asked."""

    def __init__(self, ticks: Sequence[int], base: Fraction) -> None:
        self._ticks, self._base = ticks, base

    def __len__(self) -> int:
        return len(self._ticks)

    def __getitem__(self, index: Any) -> Any:
        return self._ticks[index] * self._base


class Seen:
    """`begins`: seconds; `aspects`: width to height, in thousandths; `end`: when the last frame vanishes, seconds.

    `spacing` is how long the last frame may be shown, by the file or by the frame before it, seconds.
    """

    def __init__(
        self,
        times: Times,
        selected: Times | None,
        images: Sequence[list[Image] | None],
        log: str,
        lengths: bool = True,
    ) -> None:
        """`images` are of the frames whose times are `selected`, in each size; of all if it is None.

        Without `lengths` the file holds none: what ffmpeg makes up counts where frames do follow each other like that.
        """
        if times.base is None or not times.begins:
            raise BrokenVideo("its frames have no times")
        order = sorted(range(len(times.begins)), key=times.begins.__getitem__)
        self.log = log
        self.ticks = [times.begins[number] for number in order]
        self.begins = Begins(self.ticks, times.base)
        self.aspects = [times.sizes[number] for number in order]
        before = self.ticks[-1] - self.ticks[-2] if len(order) > 1 else 0
        length = times.lengths[order[-1]] or before
        if not lengths and before > 2 * length:
            length = before
        self.spacing = max(length, before) * times.base
        self.end = self.begins[-1] + (length * times.base or STILL)
        self._order, self._images = order, images
        kept = range(len(order)) if selected is None else _places(times.begins, selected.begins)
        self._place = {number: place for place, number in enumerate(kept)}

    def numbers(self, indexes: Sequence[int]) -> list[int]:
        """Which frames these are in the order of decoding, from 0."""
        return [self._order[index] for index in indexes]

    def pictures(self, indexes: Sequence[int]) -> list[list[Image]] | None:
        """The frames' pictures, in each size; None where one is lacking."""
        places = [place for number in self.numbers(indexes) if (place := self._place.get(number)) is not None]
        whole = [images for images in self._images if images is not None and len(images) > max(places, default=0)]
        if len(places) < len(indexes) or not whole or len(whole) < len(self._images):
            return None
        return [[images[place] for place in places] for images in whole]


def _places(ticks: Sequence[int], selected: Sequence[int]) -> list[int]:
    """Where the selected frames stand among all, both in the order of decoding."""
    found, here = list[int](), 0
    for tick in selected:
        while here < len(ticks) and ticks[here] != tick:
            here += 1
        found.append(here)
        here += 1
    return found
