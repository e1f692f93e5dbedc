"""The one door for video files: frames really decoded and chosen by presentation time, upright, in usual colours.

A header's frame rate, count and duration may lie, so none is believed: every frame up to the end is decoded, and the
timestamps that the decoder reports decide which one is on screen at a moment. A declared length only tells beforehand
which pictures to keep, so that one pass is enough where it is true. Times are fractions, so that a moment that falls
exactly between two frames is always given to the later one.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from structalign.data.decoding.broken import BrokenVideo
from structalign.data.decoding.child import stop_all
from structalign.data.decoding.command import LOOKAHEAD
from structalign.data.decoding.formats import opened
from structalign.data.decoding.header import Header
from structalign.data.decoding.pipes import Image
from structalign.data.decoding.playing import Playing, playing
from structalign.data.decoding.seen import Seen
from structalign.data.decoding.selection import BUFFER, Selection, exactly, guess
from structalign.data.decoding.source import Source, require_ffmpeg

__all__ = [
    "THUMB",
    "BrokenVideo",
    "DecodedClip",
    "Measured",
    "Watched",
    "choose",
    "clip_length",
    "decode",
    "measure",
    "require_ffmpeg",
    "stop_all",
    "watch",
]

THUMB = 96  # short side of a thumbnail, pixels
SLENDER = 64  # times that a picture may be as long as it is wide
SAME_ASPECT = 0.02  # share by which the aspect may differ between frames: another resolution rounds it differently


@dataclass(frozen=True)
class DecodedClip:
    """N frames of one video or of a stretch of it, in order of presentation.

    frames: uint8 [N, H, W, 3], RGB, upright, square pixels, the short side as asked.
    times: N seconds from the start of the file: when each frame appears.
    start, duration: seconds; the stretch that the frames stand for.
    thumbnails: uint8 [N, h, w, 3], short side 96, or empty if not asked for.
    damage: what shows that the file is damaged, or None.
    playing: how a browser gets to see it.
    """

    frames: np.ndarray[Any, np.dtype[np.uint8]]
    times: list[float]
    start: float
    duration: float
    thumbnails: np.ndarray[Any, np.dtype[np.uint8]]
    damage: str | None = None
    playing: Playing = "transcode"


@dataclass(frozen=True)
class Measured:
    """What decoding without pictures tells of a clip: seconds, and what shows that the file is damaged, or None."""

    duration: float
    damage: str | None


def decode(
    path: Path,
    count: int,
    size: int,
    start: float | None = None,
    end: float | None = None,
    timeout: float = 60,
    thumbnails: bool = False,
) -> DecodedClip:
    """`count` frames of the video from `start` to `end` (seconds; None: its own), short side `size` pixels.

    Frame i is the one shown at start + (i+½)/count · duration, repeated where a video has fewer. The video is
    decoded from its beginning, since seeking trusts the file's index. An image is a video of one frame.
    Raises BrokenVideo, with a reason, for a file without a decodable frame in the stretch, one that cannot be shown
    as it is meant, or one that takes longer than `timeout` seconds, for each minute of a longer one.
    """
    sizes = [size, THUMB] if thumbnails else [size]
    with opened(path) as file:
        source = Source(path, file, end, timeout)
        seen = source.glance(sizes) or source.read(sizes, _guess(source.header, sizes, count, start, end))
        stretch = _stretch(seen, start, end, count)
        if (pictures := seen.pictures(stretch.indexes)) is None:  # what the header declares was not true
            again = source.read(sizes, exactly(seen.numbers(stretch.indexes)), limit=float("inf"))
            if not np.array_equal(again.ticks, seen.ticks) or (pictures := again.pictures(stretch.indexes)) is None:
                raise BrokenVideo("it decodes differently each time")
        damage, how = source.damage(seen), playing(source.header)
    return DecodedClip(
        frames=np.stack(pictures[0]),
        times=[float(seen.begins[index]) for index in stretch.indexes],
        start=float(stretch.first),
        duration=float(stretch.last - stretch.first),
        thumbnails=np.stack(pictures[1]) if thumbnails else np.zeros((0, 0, 0, 3), np.uint8),
        damage=damage,
        playing=how,
    )


def measure(
    path: Path, count: int = 1, start: float | None = None, end: float | None = None, timeout: float = 60
) -> Measured:
    """How long a video or a stretch of it really lasts, by decoding; raises BrokenVideo as `decode` would."""
    with opened(path) as file:
        source = Source(path, file, end, timeout)
        seen = source.glance([]) or source.read([], None)
        stretch = _stretch(seen, start, end, count)
        return Measured(float(stretch.last - stretch.first), source.damage(seen))


@dataclass(frozen=True)
class Watched:
    """What a pass over a whole file tells beside its pictures.

    times: when each picture that was handed on appears, seconds; start, end: of the file's frames, seconds.
    still: whether it is no video but a picture; playing: how a browser gets to see it; damage: or None.
    """

    times: list[float]
    start: float
    end: float
    still: bool
    playing: Playing
    damage: str | None


def watch(path: Path, size: int, take: Callable[[Image], object], at_least: int = 8, timeout: float = 60) -> Watched:
    """Hand on a picture [H, W, 3] a second of a whole file to `take`, in order, short side `size` pixels.

    A file of up to `at_least` seconds gives that many pictures, those of `decode`. A longer one is never held: the
    decoder waits while `take` works, which is no part of `timeout`. Raises BrokenVideo as `decode`.
    """
    with opened(path) as file:
        source = Source(path, file, None, timeout)
        short = _short(source, size, at_least)
        if short is not None:
            seen, indexes, pictures = short
            for picture in pictures:
                take(picture)
            times = [float(seen.begins[index]) for index in indexes]
        else:
            seen, times = source.stream(size, take)
            _stretch(seen, None, None, at_least)
        header = source.header
        return Watched(
            times, float(seen.begins[0]), float(seen.end), header.still, playing(header), source.damage(seen)
        )


def _short(source: Source, size: int, count: int) -> tuple[Seen, list[int], list[Image]] | None:
    """The pass, frames and pictures of a file that lasts up to `count` seconds; None for a longer one."""
    seen = source.glance([size])
    if seen is None:
        length = source.header.length
        if length is not None and length > count:
            return None
        seen = source.read([size], _guess(source.header, [size], count, None, None))
    if seen.end - seen.begins[0] > count:
        return None
    indexes = _stretch(seen, None, None, count).indexes
    if (pictures := seen.pictures(indexes)) is None:
        seen = source.read([size], exactly(seen.numbers(indexes)), limit=float("inf"))
        if (pictures := seen.pictures(indexes)) is None:
            raise BrokenVideo("it decodes differently each time")
    return seen, indexes, pictures[0]


def clip_length(path: Path, start: float | None = None, end: float | None = None, timeout: float = 60) -> float:
    """Seconds that a video or a stretch of it really lasts, by decoding; raises BrokenVideo as `decode`."""
    return measure(path, 1, start, end, timeout).duration


def choose(begins: Sequence[Fraction], start: Fraction, end: Fraction, count: int) -> list[int]:
    """Which frame is shown at start + (i+½)/count · (end−start), i < count; `begins` sorted, seconds.

    >>> choose([Fraction(0), Fraction(1), Fraction(5)], Fraction(0), Fraction(6), 3)
    [1, 1, 2]
    """
    return [max(bisect_right(begins, moment) - 1, 0) for moment in _moments(start, end, count)]


def _moments(start: Fraction, end: Fraction, count: int) -> list[Fraction]:
    return [start + Fraction(2 * i + 1, 2 * count) * (end - start) for i in range(count)]


@dataclass(frozen=True)
class _Stretch:
    """From `first` to `last`, seconds, and which frames stand for it."""

    first: Fraction
    last: Fraction
    indexes: list[int]


def _stretch(seen: Seen, start: float | None, end: float | None, count: int) -> _Stretch:
    """The asked stretch cut to the decoded one; BrokenVideo where its frames cannot all be shown alike."""
    begin, finish = seen.begins[0], seen.end
    first = begin if start is None else max(begin, Fraction(str(start)))  # 1.4 as written, not as a binary float
    last = finish if end is None else min(finish, Fraction(str(end)))
    if first >= last:
        since = f"{start or 0:g}"
        asked = f"{since} s to its end" if end is None else f"{since} to {end:g} s"
        raise BrokenVideo(
            f"nothing is shown from {asked}: its frames last from {float(begin):.3f} to {float(finish):.3f} s"
        )
    indexes = choose(seen.begins, first, last, count)
    aspects = seen.aspects[[0, *indexes]]  # ffmpeg squashes all to the first's
    if aspects.max() - aspects.min() > max(1, SAME_ASPECT * aspects.max()):
        raise BrokenVideo("its picture changes its shape in the middle")
    if not 1000 / SLENDER <= aspects[0] <= 1000 * SLENDER:
        raise BrokenVideo(f"its picture is more than {SLENDER} times as long as wide")
    return _Stretch(first, last, indexes)


def _guess(
    header: Header, sizes: Sequence[int], count: int, start: float | None, end: float | None
) -> Selection | None:
    """Which pictures are likely to be needed, by what the header declares; None: all."""
    wide, high = header.size or (2.0, 1.0)
    slender = max(wide, high) / min(wide, high)
    if slender > SLENDER:
        return Selection("n", ())
    frame_bytes = slender * sum(3 * size * size for size in sizes)
    if header.still or header.length is None:
        return None if header.still else guess([], None, header.rate, frame_bytes, BUFFER)
    first, last = start or 0.0, header.length if end is None else min(header.length, end)
    moments = [float(moment) for moment in _moments(Fraction(first), Fraction(max(first, last)), count)]
    decoded = header.length if end is None else min(header.length, end + LOOKAHEAD)
    return guess(moments, decoded, header.rate, frame_bytes, BUFFER)
