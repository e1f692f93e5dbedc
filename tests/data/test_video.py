"""Frames are chosen by presentation time, also in files with wrong metadata."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image
from videos import GREY, Make, ffmpeg, maker, numbers

from structalign.data import video
from structalign.data.decoding import source
from structalign.data.decoding.selection import Selection
from structalign.data.video import BrokenVideo, choose, clip_length, decode, watch
from structalign.errors import UserError


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return maker(tmp_path)


def test_a_frame_is_the_one_shown_in_the_middle_of_its_share(make: Make) -> None:
    clip = decode(make("a.mp4", GREY), count=4, size=24)
    assert numbers(clip.frames) == [2, 7, 12, 17]
    assert clip.times == [0.2, 0.7, 1.2, 1.7]
    assert (clip.start, clip.duration) == (0, 2)


def test_frames_keep_the_aspect_and_get_the_short_side(make: Make) -> None:
    assert decode(make("a.mp4", GREY), count=2, size=24).frames.shape == (2, 24, 32, 3)


def test_thumbnails_come_with_the_frames(make: Make) -> None:
    clip = decode(make("a.mp4", GREY), count=4, size=24, thumbnails=True)
    assert clip.thumbnails.shape == (4, 96, 128, 3)
    assert numbers(clip.thumbnails) == numbers(clip.frames)


def test_a_variable_frame_rate_is_read_by_time_not_by_count(make: Make) -> None:
    """Frames 0 to 9 pass in the first second, then one appears every half second."""
    stretched = f"{GREY},setpts='if(lt(N,10),PTS,(1+(N-10)*0.5)/TB)'"
    clip = decode(make("vfr.mkv", stretched, "-fps_mode", "vfr"), count=4, size=24, start=0, end=4)
    assert numbers(clip.frames) == [5, 11, 13, 15]
    assert clip.times == [0.5, 1.5, 2.5, 3.5]


def test_a_rotated_video_is_decoded_upright(make: Make, tmp_path: Path) -> None:
    lying, turned = make("a.mp4", GREY), tmp_path / "turned.mp4"
    ffmpeg("-display_rotation", "90", "-i", str(lying), "-c", "copy", str(turned))
    assert decode(turned, count=1, size=24).frames.shape == (1, 32, 24, 3)


def test_pixels_that_are_not_square_are_made_square(make: Make) -> None:
    wide = make("wide.mp4", f"{GREY},setsar=2/1")
    assert decode(wide, count=1, size=24).frames.shape == (1, 24, 64, 3)


def test_a_video_of_one_frame_repeats_it(make: Make) -> None:
    clip = decode(make("one.mp4", GREY, "-frames:v", "1"), count=3, size=24)
    assert numbers(clip.frames) == [0, 0, 0]
    assert clip.duration > 0


def test_an_image_is_a_video_of_one_frame(make: Make) -> None:
    for name in ("a.png", "a.jpg"):
        clip = decode(make(name, GREY, "-frames:v", "1", "-update", "1"), count=2, size=24)
        assert numbers(clip.frames) == [0, 0]


def test_a_file_whose_time_starts_late_is_read_from_its_first_frame(make: Make) -> None:
    late = make("late.ts", GREY, "-output_ts_offset", "7", "-muxdelay", "0")
    clip = decode(late, count=4, size=24)
    assert numbers(clip.frames) == [2, 7, 12, 17]
    assert clip.duration == pytest.approx(2, abs=1e-3)


def test_a_picture_that_starts_after_the_sound_keeps_the_file_s_own_clock(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=3", "-itsoffset", "1", "-i", str(make("a.mp4", GREY)), str(path))
    clip = decode(path, count=2, size=24)
    assert clip.start == pytest.approx(1, abs=0.05)
    assert numbers(clip.frames) == [5, 15]


def test_a_stretch_is_cut_by_start_and_end(make: Make) -> None:
    clip = decode(make("a.mp4", GREY), count=2, size=24, start=1.0, end=1.4)
    assert numbers(clip.frames) == [11, 13]
    assert (clip.start, clip.duration) == (1.0, 0.4)


def test_a_stretch_counts_from_the_file_s_own_start(make: Make) -> None:
    late = make("late.ts", GREY, "-output_ts_offset", "7", "-muxdelay", "0")
    assert numbers(decode(late, count=2, size=24, start=1.0, end=1.4).frames) == [11, 13]


def test_a_stretch_inside_one_frame_shows_that_frame(make: Make) -> None:
    assert numbers(decode(make("a.mp4", GREY), 2, 24, start=0.51, end=0.59).frames) == [5, 5]


def test_a_stretch_behind_the_last_frame_is_broken(make: Make) -> None:
    with pytest.raises(BrokenVideo, match=r"it shows nothing from 5 s to its end: .*0\.000 to 2\.000 s"):
        decode(make("a.mp4", GREY), count=2, size=24, start=5)


def test_a_truncated_file_gives_what_it_holds(make: Make, tmp_path: Path) -> None:
    whole = make("whole.mkv", "testsrc2=size=64x48:rate=10:duration=20").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    assert 1 < decode(tmp_path / "cut.mkv", count=4, size=24).duration < 19


def test_a_file_that_lost_its_index_is_broken_with_a_reason(make: Make, tmp_path: Path) -> None:
    (tmp_path / "cut.mp4").write_bytes(make("whole.mp4", GREY).read_bytes()[:1000])
    with pytest.raises(BrokenVideo, match="no frame can be decoded") as error:
        decode(tmp_path / "cut.mp4", count=4, size=24)
    assert str(tmp_path) not in str(error.value)


def test_an_empty_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(BrokenVideo, match="the file is empty"):
        decode(tmp_path / "empty.mp4", count=4, size=24)


def test_a_file_that_is_not_there_is_broken(tmp_path: Path) -> None:
    with pytest.raises(BrokenVideo, match="the file does not exist"):
        decode(tmp_path / "nowhere.mp4", count=4, size=24)


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    photograph = Image.new("RGB", (64, 48), "red")
    turned = photograph.getexif()
    turned[0x0112] = 6
    photograph.save(tmp_path / "a.jpg", exif=turned)
    assert decode(tmp_path / "a.jpg", count=1, size=24).frames.shape == (1, 32, 24, 3)


def test_a_text_is_broken(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n")
    with pytest.raises(BrokenVideo, match="it is a text file, which has no pictures"):
        decode(tmp_path / "text.mp4", count=4, size=24)


def test_a_file_with_only_sound_is_broken(make: Make) -> None:
    with pytest.raises(BrokenVideo, match="no video stream"):
        decode(make("a.wav", "sine=duration=1"), count=4, size=24)


def test_the_cover_of_a_song_is_no_video(make: Make, tmp_path: Path) -> None:
    song, cover, out = make("a.mp3", "sine=duration=1"), make("c.png", GREY, "-frames:v", "1"), tmp_path / "o.mp3"
    inputs = ["-i", str(song), "-i", str(cover)]
    ffmpeg(*inputs, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v", "attached_pic", str(out))
    with pytest.raises(BrokenVideo, match="no video stream"):
        decode(out, count=4, size=24)


def test_a_video_that_decodes_too_slowly_is_broken(make: Make) -> None:
    with pytest.raises(BrokenVideo, match="longer than"):
        decode(make("a.mp4", GREY), count=4, size=24, timeout=0.001)


def test_no_ffmpeg_on_the_path_is_needed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make("a.mp4", GREY)
    monkeypatch.setenv("PATH", "")
    assert numbers(decode(path, count=2, size=24).frames) == [5, 15]


def test_an_ffmpeg_that_does_not_exist_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make("a.mp4", GREY)
    monkeypatch.setenv("STRUCTALIGN_FFMPEG", "/nowhere/ffmpeg")
    with pytest.raises(UserError, match="STRUCTALIGN_FFMPEG"):
        decode(path, count=2, size=24)


@pytest.mark.parametrize(
    "end", ["echo '[info] Exiting normally, received signal 2.' >&2; exit 255", "kill -9 $$"], ids=["Ctrl-C", "kill -9"]
)
def test_a_decoder_stopped_from_outside_gives_no_clip(make: Make, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """Otherwise the frames decoded so far would be taken for a shorter video."""
    path = make("a.mp4", GREY)
    stopped = path.with_name("ffmpeg")
    stopped.write_text(f'#!/bin/sh\n"{get_ffmpeg_exe()}" "$@"\n{end}\n')
    stopped.chmod(0o755)
    monkeypatch.setenv("STRUCTALIGN_FFMPEG", str(stopped))
    with pytest.raises(UserError, match="another process stopped ffmpeg"):
        decode(path, count=2, size=24)


def test_odd_file_names_are_read(make: Make) -> None:
    for name in ("a b.mp4", "-i.mp4", "ö%d.mp4", "a'b:c,d.mp4", "concat:x.mp4"):
        assert decode(make("plain.mp4", GREY).rename(make("plain.mp4", GREY).with_name(name)), 1, 24).duration == 2


def test_the_measured_length_includes_the_last_frame(make: Make) -> None:
    assert clip_length(make("a.mp4", GREY)) == 2


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    count=st.integers(1, 40),
    first=st.integers(-100, 100),
)
def test_choice_agrees_with_the_slow_formula(lengths: list[int], count: int, first: int) -> None:
    begins = [Fraction(first + sum(lengths[:i]), 12) for i in range(len(lengths))]
    end = begins[-1] + Fraction(lengths[-1], 12)
    slow = []
    for i in range(count):
        moment = begins[0] + (i + Fraction(1, 2)) / count * (end - begins[0])
        slow.append(max(index for index, begin in enumerate(begins) if begin <= moment))
    assert choose(begins, begins[0], end, count) == slow


@pytest.mark.parametrize("guess", ["small", "good", "wrong"])
def test_a_short_file_is_watched_as_it_is_decoded(guess: str, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one pass for a small file, else in the pass that the header suggests, or in a second one if it was wrong."""
    path, pictures = make("a.mp4", GREY), list[np.ndarray]()
    expected = decode(path, count=4, size=24)
    if guess != "small":
        monkeypatch.setattr(source, "SMALL", 0)
    if guess == "wrong":
        monkeypatch.setattr(video, "_guess", lambda *_: Selection("n", ()))
    watched = watch(path, 24, pictures.append, at_least=4)
    assert watched.times == expected.times
    assert np.array_equal(np.stack(pictures), expected.frames)


@pytest.mark.parametrize("small", [True, False])
def test_a_long_file_is_watched_second_by_second(small: bool, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    if not small:
        monkeypatch.setattr(source, "SMALL", 0)
    pictures = list[np.ndarray]()
    watched = watch(make("a.mp4", GREY), 24, pictures.append, at_least=1)
    assert (len(watched.times), len(pictures)) == (2, 2)
    assert (watched.start, watched.end) == (0, 2)


def test_a_wrong_guess_by_the_header_changes_no_frame(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make("a.mp4", GREY)
    expected = decode(path, count=4, size=24)
    monkeypatch.setattr(source, "SMALL", 0)
    monkeypatch.setattr(video, "_guess", lambda *_: Selection("n", ()))
    assert np.array_equal(decode(path, count=4, size=24).frames, expected.frames)


def test_thumbnails_come_only_if_asked(make: Make) -> None:
    assert decode(make("a.mp4", GREY), count=4, size=24).thumbnails.shape == (0, 0, 0, 3)


@pytest.mark.parametrize("frames", [1, 2])
def test_an_animation_of_one_frame_is_a_picture(frames: int, tmp_path: Path) -> None:
    first, *others = [Image.new("L", (32, 24), 80 * number) for number in range(frames)]
    first.save(tmp_path / "a.gif", save_all=True, append_images=others, duration=500)
    assert watch(tmp_path / "a.gif", 24, lambda picture: None).still == (frames == 1)


def test_a_video_of_one_frame_is_no_picture(make: Make) -> None:
    assert not watch(make("a.mp4", f"{GREY},trim=end_frame=1"), 24, lambda picture: None).still
