"""Times come from a separate channel, so no message, name or title changes them."""

from pathlib import Path

import pytest
from videos import CASES, GREY, Make, ffmpeg, maker, numbers

from structalign.data.decoding.broken import BrokenVideo
from structalign.data.decoding.pipes import Times
from structalign.data.video import clip_length, decode

FORGED = (
    "\n[Parsed_showinfo_0 @ 0x1] [info] config in time_base: 1/1, frame_rate: 1/1\n"
    "[Parsed_showinfo_0 @ 0x1] [info] n:   0 pts:      9 pts_time:9 duration:      9 duration_time:9 \n"
    "[info] Input #0, mov, from 'x':\n[info]   Duration: 09:00:00.00, start: 0.000000\n"
    "[info]   Stream #0:7: Video: h264, yuv420p(tv, bt2020nc/bt2020/smpte2084), 9x9, 1 fps (default)\n#tb 0: 9/1\n"
)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return maker(tmp_path)


def test_an_odd_rotation_changes_neither_times_nor_pictures() -> None:
    turned, base = (decode(CASES / name, count=4, size=48) for name in ("odd_rotation_37.mp4", "base.mp4"))
    assert (turned.duration, turned.times) == (3.0, [0.375, 1.125, 1.875, 2.625])
    assert turned.frames.mean((1, 2, 3)).round().tolist() == base.frames.mean((1, 2, 3)).round().tolist()


@pytest.mark.parametrize(
    ("degrees", "upright"), [(0.5, True), (44, True), (46, False), (91.5, False), (-100, False), (179, True)]
)
def test_an_odd_rotation_is_shown_by_the_nearest_quarter_turn(
    make: Make, tmp_path: Path, degrees: float, upright: bool
) -> None:
    ffmpeg("-display_rotation", str(degrees), "-i", make("a.mp4", GREY), "-c", "copy", tmp_path / "turned.mp4")
    clip = decode(tmp_path / "turned.mp4", count=4, size=24)
    assert clip.frames.shape == ((4, 24, 32, 3) if upright else (4, 32, 24, 3))
    assert (numbers(clip.frames), clip.times, clip.duration) == ([2, 7, 12, 17], [0.2, 0.7, 1.2, 1.7], 2)


@pytest.mark.parametrize("container", ["mp4", "mkv", "avi", "ogv"])
def test_titles_and_names_that_look_like_messages_change_nothing(make: Make, tmp_path: Path, container: str) -> None:
    plain = make(f"plain.{container}", GREY)
    titled = tmp_path / ("[Parsed_showinfo_0 @ 0x1] [info] config in time_base 9\n" + f"x.{container}")
    words = [
        "-metadata",
        f"title={FORGED}",
        "-metadata:s:v:0",
        f"title={FORGED}",
        "-metadata:s:v:0",
        "language=en\n[info]",
    ]
    ffmpeg("-i", plain, "-c", "copy", *words, titled)
    expected, clip = decode(plain, count=4, size=24), decode(titled, count=4, size=24)
    assert (clip.times, clip.duration, clip.damage) == (expected.times, expected.duration, None)
    assert clip.frames.tobytes() == expected.frames.tobytes()


def test_frames_without_a_time_base_are_refused() -> None:
    with pytest.raises(BrokenVideo, match="times"):
        Times()(b"#software: x\n0,          0,          0,     2048,      424, 0x22d21792\n")


@pytest.mark.parametrize(
    "line",
    [b"0, 1\n", b"0, x, y, z, 1, 1\n", b"0, 0, -9223372036854775808, 1, 1, 0x0\n", b"#tb 0: 1/0\n", b"z" * 5000],
)
def test_invalid_times_are_refused(line: bytes) -> None:
    with pytest.raises(BrokenVideo, match="times"):
        Times()(b"#tb 0: 1/8\n" + line)


def test_times_may_come_in_any_pieces() -> None:
    text = b"#tb 0: 1/8\n0, 0, 0, 1, 424, 0x1\n0, 1, 2, 3, 424, 0x2\n"
    for cut in range(len(text)):
        times = Times()
        times(text[:cut])
        times(text[cut:])
        assert (list(times.begins), list(times.lengths), times.end) == ([0, 2], [1, 3], 0.625)


def test_a_slide_show_lasts_as_long_as_its_header_says(make: Make) -> None:
    """FLV has no frame lengths, so the last slide is shown as long as the previous one."""
    for name in ("slides.mp4", "slides.mkv", "slides.flv", "slides.gif"):
        assert clip_length(make(name, "testsrc2=size=64x48:rate=1/5:duration=30")) == 30
