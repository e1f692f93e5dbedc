"""Only what is in the file itself is decoded: no playlist, manifest, pattern or link shows another file."""

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from videos import GREY, Make, ffmpeg, maker, numbers

from structalign.data.collection import why_absent
from structalign.data.decoding import command
from structalign.data.decoding.formats import ADMITTED
from structalign.data.decoding.header import Header
from structalign.data.video import BrokenVideo, decode, measure

HLS = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:2.0,\n{}\n#EXT-X-ENDLIST\n"
MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000,RESOLUTION=64x48\n{}\n"
DASH = (
    '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT2S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
    '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1000"><BaseURL>{}</BaseURL>'
    "</Representation></AdaptationSet></Period></MPD>\n"
)
IMF = (
    '<?xml version="1.0"?>\n<AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM"><Path>{}</Path></AssetMap>'
)
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="64" height="48"><image href="{}" width="64" height="48"/></svg>'
TEXTS = {
    "HLS": HLS,
    "HLS master": MASTER,
    "DASH": DASH,
    "ffconcat": "ffconcat version 1.0\nfile '{}'\n",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\na=control:{}\n",
    "IMF": IMF,
    "SVG": SVG,
    "PLS": "[playlist]\nFile1={}\nNumberOfEntries=1\n",
    "ASX": '<asx version="3.0"><entry><ref href="{}"/></entry></asx>',
    "QuickTime text": "RTSPtext\nrtsp://127.0.0.1/{}\n",
    "AviSynth": 'FFVideoSource("{}")\n',
    "plain concat": "file '{}'\n",
}
NAMES = ("a.mp4", "a.mov", "a.m3u8", "a.mpd", "a.ffconcat", "a.sdp", "a.avs", "a.svg", "a.xml", "a.txt", "a")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return maker(tmp_path)


@pytest.mark.parametrize("kind", TEXTS)
def test_a_text_that_names_another_video_shows_nothing_of_it(make: Make, tmp_path: Path, kind: str) -> None:
    """The file has every extension that a tool may trust, and every syntax that refers to its neighbour."""
    other = make("other.ts", GREY)
    make("other.mp4", GREY)
    ways = (other.name, str(other), other.as_uri(), f"concat:{other}", f"subfile,,start,0,end,0,,:{other}", "other.mp4")
    for name, way in zip(NAMES, ways * 2, strict=False):
        (tmp_path / name).write_text(TEXTS[kind].format(way))
        with pytest.raises(BrokenVideo) as refusal:
            decode(tmp_path / name, count=1, size=16)
        assert str(tmp_path) not in str(refusal.value)


@pytest.mark.parametrize(
    ("kind", "said"),
    [("HLS", "HLS playlist"), ("DASH", "DASH manifest"), ("ffconcat", "concat"), ("SDP", "SDP"), ("IMF", "IMF")],
)
def test_the_refusal_names_the_kind(tmp_path: Path, kind: str, said: str) -> None:
    for encoding in ("utf-8", "utf-8-sig"):
        (tmp_path / "a.mp4").write_text(TEXTS[kind].format("other.mp4"), encoding=encoding)
        with pytest.raises(BrokenVideo, match=said):
            measure(tmp_path / "a.mp4")


@pytest.mark.parametrize(
    "text", [f"<!--{'x' * 9000}-->{DASH}", "#EXTINF:2,\na.mp4\n", "version https://git-lfs.github.com/spec/v1\n", "ü\n"]
)
def test_any_other_text_is_refused_as_a_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.mp4").write_text(text, encoding="utf-8")
    with pytest.raises(BrokenVideo, match="it is a text"):
        measure(tmp_path / "a.mp4")


def test_a_playlist_with_an_embedded_segment_is_also_refused(make: Make, tmp_path: Path) -> None:
    from base64 import b64encode

    data = b64encode(make("a.ts", GREY).read_bytes()).decode()
    (tmp_path / "a.m3u8").write_text(HLS.format(f"data:video/mp2t;base64,{data}"))
    with pytest.raises(BrokenVideo, match="HLS playlist"):
        decode(tmp_path / "a.m3u8", count=1, size=16)


def test_no_format_is_admitted_that_reads_more_than_one_file() -> None:
    of_others = {"hls", "dash", "concat", "sdp", "rtp", "rtsp", "image2", "imf", "avisynth", "vapoursynth", "svg_pipe"}
    of_others |= {"webm_dash_manifest", "vobsub", "dvdvideo", "libgme", "tty", "ffmetadata", "lavfi", "mpsub", "sbg"}
    assert not of_others & set(ADMITTED.split(","))


def test_every_ffmpeg_call_only_admits_the_open_file() -> None:
    header = Header(format="mov", track="0")
    for line in (command.opening(3), command.decoding(3, header, 4, None, [(16, 5)]), command.packets(3, header, 4)):
        assert line[line.index("-protocol_whitelist") + 1] == "fd"
        assert line[line.index("-format_whitelist") + 1] == ADMITTED
        assert [line[place + 1] for place, word in enumerate(line) if word == "-i"] == ["fd:"]


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine, and the requests that it received."""
    heard = list[bytes]()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                try:
                    peer, _ = server.accept()
                except TimeoutError:
                    continue
                with peer:
                    heard.append(peer.recv(100))

        thread = threading.Thread(target=listen)
        thread.start()
        yield server.getsockname()[1], heard
        over.set()
        thread.join()


@pytest.mark.parametrize("kind", TEXTS)
def test_nothing_is_fetched_from_a_network(tmp_path: Path, listener: tuple[int, list[bytes]], kind: str) -> None:
    port, heard = listener
    for scheme in ("http", "tcp", "rtmp", "ftp"):
        (tmp_path / "a.mp4").write_text(TEXTS[kind].format(f"{scheme}://127.0.0.1:{port}/a.mp4"))
        with pytest.raises(BrokenVideo):
            decode(tmp_path / "a.mp4", count=1, size=16)
    assert not heard


def test_a_name_that_is_a_pattern_shows_its_own_file(tmp_path: Path) -> None:
    for number, colour in enumerate(("red", "lime", "blue")):
        ffmpeg("-f", "lavfi", "-i", f"color={colour}:size=16x16", "-frames:v", "1", tmp_path / f"img{number:03d}.png")
    (tmp_path / "img002.png").rename(tmp_path / "blue.png")
    for pattern in ("img%03d.png", "img%d.png", "*.png", "img00[01].png", "img00?.png"):
        own = tmp_path / pattern
        own.write_bytes((tmp_path / "blue.png").read_bytes())
        assert decode(own, count=1, size=16).frames[0].mean((0, 1)).round().tolist() == [0, 0, 254]


def test_a_name_that_is_an_address_shows_its_own_file(make: Make, tmp_path: Path) -> None:
    plain = make("plain.mp4", GREY).read_bytes()
    for name in ("concat:a.mp4|b.mp4", "subfile,,start,0,end,9,,:a.mp4", "pipe:0", "http:", "fd:", "data:,x", "-"):
        (tmp_path / name).write_bytes(plain)
        assert numbers(decode(tmp_path / name, count=2, size=16).frames) == [5, 15]


def test_a_path_that_is_no_regular_file_is_broken(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    for name in ("pipe.mp4", "folder.mp4", "loop.mp4", "gone.mp4", "x" * 300, "a\0b"):
        with pytest.raises(BrokenVideo):
            decode(tmp_path / name, count=1, size=16, timeout=5)


def test_a_link_is_only_followed_inside_the_collection(tmp_path: Path) -> None:
    videos = tmp_path / "data/videos"
    (videos / "cats").mkdir(parents=True)
    (videos / "cats/a.mp4").write_bytes(b"a")
    (tmp_path / "private.mp4").write_bytes(b"p")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b.mp4").write_bytes(b"b")
    (videos / "inside.mp4").symlink_to("cats/a.mp4")
    (videos / "twice.mp4").symlink_to("inside.mp4")
    (videos / "outside.mp4").symlink_to(tmp_path / "private.mp4")
    (videos / "relative.mp4").symlink_to("../../private.mp4")
    (videos / "by_a_link.mp4").symlink_to("outside.mp4")
    (videos / "folder").symlink_to(tmp_path / "elsewhere")
    for name in ("cats/a.mp4", "inside.mp4", "twice.mp4"):
        assert why_absent(videos, name) is None
    for name in ("outside.mp4", "relative.mp4", "by_a_link.mp4", "folder/b.mp4", "../../private.mp4"):
        assert "outside the collection" in str(why_absent(videos, name))


def test_the_collection_itself_may_be_a_link_and_its_files_may_be_in_dvc_s_cache(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "videos").symlink_to("real")
    for name, digest in (("a.mp4", hashlib.md5(b"v").hexdigest()), ("b.mp4", "ab" + "c" * 30)):
        cached = tmp_path / "store/files/md5" / digest[:2] / digest[2:]
        cached.parent.mkdir(parents=True)
        cached.write_bytes(b"v")
        (tmp_path / "real" / name).symlink_to(cached)
    assert why_absent(tmp_path / "videos", "a.mp4") is None
    assert "outside the collection" in str(
        why_absent(tmp_path / "videos", "b.mp4")
    )  # its content differs from its name


def test_an_unreadable_file_is_absent_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    reasons = {name: why_absent(tmp_path, name) for name in ("gone.mp4", "folder", "loop", "pipe", "x" * 5000, "a\0b")}
    assert reasons["gone.mp4"] == "the file is missing"
    assert all(reasons.values()), reasons
