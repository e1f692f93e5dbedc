"""Limits of decoding: time, memory, pixels, bytes of log, processes."""

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from pydantic import ValidationError
from videos import GREY, Make, maker, numbers

from structalign.data.decoding import child, source
from structalign.data.decoding.broken import BrokenVideo
from structalign.data.decoding.pipes import Pictures
from structalign.data.decoding.selection import Selection, exactly, guess
from structalign.data.parallel import in_order
from structalign.data.video import clip_length, decode, measure, require_ffmpeg, stop_all
from structalign.errors import UserError
from structalign.params.data import DataParams

LONG = "testsrc2=size=64x48:rate=25:duration={}"
Wrap = Callable[[str], Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return maker(tmp_path)


@pytest.fixture
def wrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wrap:
    """Use a shell script in place of ffmpeg."""

    def write(script: str) -> Path:
        path = tmp_path / "ffmpeg"
        path.write_text(f"#!/bin/sh\n{script}\n".replace("FFMPEG", f'"{get_ffmpeg_exe()}" "$@"'))
        path.chmod(0o755)
        monkeypatch.setenv("STRUCTALIGN_FFMPEG", str(path))
        return path

    return write


def living(mark: str) -> list[str]:
    """Processes whose command line or environment has the mark, which is this test's own folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in text and int(entry.name) != os.getpid():
            found.append(entry.name)
    return found


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The command lines of all decoding passes."""
    lines = list[Sequence[str]]()
    run = child.run

    def watch(command: Sequence[str], *args: Any, **kwargs: Any) -> child.Ended:
        if "-fps_mode" in command:
            lines.append(command)
        return run(command, *args, **kwargs)

    monkeypatch.setattr(child, "run", watch)
    return lines


# Passes


def test_a_long_video_with_a_true_header_is_decoded_once(make: Make, passes: list[Sequence[str]]) -> None:
    path = make("a.mp4", LONG.replace("64x48", "320x240").format(120))
    clip = decode(path, count=12, size=224)
    assert len(passes) == 1
    assert clip.frames.shape == (12, 224, 298, 3)
    assert clip.times == [5 + 10 * i for i in range(12)]


def test_one_pass_finds_the_same_frames_as_two_passes(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole and in a stretch, in sizes of both kinds."""
    path = make("a.mkv", LONG.format(60), "-g", "50")
    for start, end in ((None, None), (7.3, 50.1), (None, 20)):
        once = decode(path, 10, 200, start, end, thumbnails=True)
        with monkeypatch.context() as patch:
            patch.setattr("structalign.data.video.guess", lambda *_: Selection("n", ()))
            twice = decode(path, 10, 200, start, end, thumbnails=True)
        assert (once.times, once.start, once.duration) == (twice.times, twice.start, twice.duration)
        assert np.array_equal(once.frames, twice.frames)
        assert np.array_equal(once.thumbnails, twice.thumbnails)


def test_a_wrong_header_costs_a_second_pass_and_changes_nothing(
    make: Make, tmp_path: Path, passes: list[Sequence[str]]
) -> None:
    path = make("a.mp4", LONG.format(60), "-movflags", "+faststart", "-g", "25")
    (tmp_path / "cut.mp4").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = decode(tmp_path / "cut.mp4", count=12, size=224)
    assert len(passes) == 2
    whole = decode(path, 12, 224, end=clip.duration)
    assert (clip.times, clip.duration) == (whole.times, whole.duration)
    assert np.array_equal(clip.frames, whole.frames)


@pytest.mark.parametrize("count", [100, 101, 256])
def test_as_many_frames_as_the_schema_allows_come_from_a_long_video(make: Make, count: int) -> None:
    clip = decode(make("a.mp4", LONG.format(90)), count=count, size=112)
    assert len(clip.frames) == count
    assert clip.times == [int((i + 0.5) / count * 90 * 25) / 25 for i in range(count)]


@pytest.mark.parametrize("length", [None, 5.0, 3600.0])
def test_a_guess_fits_into_the_buffer(length: float | None) -> None:
    moments = [300.0 * i + 150 for i in range(12)]
    found = guess(moments, length, 25, frame_bytes=2**20, buffer=2**26)
    assert found is not None
    frames = sum((end - begin) * (25 if found.variable == "t" else 1) + 1 for begin, end in found.spans)
    assert frames <= 64


def test_an_expression_of_many_frames_is_no_deeper_than_ffmpeg_s_parser() -> None:
    expression = exactly(range(0, 2000, 2)).expression()
    depth = max(expression[:end].count("(") - expression[:end].count(")") for end in range(len(expression)))
    assert depth < 20


# Pixels


@pytest.mark.parametrize("size", ["2x4000", "4x30000", "4000x2", "1x320", "1000x4"])
def test_a_slender_picture_is_quarantined_by_the_check_and_by_the_run(make: Make, size: str) -> None:
    for name in ("a.png", "a.mkv"):
        path = make(
            name, f"color=red:size={size}:duration=1", "-frames:v", "2" if name == "a.mkv" else "1", "-c:v", "png"
        )
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for look in (lambda p: decode(p, 4, 48, thumbnails=True), lambda p: measure(p, 4)):
            with pytest.raises(BrokenVideo, match="times the other"):
                look(path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.parametrize("size", ["1x1", "2x1", "1x2", "60x1", "1x60", "63x47", "3x64"])
def test_a_small_picture_is_shown(make: Make, size: str) -> None:
    for name in ("a.png", "a.mkv"):
        path = make(name, f"color=red:size={size}:duration=1", "-frames:v", "1", "-c:v", "png")
        clip = decode(path, 2, 16, thumbnails=True)
        wide, high = (int(number) for number in size.split("x"))
        assert clip.frames.shape[1:3] == (max(16, 16 * high // wide), max(16, 16 * wide // high))
        assert measure(path, 2).duration == clip.duration


def test_pixels_whose_shape_makes_a_slender_picture_are_counted(make: Make) -> None:
    with pytest.raises(BrokenVideo, match="times the other"):
        decode(make("a.mkv", f"{GREY.replace('64x48', '64x128')},setsar=1/50"), 1, 16)


def test_a_picture_of_too_many_pixels_is_broken(tmp_path: Path) -> None:
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))))
    with pytest.raises(BrokenVideo):
        decode(tmp_path / "a.png", 1, 16)


def test_pictures_beyond_the_memory_limit_are_dropped() -> None:
    pictures = Pictures(limit=100)
    for _ in range(3):
        pictures(b"P6\n6 4\n255\n" + bytes(72))
    assert pictures.images is None


@pytest.mark.parametrize("head", [b"P6\n100000 100000\n255\n", b"P6\nx y\n255\n", b"P5\n1 1\n255\n", b"\0" * 200])
def test_an_invalid_picture_header_is_refused_at_once(head: bytes) -> None:
    with pytest.raises(BrokenVideo, match="pictures"):
        Pictures(limit=1e9)(head)


# Times


@pytest.mark.parametrize("end", [1e15, 1e300, 2.5, 10**9])
def test_an_end_behind_the_last_frame_is_the_last_frame_s(make: Make, end: float) -> None:
    clip = decode(make("a.mp4", GREY), count=4, size=24, end=end)
    assert (numbers(clip.frames), clip.duration) == ([2, 7, 12, 17], 2)


@pytest.mark.parametrize("start", [1e15, 1e300])
def test_a_start_behind_the_last_frame_is_refused(make: Make, start: float) -> None:
    with pytest.raises(BrokenVideo, match="it shows nothing from"):
        decode(make("a.mp4", GREY), count=4, size=24, start=start)


@pytest.mark.parametrize("timeout", [0, -1, 1e5, 1e10, 1e308, float("inf"), float("nan")])
def test_an_invalid_time_limit_is_refused(timeout: float) -> None:
    with pytest.raises(ValidationError, match="timeout"):
        DataParams(on_broken="skip", on_damaged="use", timeout=timeout)


@pytest.mark.parametrize("timeout", [1e10, 1e308, float("inf")])
def test_a_huge_time_limit_decodes(make: Make, timeout: float) -> None:
    assert clip_length(make("a.mp4", GREY), timeout=timeout) == 2


def limit_of(path: Path) -> float:
    """The time limit of a file whose `timeout` is 60."""
    with path.open("rb") as stream:
        opened = source.Source(path, stream.fileno(), None, 60)
        assert opened.header
        return opened._limit


def test_the_time_limit_grows_with_the_length_of_the_file(make: Make) -> None:
    hour = make("hour.mp4", "color=red:size=16x16:rate=1:duration=3600")
    hour.write_bytes(hour.read_bytes() + bytes(3600 * 2000))  # as large as the leanest hour
    assert limit_of(make("short.mp4", GREY)) == 60
    assert limit_of(hour) == pytest.approx(3600)


def test_a_length_alone_does_not_raise_the_time_limit(make: Make) -> None:
    """A file of a few kilobytes that declares seven hours has a wrong header, or decodes at once."""
    assert limit_of(make("a.mp4", "color=red:size=16x16:rate=1/60:duration=25200")) == 60


# Programs in ffmpeg's place

HANGING = {
    "the child hangs": "sleep 300; exit 1",
    "the wrapper's child hangs": "sleep 300 & wait",
    "it hangs in the background": "sleep 300 & FFMPEG",
    "it hangs in a session of its own": "setsid sleep 300; exit 1",
    "it leaves a session behind": "setsid sleep 300 & sleep 300",
    "nothing but signals that it ignores": "trap '' TERM INT HUP PIPE; while :; do sleep 1; done",
    "its pipes are closed": "exec 0<&- 1>&- 2>&-; sleep 300",
    "it floods its log": "while :; do echo '[info] xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' >&2; done",
    "its child floods the log": "yes '[error] flood' >&2 & wait",
    "it floods one line": "tr '\\0' x </dev/zero >&2",
    "it floods its output": "yes",
    "it floods every pipe": "for fd in 3 4 5 6 7 8 9; do yes '0, 1, 1, 1, 1' >&$fd 2>/dev/null & done; wait",
    "it floods zeros into every pipe": "for fd in 3 4 5 6 7 8 9; do cat /dev/zero >&$fd 2>/dev/null & done; wait",
    "it forks again and again": "for i in 1 2 3 4 5 6 7 8; do (sleep 300 & sleep 300 & wait) & done; wait",
    "it ends and leaves a child": "sleep 300 & exit 0",
    "it ends and leaves a session": "setsid sleep 300 & exit 0",
}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")
@pytest.mark.parametrize("how", HANGING)
def test_nothing_of_a_program_outlives_its_limit(make: Make, wrap: Wrap, tmp_path: Path, how: str) -> None:
    path = make("a.mp4", GREY)
    program = wrap(HANGING[how])
    begin, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BrokenVideo):
        decode(path, count=2, size=24, timeout=1)
    assert time.monotonic() - begin < 8
    deadline = time.monotonic() + 2
    while (alive := living(str(program))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    assert sum(file.stat().st_size for file in tmp_path.rglob("*")) < 100_000


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")
def test_a_session_with_a_cleared_environment_also_ends(make: Make, wrap: Wrap, tmp_path: Path) -> None:
    path = make("a.mp4", GREY)
    wrap(f"env -i setsid /bin/sh -c 'sleep 300; : {tmp_path}' & wait")
    with pytest.raises(BrokenVideo, match="longer than 1 s"):
        decode(path, count=2, size=24, timeout=1)
    deadline = time.monotonic() + 2
    while (alive := living(str(tmp_path))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive


def test_a_program_cannot_fill_the_disk(make: Make, wrap: Wrap, tmp_path: Path) -> None:
    path = make("a.mp4", GREY)
    wrap(f"cat /dev/zero >{tmp_path}/zeros; echo $? >{tmp_path}/status; sleep 300")
    with pytest.raises(BrokenVideo):
        decode(path, count=2, size=24, timeout=1)
    # it was ended by its limit, which may have been set after it was exceeded
    assert (tmp_path / "status").read_text().strip() == str(128 + signal.SIGXFSZ)


def test_children_started_before_the_limit_are_also_limited(
    make: Make, wrap: Wrap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, limit = make("a.mp4", GREY), child._limit

    def late(pid: int, writes: int) -> None:
        time.sleep(0.2)
        limit(pid, writes)

    monkeypatch.setattr(child, "_limit", late)
    wrap(f"cat /dev/zero >{tmp_path}/zeros; echo $? >{tmp_path}/status; sleep 300")
    with pytest.raises(BrokenVideo):
        decode(path, count=2, size=24, timeout=1)
    assert (tmp_path / "status").read_text().strip() == str(128 + signal.SIGXFSZ)


def test_a_wrapper_that_calls_ffmpeg_works(make: Make, wrap: Wrap) -> None:
    path = make("a.mp4", GREY)
    for script in ("FFMPEG", "exec FFMPEG", "echo hello >&2; FFMPEG; exit $?", "(FFMPEG)", "nice FFMPEG"):
        wrap(script)
        assert numbers(decode(path, count=2, size=24).frames) == [5, 15]


def test_a_program_that_crashes_after_some_frames_gives_no_shorter_video(make: Make, wrap: Wrap) -> None:
    path = make("a.mp4", GREY)
    wrap("FFMPEG\nkill -SEGV $$")
    with pytest.raises(BrokenVideo, match="crashed"):
        decode(path, count=2, size=24)


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "KILL"])
def test_stopping_a_wrapper_from_outside_makes_no_video_broken(make: Make, wrap: Wrap, name: str) -> None:
    path = make("a.mp4", GREY)
    wrap(f'[ "$1" = -version ] && exit\nFFMPEG\nkill -{name} $$')
    with pytest.raises(UserError, match="another process stopped ffmpeg"):
        decode(path, count=2, size=24)


OLD = "ffmpeg version {} Copyright (c) 2000-2019 the FFmpeg developers"


@pytest.mark.parametrize("version", ["4.2.2-static", "n5.1.4", "6.0", "2.8.17-0ubuntu0.1"])
def test_an_ffmpeg_that_is_too_old_is_named_before_the_first_video(wrap: Wrap, version: str) -> None:
    program = wrap(f"echo '{OLD.format(version)}'\nFFMPEG")
    with pytest.raises(UserError, match="too old") as error:
        require_ffmpeg()
    assert str(program) in str(error.value)
    assert "STRUCTALIGN_FFMPEG" in str(error.value)


@pytest.mark.parametrize("version", ["n6.1", "7.0.2-static", "N-123456-gabcdef", "2026-09-30-git-2a571b6"])
def test_an_ffmpeg_that_is_new_enough_or_of_no_number_is_used(make: Make, wrap: Wrap, version: str) -> None:
    path = make("a.mp4", GREY)
    wrap(f"[ \"$1\" = -version ] && echo '{OLD.format(version)}' && exit\nFFMPEG")
    assert clip_length(path) == 2


@pytest.mark.parametrize(
    "says",
    ["Unrecognized option 'fps_mode'.", "Option fd not found.", "fd:: Protocol not found", "Unrecognized option 'fd'."],
)
def test_an_ffmpeg_that_lacks_an_option_is_named_once_and_not_per_video(make: Make, wrap: Wrap, says: str) -> None:
    path = make("a.mp4", GREY)
    wrap(f'echo "[fatal] {says}" >&2; exit 1')
    with pytest.raises(UserError, match="too old"):
        decode(path, count=1, size=24)


def test_all_children_end_when_the_reader_stops(make: Make, wrap: Wrap) -> None:
    """Ctrl-C only reaches this process. Its threads must not wait for the time limit."""
    path = make("a.mp4", GREY)
    program = wrap('[ "$1" = -version ] && exit 0\nsleep 300')
    begin = time.monotonic()

    def stop() -> None:
        while not living(str(program)):
            time.sleep(0.01)
        stop_all()

    results = in_order(lambda _: decode(path, count=1, size=24, timeout=60), range(4), threads=2, stop=stop)
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(1, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises((KeyboardInterrupt, UserError)):
        list(results)
    assert time.monotonic() - begin < 20
    assert not living(str(program))


def test_the_log_is_kept_at_both_ends_and_bounded() -> None:
    script = "echo first >&2; yes 0123456789 | head -c 3000000 >&2; echo last >&2"
    ended = child.run(["/bin/sh", "-c", script], time.monotonic() + 60, {})
    assert ended.log.startswith("first\n")
    assert ended.log.endswith("last\n")
    assert len(ended.log) <= child.HEAD + child.TAIL


def test_a_child_s_memory_is_bounded() -> None:
    ended = child.run(["/bin/sh", "-c", "sleep 0.3; ulimit -v"], time.monotonic() + 10, {}, output=True)
    assert int(ended.log) * 1024 == child.MEMORY


def test_a_paused_child_does_nothing_and_then_gets_its_full_time() -> None:
    begin, ticks = time.monotonic(), list[float]()
    reader, writer = os.pipe()
    ended = child.run(
        ["/bin/sh", "-c", f"while sleep 0.1; do echo tick > /dev/fd/{writer}; done"],
        begin + 3,
        {reader: (writer, lambda data: ticks.append(time.monotonic() - begin))},
        paused=lambda: 1 < time.monotonic() - begin < 4,
    )
    assert ended.late
    assert 5.9 < time.monotonic() - begin < 9
    assert min(ticks) < 1
    assert not [at for at in ticks if 1.5 < at < 4]
    assert max(ticks) > 4.5
