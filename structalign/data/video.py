"""The only module that reads video files: decoded frames, chosen by presentation time, upright, in standard colours.

A header's frame rate, count and duration may be wrong, so they are not trusted. All frames up to the end are decoded,
and the decoder's timestamps decide which frame is on screen at a moment. A declared length only predicts which pictures
to keep. If it is right, one pass is enough. Times are fractions: a moment exactly between two frames always belongs to
the later one.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from structalign.data.decoding.broken import NO_STREAM, BrokenVideo
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
    "NO_STREAM",
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
SLENDER = 64  # the largest ratio of a picture's long side to its short side
SAME_ASPECT = 0.02  # relative tolerance of the aspect between frames, since each resolution rounds it differently


@dataclass(frozen=True)
class DecodedClip:
    """N frames of a video or of a stretch of it, in order of presentation.

    frames: uint8 [N, H, W, 3], RGB, upright, square pixels, with the requested short side.
    times: N seconds from the start of the file at which the frames appear.
    start, duration: the stretch that the frames represent, in seconds.
    thumbnails: uint8 [N, h, w, 3], short side 96, or empty if not requested.
    damage: the signs that the file is damaged, or None.
    playing: how the file is sent to a browser.
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
    """A clip's length in seconds, and the signs that its file is damaged, or None. Decoded without pictures."""

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
    """`count` frames of the video from `start` to `end` (seconds, None: the file's), short side `size` pixels.

    Frame i is the one shown at start + (i+½)/count · duration. Frames repeat if a video has fewer. The video is decoded
    from its beginning, since seeking trusts the file's index. An image is a video of one frame.
    Raises BrokenVideo with a reason if the stretch has no decodable frame, or if the file cannot be shown correctly. It
    also raises if decoding takes longer than `timeout` seconds per minute of video (at least one minute).
    """
    sizes = [size, THUMB] if thumbnails else [size]
    with opened(path) as file:
        source = Source(path, file, end, timeout)
        seen = source.glance(sizes) or source.read(sizes, _guess(source.header, sizes, count, start, end))
        stretch = _stretch(seen, start, end, count)
        if (pictures := seen.pictures(stretch.indexes)) is None:  # the header was wrong
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
    """The true length of a video or of a stretch of it, by decoding. Raises BrokenVideo like `decode`."""
    with opened(path) as file:
        source = Source(path, file, end, timeout)
        seen = source.glance([]) or source.read([], None)
        stretch = _stretch(seen, start, end, count)
        return Measured(float(stretch.last - stretch.first), source.damage(seen))


@dataclass(frozen=True)
class Watched:
    """The result of a pass over a whole file, without its pictures.

    times: the times of the pictures in seconds. start, end: of the file's frames, in seconds. still: whether the file
    is a picture and no video. playing: how the file is sent to a browser. damage: signs of damage, or None.
    """

    times: list[float]
    start: float
    end: float
    still: bool
    playing: Playing
    damage: str | None


def watch(path: Path, size: int, take: Callable[[Image], object], at_least: int = 8, timeout: float = 60) -> Watched:
    """Pass one picture [H, W, 3] per second of a whole file to `take`, in order, short side `size` pixels.

    A file of up to `at_least` seconds gives that many pictures, those of `decode`. A longer file is streamed: the
    decoder waits while `take` works, which does not count towards `timeout`. Raises BrokenVideo like `decode`.
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
        still = header.still or (header.format == "gif" and len(seen.begins) == 1)
        return Watched(times, float(seen.begins[0]), float(seen.end), still, playing(header), source.damage(seen))


def _short(source: Source, size: int, count: int) -> tuple[Seen, list[int], list[Image]] | None:
    """The pass, frames and pictures of a file of up to `count` seconds. None for a longer file."""
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
    """The true length in seconds of a video or of a stretch of it, by decoding. Raises BrokenVideo like `decode`."""
    return measure(path, 1, start, end, timeout).duration


def choose(begins: Sequence[Fraction], start: Fraction, end: Fraction, count: int) -> list[int]:
    """The indexes of the frames shown at start + (i+½)/count · (end−start), i < count. `begins`: sorted seconds.

    >>> choose([Fraction(0), Fraction(1), Fraction(5)], Fraction(0), Fraction(6), 3)
    [1, 1, 2]
    """
    return [max(bisect_right(begins, moment) - 1, 0) for moment in _moments(start, end, count)]


def _moments(start: Fraction, end: Fraction, count: int) -> list[Fraction]:
    return [start + Fraction(2 * i + 1, 2 * count) * (end - start) for i in range(count)]


@dataclass(frozen=True)
class _Stretch:
    """A stretch from `first` to `last` in seconds, and the frames that represent it."""

    first: Fraction
    last: Fraction
    indexes: list[int]


def _stretch(seen: Seen, start: float | None, end: float | None, count: int) -> _Stretch:
    """The requested stretch within the decoded one. Raises BrokenVideo if its frames differ in shape."""
    begin, finish = seen.begins[0], seen.end
    first = begin if start is None else max(begin, Fraction(str(start)))  # 1.4 as written, not as a binary float
    last = finish if end is None else min(finish, Fraction(str(end)))
    if first >= last:
        since = f"{start or 0:g}"
        asked = f"{since} s to its end" if end is None else f"{since} to {end:g} s"
        raise BrokenVideo(
            f"it shows nothing from {asked}: its frames last from {float(begin):.3f} to {float(finish):.3f} s"
        )
    indexes = choose(seen.begins, first, last, count)
    aspects = seen.aspects[[0, *indexes]]  # ffmpeg scales all frames to the first one's shape
    if aspects.max() - aspects.min() > max(1, SAME_ASPECT * aspects.max()):
        raise BrokenVideo("its aspect ratio changes within the clip")
    if not 1000 / SLENDER <= aspects[0] <= 1000 * SLENDER:
        raise BrokenVideo(f"one side of its picture is more than {SLENDER} times the other")
    return _Stretch(first, last, indexes)


def _guess(
    header: Header, sizes: Sequence[int], count: int, start: float | None, end: float | None
) -> Selection | None:
    """The pictures that are probably needed, by the header. None: all."""
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
