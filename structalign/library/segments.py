"""Cut a file into segments. A segment is a stretch of a video that search finds as a unit.

Letters: F frames of a file, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor
from torch.nn import functional as F

SAME_SHOT = 0.7  # a lower cosine of two frames one second apart means a change of shot
LONGEST, SHORTEST = 20.0, 2.0  # seconds
FRAMES = 12  # at most, per segment

T = TypeVar("T")


@dataclass(frozen=True)
class Segment:
    """start, end: seconds. frames: the sampled frames that represent the segment, in order."""

    start: float
    end: float
    frames: list[int]


def cut(embeddings: Tensor, times: Sequence[float], end: float) -> list[Segment]:
    """The segments of a file, from its frames [F, D], their times, and the end of the last frame in seconds.

    A cut is at a change of shot, and where a segment has lasted LONGEST. A segment shorter than SHORTEST is merged with
    the previous one, or with the next one at the beginning.
    """
    unit = F.normalize(embeddings.float(), dim=-1)
    same = (unit[1:] * unit[:-1]).sum(dim=1).tolist()
    begins = [0]
    for frame, likeness in enumerate(same, start=1):
        since = times[frame] - times[begins[-1]]
        if likeness < SAME_SHOT and since < SHORTEST and len(begins) > 1 and times[frame] - times[begins[-2]] < LONGEST:
            begins[-1] = frame  # a short segment joins the one before it, which would grow without limit in flicker
        elif (likeness < SAME_SHOT and since >= SHORTEST) or since >= LONGEST:
            begins.append(frame)
    if len(begins) > 1 and end - times[begins[-1]] < SHORTEST:
        begins.pop()
    ends = [*begins[1:], len(times)]
    return [
        Segment(
            times[first] if first else min(times[0], 0.0), times[last] if last < len(times) else end, _few(first, last)
        )
        for first, last in zip(begins, ends, strict=True)
    ]


def _few(first: int, last: int) -> list[int]:
    """The frames from `first` to `last`, or FRAMES evenly spread ones."""
    return spread(range(first, last), min(last - first, FRAMES))


def spread(values: Sequence[T], count: int) -> list[T]:
    """`count` evenly spread values. If there are fewer, some repeat.

    >>> spread([0.0, 1.0, 2.0], 1), spread([0.0, 1.0, 2.0], 5)
    ([1.0], [0.0, 0.0, 1.0, 2.0, 2.0])
    """
    return [values[int((i + 0.5) * len(values) / count)] for i in range(count)]
