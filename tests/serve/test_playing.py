"""How a video reaches a browser: unchanged, in another container, or encoded again, and what is cached."""

import errno
import http.client
import io
import json
import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image
from served import Labelled, Server, running
from videos import ffmpeg

from structalign.data import playable
from structalign.data.decoding.broken import BrokenVideo
from structalign.serve import making, media

MOVES = 10  # seconds that something may take here
KILLED = "kill -9 $$"
TERMINATED = "echo '[info] Exiting normally, received signal 15.' >&2; exit 255"  # as ffmpeg does itself


def about(file: Path) -> str:
    """ffmpeg's description of a file."""
    return subprocess.run([get_ffmpeg_exe(), "-hide_banner", "-i", file], capture_output=True, text=True).stderr


def children(server: Server) -> list[str]:
    """The ffmpeg processes that this process has started."""
    found = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True).stdout
    return [line for line in found.splitlines() if "ffmpeg" in line]


def until(what: Any) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + MOVES
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("file", "playing"),
    [("film.mp4", "direct"), ("hevc.mp4", "transcode"), ("old.mpg", "transcode"), ("boxed.avi", "remux")],
)
def test_how_a_file_plays_was_decided_when_it_was_indexed(server: Server, file: str, playing: str) -> None:
    assert server.json(f"/api/videos/{server.id_of(file)}")["playing"] == playing


def test_a_file_that_browsers_play_is_sent_unchanged_and_in_any_range(server: Server, shelf: Path) -> None:
    url, data = f"/api/videos/{server.id_of('film.mp4')}/media", (shelf / "videos/one/film.mp4").read_bytes()
    assert server.ask(url)[2] == data
    status, headers, part = server.ask(url, Range="bytes=100-199")
    assert (status, part) == (206, data[100:200])
    assert headers["content-range"] == f"bytes 100-199/{len(data)}"
    assert server.ask(url, Range="bytes=-50")[2] == data[-50:]
    assert server.ask(url, Range=f"bytes={len(data)}-")[0] == 416


def test_an_invalid_range_is_ignored_and_one_beyond_the_end_gets_416(server: Server, shelf: Path) -> None:
    url, data = f"/api/videos/{server.id_of('film.mp4')}/media", (shelf / "videos/one/film.mp4").read_bytes()
    for none in (
        "items=0-1",
        "bytes=5-2",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=--5",
        "bytes=0_0-1",
        "0-1",
        "9" * 5000,
    ):
        status, _, body = server.ask(url, Range=none)
        assert (status, body == data) == (200, True), none
    assert server.ask(url, Range="bytes=0-" + "9" * 18)[0] == 206
    assert server.ask(url, Range="bytes=0-1,4-5")[0] == 206
    status, headers, part = server.ask(url, Range=f"bytes=0-1,{len(data)}-,-0")
    assert (status, part, headers["content-range"]) == (206, data[:2], f"bytes 0-1/{len(data)}")
    for beyond in (f"bytes={len(data)}-", "bytes=-0", f"bytes={len(data)}-{len(data) + 5}"):
        status, headers, body = server.ask(url, Range=beyond)
        assert (status, headers["content-range"]) == (416, f"bytes */{len(data)}"), beyond
        assert str(len(data)) in json.loads(body)["error"]


def test_a_cached_file_is_not_sent_again(server: Server) -> None:
    for path in (f"/api/videos/{server.id_of('film.mp4')}/poster?at=1", "/page/page.js", "/"):
        tag = server.ask(path)[1]["etag"]
        for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            status, headers, body = server.ask(path, If_None_Match=given)
            assert (status, headers["etag"], body) == (304, tag, b"")
        assert server.ask(path, If_None_Match='"other"')[0] == 200


@pytest.mark.parametrize("part", ["", "/media", "/poster", "/preview"])
def test_head_has_the_headers_of_get(server: Server, part: str) -> None:
    path = f"/api/videos/{server.id_of('film.mp4')}{part}"
    _, expected, data = server.ask(path)
    status, headers, body = server.ask(path, method="HEAD")
    assert (status, headers["content-type"], body) == (200, expected["content-type"], b"")
    assert headers["content-length"] == str(len(data))


def test_head_of_the_pages_is_answered_and_makes_no_stretch(server: Server) -> None:
    for path in ("/", "/docs", "/login", "/page/page.js", "/api/health", "/openapi.json"):
        assert server.ask(path, method="HEAD")[::2] == (200, b"")
    begun = time.monotonic()
    assert server.ask(f"/api/videos/{server.id_of('old.mpg')}/stretch", method="HEAD")[0] == 200
    assert time.monotonic() - begun < 1
    assert server.ask("/api/search", method="HEAD")[0] == 405


def test_another_file_plays_half_a_minute_around_the_match_and_then_whole(shelf: Path, tmp_path: Path) -> None:
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as server:
        id = server.id_of("hevc.mp4")
        first = server.json(f"/api/videos/{id}?at=6")["play"]
        assert (first["url"].startswith(f"/api/videos/{id}/stretch"), first["whole"]) == (True, False)
        made = tmp_path / "stretch.mp4"
        made.write_bytes(server.ask(first["url"])[2])
        assert "Video: h264" in about(made)
        assert "Audio: aac" in about(made)
        until(lambda: server.json(f"/api/videos/{id}?at=6")["play"]["whole"])
        whole = server.json(f"/api/videos/{id}?at=6")["play"]
        assert (whole["url"], whole["start"]) == (f"/api/videos/{id}/media", 0)
        made.write_bytes(server.ask(whole["url"])[2])
        assert "Video: h264" in about(made)
        assert "Duration: 00:00:08.0" in about(made)
        assert server.ask(whole["url"], Range="bytes=0-9")[0] == 206


@pytest.mark.parametrize("file", ["film.mp4", "boxed.avi"])
def test_all_ranges_of_a_file_have_one_etag(server: Server, file: str) -> None:
    url = f"/api/videos/{server.id_of(file)}/media"
    server.ask(url)
    tags = set()
    for _ in range(3):
        time.sleep(0.02)
        tags.add(server.ask(url, Range="bytes=0-9")[1]["etag"])
    assert len(tags) == 1
    status, _, part = server.ask(url, Range="bytes=0-9", If_Range=tags.pop())
    assert (status, len(part)) == (206, 10)


def test_a_file_in_an_old_container_keeps_its_pictures(server: Server, tmp_path: Path) -> None:
    made = tmp_path / "made.mp4"
    made.write_bytes(server.ask(f"/api/videos/{server.id_of('boxed.avi')}/media")[2])
    assert "Video: h264" in about(made)
    assert "Duration: 00:00:08.0" in about(made)


def colour(data: bytes) -> tuple[int, ...]:
    """The colour in the middle of a JPEG."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    found: Any = image.getpixel((image.width // 2, image.height // 2))
    return tuple(found)


def test_a_poster_is_the_frame_of_its_second(tmp_path: Path) -> None:
    for name, options in {"a.mp4": (), "a.ts": ("-c:v", "mpeg2video"), "a.mkv": ("-c:v", "libvpx-vp9")}.items():
        film = "color=red:size=64x48:rate=5:duration=3[a];color=blue:size=64x48:rate=5:duration=3[b];[a][b]concat"
        ffmpeg("-filter_complex", film, *options, tmp_path / name)
        red, blue = (colour(playable.still(tmp_path / name, at)) for at in (2.8, 3.0))
        assert (red[0] > 200 > blue[0], blue[2] > 200 > red[2]) == (True, True), name


def test_a_time_behind_the_end_shows_the_beginning(server: Server) -> None:
    status, headers, data = server.ask(f"/api/videos/{server.id_of('film.mp4')}/poster?at=1000000")
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(data)).size == (128, 96)


def test_a_preview_is_small_short_and_silent(server: Server, tmp_path: Path) -> None:
    made = tmp_path / "preview.mp4"
    made.write_bytes(server.ask(f"/api/videos/{server.id_of('film.mp4')}/preview?at=2")[2])
    assert "Video: h264" in about(made)
    assert "Audio" not in about(made)
    assert made.stat().st_size < 200_000


def test_a_video_that_cannot_be_decoded_gets_an_error(shelf: Path, tmp_path: Path) -> None:
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        id, index = served.id_of("hevc.mp4"), served.collection.index
        bad = tmp_path / "bad.mp4"
        bad.write_bytes(b"no video" * 1000)
        index.path_of = lambda id: bad  # type: ignore[method-assign]
        for part in ("poster", "preview", "stretch", "media"):
            status, _, body = served.ask(f"/api/videos/{id}/{part}")
            assert (status, b"cannot be shown" in body) == (422, True), part
        assert not list((tmp_path / "cache").iterdir())


def test_a_vanished_file_gets_an_error(shelf: Path, tmp_path: Path) -> None:
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        index = served.collection.index
        index._readable = lambda file: None  # type: ignore[method-assign]
        for part in ("poster", "preview", "stretch", "media"):
            status, _, body = served.ask(f"/api/videos/{served.id_of('film.mp4')}/{part}")
            assert (status, b"is missing: index again" in body) == (404, True), part


@pytest.mark.parametrize("file", ["film.mp4", "hevc.mp4"])
def test_a_file_that_vanishes_during_a_request_gets_an_error(shelf: Path, tmp_path: Path, file: str) -> None:
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        id = served.id_of(file)
        served.collection.index.path_of = lambda id: tmp_path / "gone.mp4"  # type: ignore[method-assign]
        for part in ("/poster", "/preview", "/stretch", "/media"):
            status, _, body = served.ask(f"/api/videos/{id}{part}")
            assert (status, b"is missing" in body, str(tmp_path).encode() in body) == (404, True, False), part


def test_two_requests_for_one_preview_make_it_once(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, still = list[float](), playable.still

    def slow(path: Path, at: float, wanted: playable.Condition) -> bytes:
        calls.append(at)
        time.sleep(0.3)
        return still(path, at, wanted)

    monkeypatch.setattr(playable, "still", slow)
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        url = f"/api/videos/{served.id_of('film.mp4')}/poster?at=3"
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: served.ask(url), range(8)))
        assert {answer[0] for answer in answers} == {200}
        assert served.ask(url)[0] == 200
    assert len(calls) == 1


def test_the_cache_keeps_the_most_recently_used_files(shelf: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with running(lambda: Labelled(shelf / "index"), cache, limit=20_000) as served:
        url = f"/api/videos/{served.id_of('film.mp4')}/poster?at="
        served.ask(url + "0")
        first = next(cache.iterdir())
        for number in range(1, 30):
            served.ask(f"{url}{number / 4}")
            served.ask(url + "0")
        assert sum(file.stat().st_size for file in cache.iterdir()) <= 20_000
        assert first in list(cache.iterdir())
        assert len(list(cache.iterdir())) > 1


def test_nothing_is_made_for_a_client_that_has_left(shelf: Path, tmp_path: Path) -> None:
    long = tmp_path / "long.mp4"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=30:duration=40", "-preset", "ultrafast", long)
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        id, index = served.id_of("hevc.mp4"), served.collection.index
        index.path_of = lambda id: long  # type: ignore[method-assign]
        connection = http.client.HTTPConnection(served.host, served.port, timeout=MOVES)
        connection.request("GET", f"/api/videos/{id}/stretch")
        answer = connection.getresponse()
        assert answer.read(1000)
        assert children(served)
        answer.close()
        connection.close()
        until(lambda: not children(served))
        assert not list((tmp_path / "cache").iterdir())


def test_a_decoder_that_hangs_after_the_header_ends_with_its_client(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()

    def hang(path: Path, begin: float, seconds: float, take: Any, height: int, sound: bool, wanted: Any) -> None:
        take(b"header")
        until(lambda: not wanted())
        ended.set()

    monkeypatch.setattr(playable, "stretch", hang)
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        connection = http.client.HTTPConnection(served.host, served.port, timeout=MOVES)
        connection.request("GET", f"/api/videos/{served.id_of('hevc.mp4')}/stretch")
        until(lambda: list((tmp_path / "cache").glob("*.part")))
        connection.close()
        assert ended.wait(MOVES / 2)


def test_background_copies_do_not_delay_other_requests(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, over = playable.copy, threading.Event()

    def slow(path: Path, out: int, playing: str, wanted: playable.Condition, paused: playable.Condition) -> None:
        while playing == "transcode" and wanted() and not over.is_set():
            time.sleep(0.01)
        copy(path, out, playing, wanted, paused)

    monkeypatch.setattr(playable, "copy", slow)
    monkeypatch.setattr(making, "WAITING", 2)
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        try:
            for file in ("hevc.mp4", "old.mpg"):  # one is made, the other waits
                assert served.json(f"/api/videos/{served.id_of(file)}")["play"]["whole"] is False
            assert served.ask(f"/api/videos/{served.id_of('film.mp4')}/poster")[0] == 200
            assert served.ask(f"/api/videos/{served.id_of('hevc.mp4')}/stretch")[0] == 200
            assert served.ask(f"/api/videos/{served.id_of('boxed.avi')}/media")[0] == 200
        finally:
            over.set()


def test_a_copy_is_paused_while_a_stretch_is_made(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stretch, seen, over = playable.stretch, list[bool](), threading.Event()

    def slowly(*arguments: Any) -> None:
        until(lambda: True in seen)
        stretch(*arguments)

    def watched(path: Path, out: int, playing: str, wanted: playable.Condition, paused: playable.Condition) -> None:
        while not over.is_set():
            seen.append(paused())
            time.sleep(0.01)

    monkeypatch.setattr(playable, "stretch", slowly)
    monkeypatch.setattr(playable, "copy", watched)
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        try:
            served.ask(f"/api/videos/{served.id_of('old.mpg')}")
            until(lambda: seen)
            assert not any(seen)
            assert served.ask(f"/api/videos/{served.id_of('hevc.mp4')}/stretch")[0] == 200
            until(lambda: not seen[-1])
        finally:
            over.set()


def test_a_copy_that_cannot_be_made_is_not_promised(shelf: Path, tmp_path: Path) -> None:
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        for file in ("hevc.mp4", "boxed.avi"):
            url, index = f"/api/videos/{served.id_of(file)}", served.collection.index
            assert served.json(url)["copied"]
            bad = tmp_path / f"bad-{file}"
            bad.write_bytes(b"no video" * 1000)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(index, "path_of", lambda id, bad=bad: bad)
                until(lambda url=url: not served.json(url)["copied"])
                assert "/stretch" in served.json(url)["play"]["url"]


@pytest.mark.parametrize("part", ["poster", "preview", "stretch", "media"])
def test_a_full_disk_is_reported_and_leaves_no_file(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for name in ("still", "stretch", "copy"):
        monkeypatch.setattr(playable, name, full)
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        status, _, body = served.ask(f"/api/videos/{served.id_of('hevc.mp4')}/{part}")
    assert (status, b"No space left" in body, b"make room" in body) == (507, True, True)
    assert not list((tmp_path / "cache").iterdir())


def test_a_full_disk_after_the_header_of_a_stretch_is_reported(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, begin: float, seconds: float, take: Any, *options: Any) -> None:
        take(b"header")
        time.sleep(0.2)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(playable, "stretch", full)
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        assert served.ask(f"/api/videos/{served.id_of('hevc.mp4')}/stretch")[0] == 507


def test_a_copy_that_finds_no_room_is_tried_again_later(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = playable.copy

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(playable, "copy", full)
    monkeypatch.setattr(making, "RETRY", 2.0)
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        url = f"/api/videos/{served.id_of('old.mpg')}"
        until(lambda: not served.json(url)["copied"])
        monkeypatch.setattr(playable, "copy", copy)
        until(lambda: served.json(url)["play"]["whole"])


def test_a_full_disk_in_ffmpeg_is_not_reported_as_a_broken_video(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffmpeg"
    said = "[out#0/mp4] Error writing trailer: No space left on device"  # as on a small tmpfs
    program.write_text(
        f"""#!/bin/sh\ncase "$*" in *" mp4 "*) echo "{said}" >&2; exit 228;; esac\nexec {get_ffmpeg_exe()} "$@"\n"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("STRUCTALIGN_FFMPEG", str(program))
    with (tmp_path / "copy").open("w+b") as out, pytest.raises(OSError, match="No space left"):
        playable.copy(shelf / "videos/two/old.mpg", out.fileno(), "transcode")


@pytest.mark.parametrize(
    ("part", "call", "end"),
    [
        ("poster", '*" -f "*', KILLED),
        ("preview", '*" -f "*', KILLED),
        ("stretch", '*" -f "*', KILLED),
        ("media", '*" -f "*', KILLED),
        ("media", '*" -f "*', TERMINATED),
        ("poster", '*"-i fd:"', TERMINATED),  # while it reads the header
    ],
)
def test_what_a_killed_decoder_made_is_not_kept(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, call: str, end: str
) -> None:
    program = tmp_path / "ffmpeg"
    dies = f'{get_ffmpeg_exe()} "$@"; {end}'  # only after its output, so that this is a matter of status
    program.write_text(f"""#!/bin/sh\ncase "$*" in {call}) {dies};; esac\nexec {get_ffmpeg_exe()} "$@"\n""")
    program.chmod(0o755)
    monkeypatch.setattr(making, "RETRY", 1.0)
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        url = f"/api/videos/{served.id_of('hevc.mp4')}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STRUCTALIGN_FFMPEG", str(program))
            status, _, body = served.ask(f"{url}/{part}")
            if part != "stretch":  # a part of a stretch is played
                assert (status, b"another process" in body) == (422, True)
                assert str(shelf).encode() not in body
            assert not list((tmp_path / "cache").iterdir())
            assert served.json(url)["copied"]
            until(lambda: not served.json(url)["copied"])
        until(lambda: served.json(url)["play"]["whole"])  # it is tried again


def test_a_video_that_crashes_the_decoder_is_not_tried_again(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(f"""#!/bin/sh\ncase "$*" in *" mp4 "*) kill -XFSZ $$;; esac\nexec {get_ffmpeg_exe()} "$@"\n""")
    program.chmod(0o755)
    monkeypatch.setenv("STRUCTALIGN_FFMPEG", str(program))
    monkeypatch.setattr(making, "RETRY", 0.0)
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        url = f"/api/videos/{served.id_of('old.mpg')}"
        assert served.json(url)["copied"]
        until(lambda: not served.json(url)["copied"])


def test_a_waiting_client_gets_an_error_when_the_server_stops(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun = threading.Event()

    def slow(path: Path, at: float, wanted: playable.Condition) -> bytes:
        begun.set()
        while wanted():
            time.sleep(0.01)
        raise BrokenVideo("nobody waits for it")

    monkeypatch.setattr(playable, "still", slow)
    with ThreadPoolExecutor(1) as pool:
        with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
            asked = pool.submit(served.ask, f"/api/videos/{served.id_of('film.mp4')}/poster")
            assert begun.wait(MOVES)
        assert asked.result()[0] == 429
    assert "Traceback" not in caplog.text


def test_a_stopping_server_starts_no_further_decoder(shelf: Path, tmp_path: Path) -> None:
    begun, calls = threading.Event(), list[bool]()
    made = media.Media(tmp_path, 2**30)

    def header_then_pictures(
        path: Path, out: int, playing: str, wanted: playable.Condition, paused: playable.Condition
    ) -> None:
        begun.set()
        while not made.making._stopped:
            time.sleep(0.01)
        calls.append(wanted())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(playable, "copy", header_then_pictures)
        made.copy(shelf / "videos/two/old.mpg", "transcode")
        assert begun.wait(MOVES)
        made.stop()
    assert calls == [False]


def test_an_erased_cache_is_made_again(shelf: Path, tmp_path: Path) -> None:
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        shutil.rmtree(tmp_path / "cache")
        id = served.id_of("film.mp4")
        for part in ("poster", "preview", "stretch"):
            assert served.ask(f"/api/videos/{id}/{part}")[0] == 200


def test_a_stretch_that_is_complete_before_it_is_opened_is_sent(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists, replace = Path.exists, Path.replace

    def slowly(path: Path, target: Path) -> None:
        replace(path, target)
        time.sleep(0.3)  # it is whole, and is not yet known to be

    def late(path: Path, **options: Any) -> bool:
        there = exists(path, **options)
        while there and path.suffix == ".part" and exists(path):
            time.sleep(0.01)  # so that it has its other name when it is opened
        return there

    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        monkeypatch.setattr(Path, "exists", late)
        monkeypatch.setattr(Path, "replace", slowly)
        assert served.ask(f"/api/videos/{served.id_of('hevc.mp4')}/stretch")[0] == 200


def test_a_stopped_server_leaves_no_decoder(shelf: Path, tmp_path: Path) -> None:
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        served.ask(f"/api/videos/{served.id_of('hevc.mp4')}")  # begins a copy
        served.ask(f"/api/videos/{served.id_of('old.mpg')}")
    assert not children(served)
    assert not list((tmp_path / "cache").glob("*.part"))


def test_a_playlist_in_place_of_a_video_reads_no_other_file(tmp_path: Path) -> None:
    playlist = tmp_path / "list.mp4"
    playlist.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", encoding="utf-8")
    for make in (
        lambda: playable.still(playlist, 0),
        lambda: playable.stretch(playlist, 0, 30, bytearray().extend),
    ):
        with pytest.raises(BrokenVideo, match="playlist"):
            make()


def test_the_openapi_page_documents_the_requests(server: Server) -> None:
    paths = json.loads(server.ask("/openapi.json")[2])["paths"]
    assert {"/api/health", "/api/search", "/api/videos/{id}", "/api/videos/{id}/media", "/api/similar/{id}"} <= set(
        paths
    )


def test_the_openapi_page_documents_the_errors(server: Server) -> None:
    described = json.loads(server.ask("/openapi.json")[2])
    paths, id = described["paths"], server.id_of("film.mp4")
    asked = {
        ("/api/videos/{id}", "get"): server.ask("/api/videos/x"),
        ("/api/similar/{id}", "get"): server.ask("/api/similar/x"),
        ("/api/explain", "post"): server.ask("/api/explain", {"query": "red", "id": "x"}),
        ("/api/search", "post"): server.ask("/api/search", {}),
        ("/api/index", "get"): server.ask("/api/index", Host="evil.example.org"),
        ("/api/health", "get"): server.ask("/api/health", Origin="https://evil.example.org"),
        ("/api/videos/{id}/media", "get"): server.ask(f"/api/videos/{id}/media", Range="bytes=99999999-"),
        ("/api/videos/{id}/poster", "get"): server.ask(f"/api/videos/{id}/poster?at=x"),
    }
    for (path, method), (status, _, body) in asked.items():
        schema = paths[path][method]["responses"][str(status)]["content"]["application/json"]["schema"]
        assert schema["$ref"].rpartition("/")[2] == "Error", path
        assert list(json.loads(body)) == ["error"]
    assert all("head" not in methods for methods in paths.values())
    assert "HTTPValidationError" not in described["components"]["schemas"]
