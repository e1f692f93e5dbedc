"""Read the times and pictures of frames from ffmpeg's pipes, with bounded memory.

Times come as ffmpeg's framecrc in a separate pipe, so no message or file name can break them.
"""

from array import array
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from structalign.data.decoding.broken import BrokenVideo

Image = np.ndarray[Any, np.dtype[np.uint8]]

LINE = 1000  # bytes of a line of times; a longer line is an error
FRAMES = 6_000_000  # per video: a day at 60 frames per second
NO_TIME = -(2**63)  # ffmpeg's AV_NOPTS_VALUE
PIXELS = 2**28  # of one picture
ENOUGH = 100  # bytes that suffice for a picture's header


class Times:
    """Reads framecrc: a header with each stream's time base, then a line per frame with time, length and size in bytes.

    Several streams give one list. `end` is the latest end of all streams in seconds.
    """

    def __init__(self) -> None:
        self.begins, self.lengths, self.sizes = array("q"), array("q"), array("q")
        self.base: Fraction | None = None
        self.end = 0.0
        self._bases: dict[bytes, Fraction] = {}
        self._rest = b""

    def __call__(self, data: bytes) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > LINE or len(self.begins) > FRAMES:
            raise BrokenVideo("its timestamps can't be read")
        try:
            for line in lines:
                self._read(line)
        except (ValueError, OverflowError, ZeroDivisionError, KeyError):
            raise BrokenVideo("its timestamps can't be read") from None

    def _read(self, line: bytes) -> None:
        if line.startswith(b"#tb "):
            stream, base = line[4:].split(b": ")
            numerator, denominator = base.split(b"/")
            self.base = self._bases[stream] = Fraction(int(numerator), int(denominator))
        elif line and not line.startswith(b"#"):
            stream, _, begin, length, size, *_ = line.split(b",")
            if int(begin) == NO_TIME or self._bases[stream] <= 0:
                raise ValueError
            self.begins.append(int(begin))
            self.lengths.append(max(int(length), 0))
            self.sizes.append(int(size))
            self.end = max(self.end, float((self.begins[-1] + self.lengths[-1]) * self._bases[stream]))


class Pictures:
    """Reads PPM pictures and keeps them if they fit into `limit` bytes. Otherwise `images` is None."""

    def __init__(self, limit: float) -> None:
        self.images: list[Image] | None = []
        self._limit = limit
        self._held = bytearray()
        self._need = 0  # bytes of the next picture with its header; 0 until the header is read
        self._shape = (0, 0, 3)

    def __call__(self, data: bytes) -> None:
        if self.images is None:
            return
        self._held += data
        while self.images is not None and self._begin() and len(self._held) >= self._need:
            body = bytes(memoryview(self._held)[self._need - int(np.prod(self._shape)) : self._need])
            del self._held[: self._need]
            self._need = 0
            self._take(np.frombuffer(body, np.uint8).reshape(self._shape))

    def _take(self, image: Image) -> None:
        self._limit -= image.nbytes
        if self.images is None or self._limit < 0:
            self.images = None
            self._held.clear()
        else:
            self.images.append(image)

    def _begin(self) -> bool:
        """Read the next picture's header. Returns False if it is not complete yet."""
        if self._need:
            return True
        parts = bytes(self._held[:ENOUGH]).split(b"\n", 3)
        if len(parts) < 4:
            if len(self._held) >= ENOUGH:
                raise BrokenVideo("its pictures can't be read")
            return False
        size = parts[1].split()
        if parts[0] != b"P6" or len(size) != 2 or not all(number.isdigit() for number in size):
            raise BrokenVideo("its pictures can't be read")
        width, height = int(size[0]), int(size[1])
        if not 0 < width * height <= PIXELS:
            raise BrokenVideo("its pictures can't be read")
        self._shape = (height, width, 3)
        self._need = len(b"\n".join(parts[:3])) + 1 + width * height * 3
        return True


class PassedOn(Pictures):
    """Passes each picture on as it arrives, and keeps none."""

    def __init__(self, take: Callable[[Image], object]) -> None:
        super().__init__(float("inf"))
        self._hand_on = take

    def _take(self, image: Image) -> None:
        self._hand_on(image)
