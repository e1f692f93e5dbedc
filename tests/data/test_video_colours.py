"""Frames have the right colours, tiles, track and shape."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from videos import CASES, GREY, Make, ffmpeg, maker, numbers

from structalign.data.video import BrokenVideo, decode, measure

TRANSFERS = {"HLG": "arib-std-b67", "PQ": "smpte2084"}
WRITERS = {
    "mp4": ["-c:v", "libx265", "-x265-params", "log-level=none:crf=4"],
    "mov": ["-c:v", "libx265", "-x265-params", "log-level=none:crf=4", "-tag:v", "hvc1"],
    "mkv": ["-c:v", "libx265", "-x265-params", "log-level=none:crf=4"],
    "ts": ["-c:v", "libx265", "-x265-params", "log-level=none:crf=4"],
    "webm": ["-c:v", "libvpx-vp9", "-lossless", "1"],
    "avif": ["-c:v", "libaom-av1", "-crf", "2", "-still-picture", "1", "-frames:v", "1"],
    "png": ["-c:v", "png", "-pix_fmt", "rgb48be", "-frames:v", "1"],
}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return maker(tmp_path)


def hdr(
    path: Path,
    transfer: str,
    *options: str,
    size: str = "64:48",
    matrix: str = "bt2020nc",
    pixels: str = "yuv444p10le",
) -> Path:
    """sdr_original.mkv in a high dynamic range whose diffuse white is at 203 cd/m2."""
    source = "tin=bt709:pin=bt709:min=gbr:rin=full"
    target = f"t={transfer}:p=bt2020:m={matrix}:r={'full' if matrix == 'gbr' else 'limited'}:npl=203"
    graph = f"scale={size}:flags=bicubic,format=gbrp16,zscale={source}:{target},format={pixels}"
    names = ["-color_primaries", "bt2020", "-color_trc", transfer, "-colorspace", matrix.replace("gbr", "rgb")]
    ffmpeg("-i", CASES / "sdr_original.mkv", "-vf", graph, *options, *names, path)
    return path


def error(path: Path, other: Path, count: int = 4) -> float:
    """Mean difference of two files' frames, of 255."""
    first, second = (decode(each, count, 48).frames.astype(float) for each in (path, other))
    return float(abs(first - second).mean())


@pytest.mark.parametrize("transfer", TRANSFERS)
@pytest.mark.parametrize("container", WRITERS)
def test_a_high_dynamic_range_is_mapped_to_the_standard_one(tmp_path: Path, transfer: str, container: str) -> None:
    path = hdr(tmp_path / f"a.{container}", TRANSFERS[transfer], *WRITERS[container])
    assert error(path, CASES / "sdr_original.mkv", count=1 if "-frames:v" in WRITERS[container] else 4) < 3


def test_a_high_dynamic_range_in_rgb_is_mapped_to_the_standard_one(tmp_path: Path) -> None:
    """HEVC names its profile before the pixels."""
    path = hdr(tmp_path / "a.mp4", "smpte2084", *WRITERS["mp4"], matrix="gbr", pixels="gbrp10le")
    assert error(path, CASES / "sdr_original.mkv") < 3


def test_a_video_with_unknown_colours_is_broken_with_a_reason(tmp_path: Path) -> None:
    path = hdr(tmp_path / "a.mkv", "smpte2084", "-c:v", "ffv1", matrix="ictcp")
    with pytest.raises(BrokenVideo, match="cannot convert its colour format"):
        decode(path, 1, 24)


def test_the_hlg_case_is_close_to_its_original() -> None:
    assert error(CASES / "hlg_bt2020.mp4", CASES / "sdr_original.mkv") < 1


def test_a_high_dynamic_range_of_odd_width_and_height_decodes(tmp_path: Path) -> None:
    path = hdr(tmp_path / "a.mkv", "smpte2084", "-c:v", "ffv1", "-pix_fmt", "yuv420p10le", size="63:47")
    ffmpeg("-i", CASES / "sdr_original.mkv", "-vf", "scale=63:47:flags=bicubic", "-c:v", "ffv1", tmp_path / "b.mkv")
    assert error(path, tmp_path / "b.mkv") < 3


def test_thumbnails_of_a_high_dynamic_range_are_also_mapped(tmp_path: Path) -> None:
    path = hdr(tmp_path / "a.mp4", "smpte2084", *WRITERS["mp4"])
    ours, original = (decode(file, 2, 48, thumbnails=True).thumbnails for file in (path, CASES / "sdr_original.mkv"))
    assert abs(ours.astype(float) - original).mean() < 3


def test_white_and_black_stay_white_and_black(tmp_path: Path) -> None:
    for level in (0, 255):
        graph = "format=gbrp16,zscale=tin=bt709:pin=bt709:min=gbr:rin=full:t=smpte2084:p=bt2020:m=bt2020nc:npl=203"
        colour = f"color=0x{level:02x}{level:02x}{level:02x}:size=64x48:duration=1"
        names = ["-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc"]
        path = tmp_path / f"{level}.mkv"
        ffmpeg("-f", "lavfi", "-i", colour, "-vf", f"{graph},format=yuv444p10le", "-c:v", "ffv1", *names, path)
        assert abs(decode(path, 1, 24).frames.mean() - level) < 10


def quadrants(frame: np.ndarray[Any, Any]) -> list[list[int]]:
    """The colour in the middle of each quarter: upper left and right, lower left and right."""
    high, wide, _ = frame.shape
    return [frame[high * y // 4, wide * x // 4].tolist() for y in (1, 3) for x in (1, 3)]


def test_the_tiles_of_a_phone_s_photograph_make_one_picture() -> None:
    clip = decode(CASES / "phone_2x2_tiles.heic", count=2, size=128)
    assert clip.frames.shape == (2, 128, 128, 3)
    expected = [(220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 220, 30)]
    assert np.abs(np.array(quadrants(clip.frames[0])) - expected).max() < 12


def with_property(path: Path, box: bytes, items: Sequence[int] = (5,)) -> Path:
    """The HEIC case with one more property of some items (5 is the grid). Boxes grow, and tiles move behind them."""
    data = bytearray((CASES / "phone_2x2_tiles.heic").read_bytes())
    uses = data.find(b"ipma") - 4
    place, last = uses + 16, uses + struct.unpack_from(">I", data, uses)[0]
    while place < last:  # entries of an item, a count, and that many numbers of properties
        end = place + 3 + data[place + 2]
        if struct.unpack_from(">H", data, place)[0] in items:
            data[end:end] = b"\x85"
            data[place + 2] += 1
            end, last = end + 1, last + 1
        place = end
    data[uses:uses] = box
    for name, grown in ((b"ipco", 0), (b"iprp", len(items)), (b"meta", len(items)), (b"ipma", len(items) - len(box))):
        place = data.find(name) - 4
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + grown + len(box))
    item = data.find(b"iloc") + 12
    for _ in range(5):
        in_file = struct.unpack_from(">H", data, item + 2)[0] == 0
        offset = struct.unpack_from(">I", data, item + 8)[0]
        struct.pack_into(">I", data, item + 8, offset + (len(box) + len(items)) * in_file)
        item += 16
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("box", "shown"),
    [
        ((b"irot", 1), "GYRB"),
        ((b"irot", 2), "YBGR"),
        ((b"irot", 3), "BRYG"),
        ((b"imir", 0), "BYRG"),
        ((b"imir", 1), "GRYB"),
    ],
)
def test_turned_or_mirrored_tiles_are_decoded_upright(tmp_path: Path, box: tuple[bytes, int], shown: str) -> None:
    """libheif shows the same."""
    path = with_property(tmp_path / "a.heic", struct.pack(">I4sB", 9, *box))
    found = quadrants(decode(path, count=1, size=128).frames[0])
    names = {(True, False, False): "R", (False, True, False): "G", (False, False, True): "B", (True, True, False): "Y"}
    assert "".join(names[red > 128, green > 128, blue > 128] for red, green, blue in found) == shown


def test_tiles_of_a_high_dynamic_range_are_joined_and_mapped(tmp_path: Path) -> None:
    """The same values mean other colours if the file declares PQ."""
    box = struct.pack(">I4s4sHHHB", 19, b"colr", b"nclx", 9, 16, 9, 0)
    grid = with_property(tmp_path / "a.heic", box, items=(1, 2, 3, 4, 5))
    mapped, usual = (decode(file, 1, 128).frames for file in (grid, CASES / "phone_2x2_tiles.heic"))
    assert mapped.shape == usual.shape
    assert abs(mapped.astype(float) - usual).mean() > 10


def test_a_picture_with_a_missing_tile_is_quarantined(tmp_path: Path) -> None:
    data = (CASES / "phone_2x2_tiles.heic").read_bytes()
    uses = struct.pack(">6H", 5, 4, 1, 2, 3, 4)
    assert uses in data
    (tmp_path / "a.heic").write_bytes(data.replace(uses, struct.pack(">6H", 5, 4, 1, 2, 3, 9)))
    with pytest.raises(BrokenVideo, match="not form a whole picture"):
        decode(tmp_path / "a.heic", 1, 24)


def test_the_default_one_of_several_tracks_is_shown(make: Make, tmp_path: Path) -> None:
    first, second = (
        make("red.mp4", "color=red:size=64x48:duration=1"),
        make("blue.mp4", "color=blue:size=64x48:duration=1"),
    )
    inputs: list[str | Path] = ["-i", first, "-i", second, "-map", "0:v", "-map", "1:v", "-c", "copy"]
    for container in ("mkv", "mp4", "mov"):
        for default, shown in ((0, 0), (1, 2)):
            path = tmp_path / f"{default}.{container}"
            ffmpeg(*inputs, f"-disposition:v:{1 - default}", "0", f"-disposition:v:{default}", "default", path)
            assert decode(path, 1, 24).frames.mean((0, 1, 2)).argmax() == shown


def test_a_cover_is_not_taken_for_the_video(make: Make, tmp_path: Path) -> None:
    cover, video = make("c.png", "color=red:size=64x48", "-frames:v", "1"), make("a.mp4", GREY)
    path = tmp_path / "covered.mp4"
    ffmpeg("-i", cover, "-i", video, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic", path)
    assert numbers(decode(path, count=2, size=24).frames) == [5, 15]


@pytest.mark.parametrize("first", ["64x48", "48x64"])
@pytest.mark.parametrize(("container", "codec"), [("ts", "libx264"), ("h264", "libx264"), ("mpg", "mpeg2video")])
def test_a_video_that_changes_its_shape_is_quarantined(
    make: Make, tmp_path: Path, first: str, container: str, codec: str
) -> None:
    sizes = (first, "64x48" if first == "48x64" else "48x64")
    parts = [
        make(f"{number}.{container}", GREY.replace("64x48", size).replace("rate=10", "rate=25"), "-c:v", codec)
        for number, size in enumerate(sizes)
    ]
    (tmp_path / f"both.{container}").write_bytes(b"".join(part.read_bytes() for part in parts))
    for look in (lambda path: decode(path, 4, 24), lambda path: measure(path, 4)):
        with pytest.raises(BrokenVideo, match="aspect ratio changes"):
            look(tmp_path / f"both.{container}")


def test_the_case_that_changes_its_shape_is_quarantined_but_not_a_stretch_before() -> None:
    case = CASES / "landscape_then_portrait.ts"
    with pytest.raises(BrokenVideo, match="aspect ratio changes"):
        decode(case, count=4, size=24)
    with pytest.raises(BrokenVideo, match="aspect ratio changes"):
        decode(case, count=2, size=24, start=2)
    assert decode(case, count=2, size=24, end=1).frames.shape == (2, 24, 48, 3)


def test_a_video_that_only_changes_its_resolution_is_shown(make: Make, tmp_path: Path) -> None:
    parts = [make("1.ts", GREY), make("2.ts", GREY.replace("64x48", "128x96"))]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    clip = decode(tmp_path / "both.ts", count=4, size=24)
    assert clip.frames.shape == (4, 24, 32, 3)
    assert numbers(clip.frames) == [5, 15, 5, 15]


def dolby(path: Path, profile: int, compatible: int) -> Path:
    """An HEVC file that says it is Dolby Vision: a box `dvcC` at the end of its sample entry."""
    ffmpeg("-f", "lavfi", "-i", GREY, "-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hvc1", path)
    data = bytearray(path.read_bytes())
    head = (profile << 9) | (1 << 3) | 0b101  # profile, level 1, metadata and base layer there
    box = struct.pack(">I4sBBHB", 32, b"dvcC", 1, 0, head, compatible << 4).ljust(32, b"\0")
    entry = data.find(b"hvc1", data.find(b"stsd")) - 4
    end = entry + struct.unpack_from(">I", data, entry)[0]
    data[end:end] = box
    for name in (b"hvc1", b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):  # moov is behind the pictures
        place = data.find(name, data.find(b"stsd") if name == b"hvc1" else data.find(b"moov")) - 4
        struct.pack_into(">I", data, place, struct.unpack_from(">I", data, place)[0] + len(box))
    path.write_bytes(data)
    return path


def test_dolby_vision_without_a_base_layer_is_quarantined(tmp_path: Path) -> None:
    with pytest.raises(BrokenVideo, match="Dolby Vision profile 5"):
        decode(dolby(tmp_path / "a.mp4", profile=5, compatible=0), count=1, size=24)


def test_dolby_vision_with_a_base_layer_is_shown(tmp_path: Path) -> None:
    clip = decode(dolby(tmp_path / "a.mp4", profile=8, compatible=1), count=2, size=24)
    assert numbers(clip.frames) == [5, 15]
