"""A damaged video is used with a note, and an intact one without."""

from collections.abc import Callable
from pathlib import Path

import pytest
from videos import CASES, Make, ffmpeg, maker

from structalign.data.video import decode, measure

SOURCE = "testsrc2=size=96x64:rate={}:duration={}"
TONE = "sine=duration={}:frequency=440"
H264 = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -g 12 -threads 1"
H265 = "-c:v libx265 -preset ultrafast -pix_fmt yuv420p -x265-params log-level=none:keyint=12:bframes=3"
EDITED = "-c:v libx264 -preset veryfast -pix_fmt yuv420p -g 24 -bf 3 -c:a aac"
LATE = "if(lt(N,20),PTS,PTS+(N-20)*0.3/TB)"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return maker(tmp_path)


def encoded(path: Path, options: str, seconds: float = 4, sound: float = 0, graph: str = "null") -> Path:
    """A moving picture, with a tone of `sound` seconds if it is not 0."""
    tone = ["-f", "lavfi", "-i", TONE.format(sound)] if sound else []
    rate = 25 if path.suffix in (".mpg", ".mxf") else 12  # these know a few rates only
    source = f"{SOURCE.format(rate, seconds)},{graph}"
    ffmpeg("-f", "lavfi", "-i", source, *tone, "-fps_mode", "passthrough", *options.split(), path)
    return path


def copied(path: Path, options: str, of: str = H264, source: str = "source.mp4", sound: float = 0) -> Path:
    """The packets of another file; in the options, SOURCE is its name."""
    made = encoded(path.with_name(source), of, sound=sound)
    ffmpeg(*(str(made) if word == "SOURCE" else word for word in options.split()), path)
    return path


def trailed(path: Path, behind: bytes, options: str = H264) -> Path:
    encoded(path, options)
    path.write_bytes(path.read_bytes() + behind)
    return path


def piped(path: Path) -> Path:
    """A file written to a pipe, where the length cannot be filled in afterwards."""
    ffmpeg("-f", "lavfi", "-i", SOURCE.format(12, 4), *H264.split(), "-f", "matroska", "-live", "1", path)
    return path


def begun_late(path: Path) -> Path:
    """A recording that begins between two key frames."""
    data = encoded(path, f"{H264} -bf 2").read_bytes()
    path.write_bytes(data[188 * (len(data) // 188 // 3) :])
    return path


def joined(path: Path) -> Path:
    path.write_bytes(encoded(path, H264).read_bytes() * 2)
    return path


def subtitled(path: Path) -> Path:
    words = path.with_suffix(".srt")
    words.write_text("1\n00:00:00,000 --> 00:00:06,500\nhello\n")
    return copied(path, f"-i SOURCE -i {words} -c:v copy")


def covered(path: Path) -> Path:
    ffmpeg("-f", "lavfi", "-i", SOURCE.format(12, 1), "-frames:v", "1", path.with_name("cover.jpg"))
    cover = path.with_name("cover.jpg")
    return copied(path, f"-i SOURCE -i {cover} -map 0 -map 1 -c copy -disposition:v:1 attached_pic", sound=4)


JUNK = bytes(range(256)) * 12
HEALTHY: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "plain": ("a.mp4", lambda path: encoded(path, H264)),
    "index in front": ("a.mp4", lambda path: encoded(path, f"{H264} -movflags +faststart")),
    "B-frames": ("a.mp4", lambda path: encoded(path, f"{H264} -bf 3")),
    "open GOP, h264": ("a.mkv", lambda path: encoded(path, f"{H264} -bf 2 -x264-params open-gop=1:keyint=12")),
    "open GOP, hevc": ("a.mp4", lambda path: encoded(path, f"{H265}:open-gop=1")),
    "cut at an open GOP": ("a.ts", lambda path: copied(path, "-ss 1.4 -i SOURCE -c copy", of=f"{H265}:open-gop=1")),
    "edit list": ("a.mp4", lambda path: copied(path, "-ss 1.3 -i SOURCE -c copy", of=f"{H264} -bf 3")),
    "edit list with sound": ("a.mp4", lambda path: copied(path, "-ss 1.3 -i SOURCE -c copy", sound=7)),
    "empty edit": ("a.mp4", lambda path: copied(path, "-itsoffset 3 -i SOURCE -c copy")),
    "late start, mkv": ("a.mkv", lambda path: copied(path, "-i SOURCE -c copy -output_ts_offset 5")),
    "late start, mp4": ("a.mp4", lambda path: copied(path, "-i SOURCE -c copy -output_ts_offset 5")),
    "late start, ts": ("a.ts", lambda path: copied(path, "-i SOURCE -c copy -output_ts_offset 5000")),
    "variable rate, mp4": ("a.mp4", lambda path: encoded(path, H264, graph=f"setpts='{LATE}'")),
    "variable rate, mkv": ("a.mkv", lambda path: encoded(path, H264, graph=f"setpts='{LATE}'")),
    "variable rate, webm": ("a.webm", lambda path: encoded(path, "-c:v libvpx", graph=f"setpts='{LATE}'")),
    "a slide every five seconds": ("a.mp4", lambda path: encoded(path, H264, 30, graph="fps=1/5")),
    "a slide every five seconds, flv": ("a.flv", lambda path: encoded(path, "-c:v flv1", 30, graph="fps=1/5")),
    "longer sound, mp4": ("a.mp4", lambda path: encoded(path, f"{H264} -c:a aac", sound=9)),
    "longer sound, mkv": ("a.mkv", lambda path: encoded(path, f"{H264} -c:a aac", sound=9)),
    "longer sound, avi": ("a.avi", lambda path: encoded(path, "-c:v mpeg4 -c:a mp2", sound=9)),
    "longer sound, flv": ("a.flv", lambda path: encoded(path, "-c:v flv1 -c:a aac", sound=9)),
    "longer sound, wmv": ("a.wmv", lambda path: encoded(path, "-c:v wmv2 -c:a wmav2", sound=9)),
    "longer sound, mpg": ("a.mpg", lambda path: encoded(path, "-c:v mpeg2video -c:a mp2", sound=9)),
    "longer sound, ts": ("a.ts", lambda path: encoded(path, f"{H264} -c:a aac", sound=9)),
    "longer sound, ogg": ("a.ogv", lambda path: encoded(path, "-c:v libtheora -c:a libvorbis", sound=9)),
    "shorter sound": ("a.mp4", lambda path: encoded(path, f"{H264} -c:a aac", sound=1)),
    "longer subtitles": ("a.mkv", subtitled),
    "a cover": ("a.mp4", covered),
    "edit list in fragments": (
        "a.mp4",
        lambda path: copied(
            path, "-ss 3.8 -i SOURCE -c copy -movflags frag_keyframe+empty_moov+delay_moov", of=EDITED, sound=6
        ),
    ),
    "two frames of one time": ("a.mxf", lambda path: encoded(path, H264)),
    "a time code": ("a.mov", lambda path: encoded(path, f"{H264} -timecode 01:00:00:00")),
    "zeros behind mp4": ("a.mp4", lambda path: trailed(path, bytes(3000))),
    "junk behind mp4": ("a.mp4", lambda path: trailed(path, JUNK)),
    "zeros behind mkv": ("a.mkv", lambda path: trailed(path, bytes(3000))),
    "junk behind mkv": ("a.mkv", lambda path: trailed(path, JUNK)),
    "zeros behind avi": ("a.avi", lambda path: trailed(path, bytes(3000), "-c:v mpeg4")),
    "zeros behind flv": ("a.flv", lambda path: trailed(path, bytes(3000), "-c:v flv1")),
    "junk behind ts": ("a.ts", lambda path: trailed(path, JUNK)),
    "zeros behind webm": ("a.webm", lambda path: trailed(path, bytes(3000), "-c:v libvpx")),
    "a fragmented file": ("a.mp4", lambda path: encoded(path, f"{H264} -movflags frag_keyframe+empty_moov", 20)),
    "a fragmented file with sound": (
        "a.mp4",
        lambda path: encoded(path, f"{H264} -c:a aac -movflags frag_keyframe+empty_moov+skip_trailer", 10, sound=10),
    ),
    "a live recording": ("a.mkv", piped),
    "a recording from between key frames": ("a.ts", begun_late),
    "two recordings in one": ("a.ts", joined),
    "intra refresh": ("a.mp4", lambda path: encoded(path, f"{H264} -x264-params intra-refresh=1:bframes=0")),
    "interlaced": (
        "a.mpg",
        lambda path: encoded(path, "-c:v mpeg2video -flags +ilme+ildct", graph="fps=50,tinterlace=mode=interleave_top"),
    ),
    "packed xvid": ("a.avi", lambda path: encoded(path, "-c:v libxvid -bf 2")),
    "10 bits": ("a.mp4", lambda path: encoded(path, "-c:v libx264 -pix_fmt yuv420p10le -preset veryfast")),
    "alpha": ("a.webm", lambda path: encoded(path, "-c:v libvpx-vp9 -pix_fmt yuva420p -deadline realtime", 1)),
    "AV1": ("a.mp4", lambda path: encoded(path, "-c:v libaom-av1 -cpu-used 8 -usage realtime", 1)),
    "pictures only": ("a.avi", lambda path: encoded(path, "-c:v mjpeg -pix_fmt yuvj420p")),
    "prores": ("a.mov", lambda path: encoded(path, "-c:v prores", 1)),
    "lossless": ("a.mkv", lambda path: encoded(path, "-c:v ffv1")),
    "gif": ("a.gif", lambda path: encoded(path, "-c:v gif")),
    "a raw stream": ("a.h264", lambda path: encoded(path, f"{H264} -bf 2")),
    "one frame": ("a.mp4", lambda path: encoded(path, f"{H264} -frames:v 1")),
    "a photograph": ("a.jpg", lambda path: encoded(path, "-frames:v 1")),
    "junk behind a photograph": ("a.jpg", lambda path: trailed(path, JUNK, "-frames:v 1")),
    "a second picture in a photograph": ("a.jpg", lambda path: trailed(path, JUNK, "-frames:v 1 -c:v mjpeg")),
    "junk behind png": ("a.png", lambda path: trailed(path, JUNK, "-frames:v 1")),
}


@pytest.mark.parametrize("kind", HEALTHY)
def test_an_intact_video_has_no_note(tmp_path: Path, kind: str) -> None:
    name, write = HEALTHY[kind]
    path = write(tmp_path / name)
    assert measure(path).damage is None
    assert decode(path, count=3, size=24).damage is None


def test_times_after_the_last_frame_are_no_damage(tmp_path: Path) -> None:
    """The sound lasts longer than the pictures, so the file's length suggests times without a picture."""
    path = encoded(tmp_path / "a.mp4", f"{H264} -c:a aac", seconds=1, sound=60)
    clip = decode(path, count=4, size=200, thumbnails=True)
    assert (clip.duration, clip.damage) == (1, None)


def broken_off(data: bytes) -> bytes:
    return data[: len(data) * 6 // 10]


def zeroed(data: bytes, begin: int) -> bytes:
    """Fill a fifth of the file with zeros, from `begin` tenths."""
    first, fifth = len(data) * begin // 10, len(data) // 5
    return data[:first] + bytes(fifth) + data[first + fifth :]


CUT = {
    "a.mp4": f"{H264} -movflags +faststart",
    "a.mkv": H264,
    "a.webm": "-c:v libvpx",
    "vp9.webm": "-c:v libvpx-vp9 -deadline realtime",
    "a.avi": "-c:v mpeg4",
    "a.flv": "-c:v flv1",
    "a.wmv": "-c:v wmv2",
    "a.mxf": "-c:v mpeg2video",
    "a.ivf": "-c:v libvpx",
    "whole_frames.avi": "-c:v huffyuv",
    "sound.mkv": f"{H264} -c:a aac",
    "sound.flv": "-c:v flv1 -c:a aac",
    "sound.mp4": f"{H264} -c:a aac -movflags +faststart",
}
ZEROED = CUT | {
    "a.ts": H264,
    "a.mpg": "-c:v mpeg2video",
    "a.mov": "-c:v prores",
    "pictures.mkv": "-c:v mjpeg -pix_fmt yuvj420p",
    "hevc.mp4": H265,
    "a.h264": H264,
}


@pytest.mark.parametrize("name", CUT)
def test_a_file_that_broke_off_is_noted(tmp_path: Path, name: str) -> None:
    path = encoded(tmp_path / name, CUT[name], seconds=10, sound=10 if "sound" in name else 0)
    path.write_bytes(broken_off(path.read_bytes()))
    assert measure(path).damage
    assert decode(path, count=3, size=24).damage


@pytest.mark.parametrize("begin", [2, 5])
@pytest.mark.parametrize("name", ZEROED)
def test_a_file_with_a_fifth_zeroed_is_noted(tmp_path: Path, name: str, begin: int) -> None:
    path = encoded(tmp_path / name, ZEROED[name], seconds=10, sound=10 if "sound" in name else 0)
    path.write_bytes(zeroed(path.read_bytes(), begin))
    assert measure(path).damage
    assert decode(path, count=3, size=24).damage


def test_the_case_that_broke_off_is_noted_with_both_lengths() -> None:
    clip = decode(CASES / "broke_off_at_60_percent.mkv", count=4, size=24)
    assert clip.damage is not None
    assert "declares 10.0 s" in clip.damage
    assert "4.4 s" in clip.damage


def test_a_stretch_before_the_break_is_as_long_as_it_should_be(tmp_path: Path) -> None:
    """An index in front still declares the whole length; the stretch does not reach the break."""
    path = encoded(tmp_path / "a.webm", "-c:v libvpx", seconds=40)
    path.write_bytes(broken_off(path.read_bytes()))
    assert decode(path, count=3, size=24, start=1, end=2).damage is None


@pytest.mark.parametrize(("seconds", "noted"), [(1, True), (100_000, False)])
def test_a_forged_length_changes_no_picture(tmp_path: Path, seconds: int, noted: bool) -> None:
    """All headers declare it, but the video lasts 4 s. ffmpeg corrects too long a length by the index."""
    path = encoded(tmp_path / "a.mp4", H264)
    expected = decode(path, count=3, size=24)
    data = bytearray(path.read_bytes())
    for name, place, scale in ((b"mvhd", 20, 1000), (b"tkhd", 24, 1000), (b"mdhd", 20, 12288)):
        at = data.find(name) + place
        data[at : at + 4] = (seconds * scale).to_bytes(4, "big")
    path.write_bytes(data)
    clip = decode(path, count=3, size=24)
    assert ("declares" in str(clip.damage)) == noted
    assert (clip.times, clip.duration) == (expected.times, expected.duration)
    assert clip.frames.tobytes() == expected.frames.tobytes()


def test_pictures_that_the_decoder_patched_up_are_noted(make: Make) -> None:
    """Only bytes of pictures are changed, no structure. The decoder fills the damaged areas."""
    path = make("a.mp4", SOURCE.format(12, 4), *H264.split())
    data = bytearray(path.read_bytes())
    begin, end = data.find(b"mdat") + 800, data.find(b"moov")
    for place in range(begin, end, 97):
        data[place] ^= 0x55
    path.write_bytes(data)
    assert "reports errors" in str(decode(path, count=4, size=24).damage)
