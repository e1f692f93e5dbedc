"""Which frames' pictures the decoder returns: chosen by time before their times are known, or by number after."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Spans = tuple[tuple[float, float], ...]

BUFFER = 64 * 2**20  # bytes of scaled frames that are held until the choice is known
RATE = 25.0  # frames per second if the header has no rate
SHORT = 300  # frames to request if the length is unknown


@dataclass(frozen=True)
class Selection:
    """Frames whose number `n`, or time `t` in seconds, is in one of the spans.

    Spans are sorted and include their ends.
    """

    variable: Literal["n", "t"]
    spans: Spans

    def expression(self) -> str:
        """An expression for ffmpeg's select.

        It is a binary tree, since ffmpeg's parser fails on sums of hundreds of terms.
        """
        return _tree(self.variable, self.spans)


@dataclass(frozen=True)
class Steady:
    """The first frame of every second."""

    def expression(self) -> str:
        """An expression for ffmpeg's select."""
        return "isnan(prev_selected_t)+gt(floor(t),floor(prev_selected_t))"


def exactly(numbers: Iterable[int]) -> Selection:
    """Only the frames with these numbers, from 0 in the order of decoding.

    >>> exactly([4, 3, 7]).expression()
    'if(lt(n,7),between(n,3,4),between(n,7,7))'
    """
    return Selection("n", _merged([(number, number) for number in sorted(set(numbers))], gap=1))


def guess(
    moments: Sequence[float], length: float | None, rate: float | None, frame_bytes: float, buffer: int
) -> Selection | None:
    """The frames that may be shown at the `moments` (seconds). None means all frames.

    The selection is as large as `buffer` bytes allow, to tolerate a wrong header. It is empty if too few frames fit.
    """
    rate = rate or RATE
    room = max(int(buffer // max(frame_bytes, 1)), 1)
    if length is None:
        return Selection("n", ((0, min(SHORT, room) - 1),))
    if length * rate * 1.1 < room:
        return None
    reach = (room / len(moments) - 2) / rate / 2  # each span has two more frames at its ends
    if reach * rate < 1:
        return Selection("n", ())
    return Selection("t", _merged([(moment - reach - 1 / rate, moment + reach) for moment in sorted(moments)]))


def _merged(spans: Iterable[tuple[float, float]], gap: float = 0) -> Spans:
    merged: list[tuple[float, float]] = []
    for begin, end in spans:
        if merged and begin <= merged[-1][1] + gap:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return tuple(merged)


def _tree(variable: str, spans: Spans) -> str:
    if not spans:
        return "0"
    if len(spans) == 1:
        return f"between({variable},{_number(spans[0][0])},{_number(spans[0][1])})"
    half = len(spans) // 2
    left, right = _tree(variable, spans[:half]), _tree(variable, spans[half:])
    return f"if(lt({variable},{_number(spans[half][0])}),{left},{right})"


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")
