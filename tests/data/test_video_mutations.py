"""Random damage to files, decoded by the real ffmpeg.

Each file gives a clip or the documented error, in time, and no child process remains.
"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from videos import CASES, ffmpeg

from structalign.data.decoding import child
from structalign.data.video import BrokenVideo, DecodedClip, decode

SOURCE = "testsrc2=size=32x24:rate=8:duration=1"
CONTAINERS = {
    "a.mp4": "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -movflags +faststart",
    "a.mkv": "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -bf 2",
    "a.webm": "-c:v libvpx -deadline realtime",
    "a.avi": "-c:v mpeg4",
    "a.ts": "-c:v mpeg2video -r 25",
    "a.flv": "-c:v flv1",
    "a.ogv": "-c:v libtheora",
    "a.wmv": "-c:v wmv2",
    "a.gif": "-c:v gif",
    "hevc.mp4": "-c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -x265-params log-level=none",
    "a.heic": "",
}
EACH = 60  # mutated files of a container: 660 in all
LIMIT = 10.0  # seconds

Mutation = Callable[[bytearray, random.Random], None]


def flip_bits(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 4, 30))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def write_random(data: bytearray, dice: random.Random) -> None:
    begin, length = dice.randrange(len(data)), dice.choice((1, 4, 16, 200))
    data[begin : begin + length] = dice.randbytes(length)


def zero(data: bytearray, dice: random.Random) -> None:
    begin, length = dice.randrange(len(data)), dice.randrange(1, len(data) // 4)
    data[begin : begin + length] = bytes(len(data[begin : begin + length]))


def write_extreme(data: bytearray, dice: random.Random) -> None:
    """Lengths, counts and stamps as large as a field can be, or negative."""
    for _ in range(3):
        begin = dice.randrange(len(data) - 4)
        data[begin : begin + 4] = dice.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", bytes(4)))


def cut(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(1, len(data)) :]


def take_out(data: bytearray, dice: random.Random) -> None:
    begin = dice.randrange(len(data))
    del data[begin : begin + dice.choice((1, 4, 188, 500))]


def repeat(data: bytearray, dice: random.Random) -> None:
    begin = dice.randrange(len(data))
    data[begin:begin] = data[begin : begin + dice.randrange(1, 500)] * dice.randrange(1, 4)


MUTATIONS: list[Mutation] = [flip_bits, write_random, zero, write_extreme, cut, take_out, repeat]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """The container's bytes before anything is changed."""
    folder = tmp_path_factory.mktemp("whole")

    def read(name: str) -> bytes:
        if name == "a.heic":
            return (CASES / "phone_2x2_tiles.heic").read_bytes()
        if not (folder / name).exists():
            ffmpeg("-f", "lavfi", "-i", SOURCE, *CONTAINERS[name].split(), folder / name)
        return (folder / name).read_bytes()

    return read


def children() -> list[str]:
    """The processes whose parent is this one."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z":
            found.append(entry.parent.name)
    return found


@pytest.mark.parametrize("name", CONTAINERS)
def test_mutated_bytes_give_a_clip_or_the_documented_error(
    tmp_path: Path, whole: Callable[[str], bytes], name: str
) -> None:
    before, path = set(children()), tmp_path / name
    for number in range(EACH):
        dice = random.Random(f"{name} {number}")
        data = bytearray(whole(name))
        for mutation in dice.sample(MUTATIONS, dice.choice((1, 1, 2))):
            mutation(data, dice)
        path.write_bytes(data)
        begin = time.monotonic()
        reason = outcome(path)
        assert reason is None or (reason and str(tmp_path) not in reason)
        assert time.monotonic() - begin < LIMIT + child.GRACE + 5, f"mutation {number}"
    assert not set(children()) - before


def outcome(path: Path) -> str | None:
    """Decode. Returns the reason of the documented error, or None for a valid clip."""
    try:
        check(decode(path, count=2, size=16, timeout=LIMIT))
    except BrokenVideo as reason:
        return str(reason)
    return None


def check(clip: DecodedClip) -> None:
    """Check the properties of every clip, whatever its source."""
    count, high, wide, _ = clip.frames.shape
    assert (count, min(high, wide)) == (2, 16)
    assert clip.frames.dtype == np.uint8
    assert clip.times == sorted(clip.times)
    assert clip.duration > 0
    assert all(clip.times[0] <= moment <= clip.start + clip.duration for moment in clip.times)
