"""Where a file is cut: a segment is the stretch of a video that is found as one.

Letters: F frames of a file, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

SAME_SHOT = 0.7  # cosine of two frames a second apart, below which the shot has changed
LONGEST, SHORTEST = 20.0, 2.0  # seconds
FRAMES = 12  # of a segment, at most


@dataclass(frozen=True)
class Segment:
    """start, end: seconds; frames: which of the file's sampled frames stand for it, in order."""

    start: float
    end: float
    frames: list[int]


def cut(embeddings: Tensor, times: Sequence[float], end: float) -> list[Segment]:
    """The segments of a file from its frames [F, D], when they appear, and when the last one vanishes, seconds.

    Cut where the shot changes, and where a segment has lasted LONGEST; what is left shorter than SHORTEST belongs to
    the segment before it, or, at the beginning, to the one behind.
    """
    unit = F.normalize(embeddings.float(), dim=-1)
    same = (unit[1:] * unit[:-1]).sum(dim=1).tolist()
    begins = [0]
    for frame, likeness in enumerate(same, start=1):
        since = times[frame] - times[begins[-1]]
        if likeness < SAME_SHOT and since < SHORTEST and len(begins) > 1 and times[frame] - times[begins[-2]] < LONGEST:
            begins[-1] = frame  # the short one falls to the segment before it, which would grow for ever in a flicker
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
    """The frames from `first` up to `last`, or FRAMES of them, evenly spread."""
    count = last - first
    if count <= FRAMES:
        return list(range(first, last))
    return [first + int((i + 0.5) * count / FRAMES) for i in range(FRAMES)]
