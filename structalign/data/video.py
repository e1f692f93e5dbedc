"""Frames of a video, really decoded and chosen by presentation time: the only file that knows ffmpeg.

A header's frame rate, count and duration may lie, so none is believed: every frame up to the end is decoded,
and the timestamps that the decoder reports decide which one is on screen at a moment. Times are fractions, so
that a moment that falls exactly between two frames is always given to the later one. The binary comes with
imageio-ffmpeg (or from $STRUCTALIGN_FFMPEG); no ffprobe and no ffmpeg on PATH is needed.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from signal import SIGKILL
from threading import Thread, Timer
from typing import IO, Any

import ffmpeg
import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe

from structalign.errors import UserError

Images = list[np.ndarray[Any, np.dtype[np.uint8]]]

THUMB = 96  # short side of a thumbnail, pixels
STOPPED = "Exiting normally, received signal"  # Ctrl-C reaches ffmpeg too; what it gave until then is cut short
BUFFER = 64 * 2**20  # bytes of scaled frames held before their choice is known; more are not kept
LOOKAHEAD = 10  # seconds decoded behind a stretch: the next frame says how long its last one is shown
STILL = Fraction(1, 25)  # seconds that a lone frame without a duration of its own is taken to be shown
SCALER = "bicubic+accurate_rnd+full_chroma_int+bitexact"

CONFIG = re.compile(r"^\[Parsed_showinfo\S* @ \S+\] \[info\] config in time_base: (\d+)/(\d+)", re.M)
SHOWN = re.compile(
    r"^\[Parsed_showinfo\S* @ \S+\] \[info\] n: *\d+ pts: *(-?\d+|NOPTS) .*?duration: *(-?\d+|NOPTS) ", re.M
)
COMPLAINT = re.compile(r"^(?:\[[^]]* @ \S+\] )?\[(?:error|fatal)\] (.+)$", re.M)


class BrokenVideo(Exception):
    """A video that can't be decoded; its text is the reason, without the file's name."""


@dataclass(frozen=True)
class DecodedClip:
    """N frames of one video or of a stretch of it, in order of presentation.

    frames: uint8 [N, H, W, 3], RGB, upright, square pixels, the short side as asked.
    times: N seconds from the start of the file: when each frame appears.
    start, duration: seconds; the stretch that the frames stand for.
    thumbnails: uint8 [N, h, w, 3], short side 96, or empty if not asked for.
    """

    frames: np.ndarray[Any, np.dtype[np.uint8]]
    times: list[float]
    start: float
    duration: float
    thumbnails: np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class _Shown:
    """One decoded frame: its stamp in the stream's own ticks, and when it appears and vanishes, seconds."""

    stamp: int
    begin: Fraction
    length: Fraction


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
    Raises BrokenVideo, with a reason, for a file without a decodable frame in the stretch, or one that takes
    longer than `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    sizes = [size, THUMB] if thumbnails else [size]
    shown, images = _read(path, sizes, end, deadline, timeout)
    if images is None:  # a long video: learn its times first, then take only the frames that they choose
        shown, _ = _read(path, [], end, deadline, timeout)
    first, last = _stretch(shown, start, end)
    indexes = choose([frame.begin for frame in shown], first, last, count)
    chosen = [shown[index] for index in indexes]
    if images is None:
        stamps = sorted({frame.stamp for frame in chosen})
        again, images = _read(path, sizes, end, deadline, timeout, stamps)
        position = {frame.stamp: index for index, frame in reversed(list(enumerate(again)))}
        if images is None or not position.keys() >= set(stamps):
            raise BrokenVideo("it decodes differently each time")
        indexes = [position[frame.stamp] for frame in chosen]
    picked = [np.stack([stream[index] for index in indexes]) for stream in images]
    return DecodedClip(
        frames=picked[0],
        times=[float(frame.begin) for frame in chosen],
        start=float(first),
        duration=float(last - first),
        thumbnails=picked[1] if thumbnails else np.zeros((0, 0, 0, 3), np.uint8),
    )


def clip_length(path: Path, start: float | None = None, end: float | None = None, timeout: float = 60) -> float:
    """Seconds that a video or a stretch of it really lasts, by decoding; raises BrokenVideo as `decode`."""
    shown, _ = _read(path, [], end, time.monotonic() + timeout, timeout)
    first, last = _stretch(shown, start, end)
    return float(last - first)


def choose(begins: Sequence[Fraction], start: Fraction, end: Fraction, count: int) -> list[int]:
    """Which frame is shown at start + (i+½)/count · (end−start), i < count; `begins` sorted, seconds.

    >>> choose([Fraction(0), Fraction(1), Fraction(5)], Fraction(0), Fraction(6), 3)
    [1, 1, 2]
    """
    moments = [start + Fraction(2 * i + 1, 2 * count) * (end - start) for i in range(count)]
    return [max(bisect_right(begins, moment) - 1, 0) for moment in moments]


def _stretch(shown: list[_Shown], start: float | None, end: float | None) -> tuple[Fraction, Fraction]:
    """The asked stretch cut to the decoded one, seconds."""
    begin, finish = shown[0].begin, shown[-1].begin + shown[-1].length
    first = begin if start is None else max(begin, Fraction(str(start)))  # 1.4 as written, not as a binary float
    last = finish if end is None else min(finish, Fraction(str(end)))
    if first >= last:
        asked = f"{0 if start is None else start:g} to {'its end' if end is None else f'{end:g}'} s"
        raise BrokenVideo(
            f"nothing is shown from {asked}: its frames last from {float(begin):.3f} to {float(finish):.3f} s"
        )
    return first, last


def _read(
    path: Path,
    sizes: list[int],
    end: float | None,
    deadline: float,
    timeout: float,
    stamps: list[int] | None = None,
) -> tuple[list[_Shown], list[Images] | None]:
    """Decode once: every frame's times, and its picture in each of `sizes`, in order of presentation.

    With `stamps` only those frames. Where the pictures would not fit into BUFFER they are None, and the times
    may be incomplete.
    """
    pipes = [os.pipe() for _ in sizes]
    limit = BUFFER if stamps is None else sys.maxsize  # what is asked for by name was counted by the caller
    streams = [_Stream(reader, limit) for reader, _ in pipes]
    writers = [writer for _, writer in pipes]
    with tempfile.TemporaryFile() as log:
        try:
            process = subprocess.Popen(
                _command(path, sizes, writers, end, stamps),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=writers,
            )
        except OSError as error:
            for stream in streams:
                stream.close()
            raise UserError(f"ffmpeg can't be started: {error.strerror}; mend STRUCTALIGN_FFMPEG.") from None
        finally:
            for writer in writers:
                os.close(writer)
        alarm = Timer(max(deadline - time.monotonic(), 0), process.kill)
        alarm.start()
        try:
            for stream in streams:
                stream.start()
            process.wait()
            for stream in streams:
                stream.join()
        finally:
            alarm.cancel()
            process.kill()
        if time.monotonic() >= deadline:
            raise BrokenVideo(f"it took longer than {timeout:g} s to decode (`data.timeout`)")
        log.seek(0)
        text = log.read().decode("utf-8", "replace")
        if process.returncode == -SIGKILL or (process.returncode == 255 and STOPPED in text):
            raise UserError(f"ffmpeg was stopped from outside while it decoded {path}: run again.")
    shown = _shown(text)
    if not shown:
        raise BrokenVideo(_reason(text, path))
    pictures = [stream.images for stream in streams]
    whole = [images for images in pictures if images is not None and len(images) >= len(shown)]
    order = sorted(range(len(shown)), key=lambda index: shown[index].begin)
    images = [[stream[index] for index in order] for stream in whole] if len(whole) == len(sizes) else None
    return [shown[index] for index in order], images


def _command(
    path: Path, sizes: list[int], writers: list[int], end: float | None, stamps: list[int] | None
) -> list[str]:
    """The command line: decode, upright; report each frame's times; write it as PPM once a size."""
    options: dict[str, Any] = {"threads": 1, "protocol_whitelist": "file"}
    if end is not None:
        options["t"] = end + LOOKAHEAD
    video = ffmpeg.input(f"file:{path}", **options)["V:0"]  # V: cover art of an audio file is no video
    if stamps is not None:
        video = video.filter("select", "+".join(f"eq(pts,{stamp})" for stamp in stamps))
    video = video.filter("showinfo", checksum=0)
    if sizes:
        branches = video.split() if len(sizes) > 1 else [video]
        outputs = [
            ffmpeg.output(
                _scaled(branches[index], size),
                f"pipe:{writer}",
                format="image2pipe",
                vcodec="ppm",
                fps_mode="passthrough",
                threads=1,
            )
            for index, (size, writer) in enumerate(zip(sizes, writers, strict=True))
        ]
    else:
        outputs = [ffmpeg.output(video, "-", format="null", fps_mode="passthrough")]
    settings = ["-nostdin", "-hide_banner", "-nostats", "-loglevel", "repeat+level+info"]
    command = ffmpeg.merge_outputs(*outputs).global_args(*settings, "-filter_complex_threads", "1")
    return list(command.compile(cmd=os.environ.get("STRUCTALIGN_FFMPEG") or get_ffmpeg_exe()))


def _scaled(video: Any, size: int) -> Any:
    """Square pixels, short side `size`, the aspect kept."""
    wide = "gte(iw*sar,ih)"
    width = f"if({wide},max({size},round({size}*iw*sar/ih)),{size})"
    height = f"if({wide},{size},max({size},round({size}*ih/(iw*sar))))"
    return video.filter("scale", w=width, h=height, flags=SCALER).filter("format", "rgb24")


class _Stream(Thread):
    """Reads one pipe of PPM pictures, so that ffmpeg never waits; keeps them up to `limit` bytes."""

    def __init__(self, reader: int, limit: int) -> None:
        super().__init__(daemon=True)
        self.images: Images | None = None  # until all are read, within the limit
        self._limit = limit
        self._pipe: IO[bytes] = os.fdopen(reader, "rb", buffering=2**16)

    def run(self) -> None:
        """Read to the end, or hang up when it gets too much, which ends ffmpeg."""
        held, images = 0, Images()
        with self._pipe:
            while (picture := _picture(self._pipe)) is not None:
                held += picture.nbytes
                if held > self._limit:
                    return
                images.append(picture)
        self.images = images

    def close(self) -> None:
        self._pipe.close()


def _picture(pipe: IO[bytes]) -> np.ndarray[Any, np.dtype[np.uint8]] | None:
    """The next PPM picture of a pipe, uint8 [H, W, 3]; None at its end or where it breaks off."""
    if pipe.readline() != b"P6\n":
        return None
    width, height = (int(word) for word in pipe.readline().split())
    pipe.readline()
    data = pipe.read(width * height * 3)
    return np.frombuffer(data, np.uint8).reshape(height, width, 3) if len(data) == width * height * 3 else None


def _shown(log: str) -> list[_Shown]:
    """Every decoded frame's times, from what ffmpeg's showinfo said, in the order of decoding."""
    base, shown, here = Fraction(1), list[_Shown](), 0
    ends = Fraction(0)
    configs = [(match.start(), Fraction(int(match[1]), int(match[2]))) for match in CONFIG.finditer(log)]
    for match in SHOWN.finditer(log):
        while here < len(configs) and configs[here][0] < match.start():
            base = configs[here][1]
            here += 1
        length = max(Fraction(0), int(match[2]) * base) if match[2] != "NOPTS" else Fraction(0)
        stamp = int(match[1]) if match[1] != "NOPTS" else int(ends / base)
        begin = stamp * base
        ends = begin + length
        shown.append(_Shown(stamp, begin, length))
    if shown and shown[-1].length == 0:
        last = shown[-1]
        before = last.begin - shown[-2].begin if len(shown) > 1 else Fraction(0)
        shown[-1] = _Shown(last.stamp, last.begin, before if before > 0 else STILL)
    return shown


def _reason(log: str, path: Path) -> str:
    """Why nothing was decoded, in one clause without the file's place on this machine."""
    if not path.is_file():
        return "there is no such file"
    if path.stat().st_size == 0:
        return "the file is empty"
    if "matches no streams" in log:
        return "it has no video stream"
    complaints = [
        line.replace(f"file:{path}", path.name).replace(str(path), path.name) for line in COMPLAINT.findall(log)
    ]
    return f"no frame can be decoded ({complaints[0].strip().rstrip('.')})" if complaints else "no frame can be decoded"
