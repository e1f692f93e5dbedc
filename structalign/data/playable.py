"""Make what a browser shows of a video file: a frame, a streamed stretch, or a whole copy.

These are only for viewing. Seeks trust the file's index, as players do, so that long files answer quickly. Training and
ranking use `video`, which trusts no index.
"""

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from structalign.data.decoding import child, command
from structalign.data.decoding.broken import BrokenVideo
from structalign.data.decoding.child import Sink
from structalign.data.decoding.ending import Stopped, refuse_incomplete
from structalign.data.decoding.formats import opened
from structalign.data.decoding.header import Header
from structalign.data.decoding.source import Source
from structalign.machine import cores

__all__ = ["POSTER", "Killed", "copy", "still", "stretch"]

POSTER = 480  # pixels of the longer side
HIGHEST = 720  # height of a played video in pixels
PATIENCE = 20.0  # seconds for a frame
STRETCH = 120.0  # seconds for half a minute of video
COPY = 1800.0  # seconds for a whole copy
IDLY, GENTLY = 15, 5  # niceness of work that nobody waits for, and of small requests
LARGEST = 4 * 2**30  # bytes of a copy
NO_ROOM = os.strerror(errno.ENOSPC)  # as ffmpeg says it

Condition = Callable[[], bool]


class Killed(BrokenVideo):
    """Another process ended the decoder, for example the system for lack of memory. The video may be sound."""


def always() -> bool:
    return True


def never() -> bool:
    return False


def still(path: Path, at: float, wanted: Condition = always) -> bytes:
    """JPEG of the frame shown at `at` seconds, or of the first frame if there is none. Raises BrokenVideo."""
    with _header(path, PATIENCE) as (file, header):
        for moment in (at, 0.0):
            reader, writer = os.pipe()
            taken = bytearray()
            line = command.still(file, header, moment, POSTER, writer)
            _run(line, path, file, PATIENCE, wanted, never, {reader: (writer, taken.extend)}, niceness=GENTLY)
            if taken:
                return bytes(taken)
    raise BrokenVideo("it has no frame that can be shown")


def stretch(
    path: Path,
    begin: float,
    seconds: float,
    take: Sink,
    height: int = HIGHEST,
    sound: bool = True,
    wanted: Condition = always,
) -> None:
    """Pass a stretch of the file to `take` as MP4, piece by piece as it is made. Raises BrokenVideo."""
    with _header(path, STRETCH) as (file, header):
        reader, writer = os.pipe()
        count = 0

        def counted(data: bytes) -> None:
            nonlocal count
            count += len(data)
            take(data)

        line = command.moving(file, header, begin, seconds, height, sound, writer, min(cores(), 4))
        _run(line, path, file, STRETCH, wanted, never, {reader: (writer, counted)})
    if not count:
        raise BrokenVideo("nothing of it can be played")


def copy(path: Path, out: int, playing: str, wanted: Condition = always, paused: Condition = never) -> None:
    """Write the whole file to the descriptor `out` as a seekable MP4. Raises BrokenVideo, and `OSError` for a
    full disk."""
    with _header(path, COPY) as (file, header):
        pictures = playing == "transcode" or header.codec == "vp8"  # MP4 does not support VP8
        line = command.copied(file, header, HIGHEST, out, pictures)
        _run(line, path, file, COPY, wanted, paused, {}, [out], IDLY)
    if not os.fstat(out).st_size:
        raise BrokenVideo("nothing of it can be played")


@contextmanager
def _header(path: Path, patience: float) -> Iterator[tuple[int, Header]]:
    """The file's descriptor and header. A decoder that is stopped in this block raises Killed."""
    try:
        with opened(path) as file:
            yield file, Source(path, file, None, patience).header
    except Stopped:
        raise Killed("another process ended its decoder, perhaps for lack of memory. Try again") from None


def _run(
    line: Sequence[str],
    path: Path,
    file: int,
    patience: float,
    wanted: Condition,
    paused: Condition,
    sinks: dict[int, tuple[int, Sink]],
    keep: Sequence[int] = (),
    niceness: int = 0,
) -> None:
    os.lseek(file, 0, os.SEEK_SET)
    if niceness and (nice := shutil.which("nice")):
        line = [nice, "-n", str(niceness), *line]
    ended = child.run(
        line,
        time.monotonic() + patience,
        sinks,
        [file, *keep],
        wanted=wanted,
        writes=LARGEST if keep else child.FILE,
        paused=paused,
    )
    command.refuse_unfit(ended.log)
    if ended.late:
        raise BrokenVideo("it takes too long to decode" if wanted() else "the request was cancelled")
    refuse_incomplete(ended, path)
    if keep and NO_ROOM in ended.log:
        raise OSError(errno.ENOSPC, NO_ROOM)
    if keep and ended.status:
        raise BrokenVideo("it cannot be decoded to its end")
