"""One thread queries the index. Waiting queries share a pass, and changes of the index are soon shown."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from codemap import ROOT
from command import structalign
from imageio_ffmpeg import get_ffmpeg_exe
from library_case import indexed, plain
from served import TIMEOUT, Labelled, Server, running
from typer.testing import CliRunner
from videos import ffmpeg

from structalign.cli.app import app
from structalign.errors import UserError
from structalign.library.folder_index import FolderIndex, refresh
from structalign.library.folder_index import begin as begin_index
from structalign.serve import collection

SOON = 5.0  # seconds within which a new generation is shown


def test_health_says_when_searches_are_answered(shelf: Path, tmp_path: Path) -> None:
    may = threading.Event()

    def slowly() -> Labelled:
        may.wait(TIMEOUT)
        return Labelled(shelf / "index")

    with running(slowly, tmp_path, wait=False) as served:
        for path in ("/api/health", "/api/index", "/api/videos/x/media"):
            status, headers, body = served.ask(path)
            assert (status, headers["retry-after"], "error" in json.loads(body)) == (503, "1", True)
        assert served.ask("/api/search", {"query": "red"})[0] == 503
        may.set()
        deadline = time.monotonic() + TIMEOUT
        while served.ask("/api/health")[0] != 200:
            assert time.monotonic() < deadline
        assert served.search("red")


def test_results_have_the_order_of_structalign_search(server: Server, shelf: Path) -> None:
    queries = ["red", "a blue green", "white   black", "unheard"]
    code, said = structalign("search", "--index", str(shelf / "index"), *queries, "--top", "20", "--json")
    assert code == 0
    for query, found in zip(queries, json.loads(said), strict=True):
        ids = [hit["id"] for hit in found["hits"]]
        assert [hit["id"] for hit in server.search(query, limit=20)] == ids
        assert [hit["id"] for part in (0, 10) for hit in server.search(query, limit=10, offset=part)] == ids


def test_filters_do_not_change_scores(server: Server) -> None:
    everything = {hit["id"]: hit["score"] for hit in server.search("red", limit=100)}
    found = server.search("red", limit=100, folder="two")
    assert {hit["file"].split("/")[0] for hit in found} == {"two"}
    assert found == server.search("red", limit=100, category="two")
    assert all(everything[hit["id"]] == hit["score"] for hit in found)


def test_videos_similar_to_a_video_do_not_include_it(server: Server) -> None:
    id = server.id_of("film.mp4")
    found = server.json(f"/api/similar/{id}?limit=100")
    assert id not in [hit["id"] for hit in found["hits"]]
    assert (len(found["hits"]), found["end"]) == (server.collection.index.files - 1, True)


def test_explain_gives_a_cosine_for_every_word_and_frame(server: Server) -> None:
    found = server.json("/api/explain", {"query": "red", "id": server.id_of("film.mp4")})
    assert [word["word"] for word in found["words"]] == ["red"]
    assert all(len(word["cosines"]) == len(found["times"]) for word in found["words"])


class Slow(Labelled):
    """An index whose first search waits for `may`. It records its passes."""

    def __init__(self, path: Path, may: threading.Event):
        super().__init__(path)
        self.may, self.passes = may, list[list[str]]()

    def read(self, sentences: Any) -> None:
        self.passes.append(list(sentences))
        if sentences == ["slow"]:
            self.may.wait(TIMEOUT)
        super().read(sentences)


def waits(served: Server, count: int) -> None:
    deadline = time.monotonic() + TIMEOUT
    while len(served.collection._waiting) < count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_waiting_queries_share_a_pass(shelf: Path, tmp_path: Path) -> None:
    may = threading.Event()
    index = Slow(shelf / "index", may)
    with running(lambda: index, tmp_path) as served, ThreadPoolExecutor(20) as pool:
        first = pool.submit(served.search, "slow")
        while ["slow"] not in index.passes:
            time.sleep(0.01)
        others = [pool.submit(served.search, f"red {'a ' * number}") for number in range(10)]
        waits(served, 10)
        may.set()
        assert first.result()
        assert all(other.result() for other in others)
    assert max(map(len, index.passes)) == 10


def test_a_query_that_would_wait_too_long_gets_429_with_retry_after(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collection, "WAITING", 3)
    may = threading.Event()
    index = Slow(shelf / "index", may)
    with running(lambda: index, tmp_path) as served, ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(served.search, "slow")]
        while ["slow"] not in index.passes:
            time.sleep(0.01)
        asked += [pool.submit(served.search, "red") for _ in range(3)]
        waits(served, 3)
        status, headers, body = served.ask("/api/search", {"query": "one too many"})
        assert (status, headers["retry-after"], b"try again" in body) == (429, "1", True)
        assert served.ask("/api/health")[0] == 200
        may.set()
        assert all(one.result() for one in asked)


def test_a_failing_query_does_not_fail_others(server: Server) -> None:
    with ThreadPoolExecutor(8) as pool:
        bodies = [{"query": "red", "category": "none"} if number % 2 else {"query": "red"} for number in range(8)]
        answers = list(pool.map(lambda body: server.ask("/api/search", body)[0], bodies))
    assert answers == [200, 422] * 4


@pytest.fixture
def growing(shelf: Path, tmp_path: Path) -> Callable[[str], None]:
    """Adds a video to the folder `videos` below tmp_path, and indexes it to `index` there."""
    videos = tmp_path / "videos"
    videos.mkdir()

    def grow(colour: str) -> None:
        ffmpeg("-f", "lavfi", "-i", plain(colour), videos / f"{colour}.mp4")
        indexed(videos, shelf / "clip", tmp_path / "index")

    grow("red")
    return grow


def until(what: Callable[[], bool], seconds: float = SOON) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_added_videos_are_found_soon(growing: Callable[[str], None], tmp_path: Path) -> None:
    with running(lambda: FolderIndex(tmp_path / "index"), tmp_path / "cache") as served:
        model = served.collection.index.tokeniser
        assert [hit["file"] for hit in served.search("red")] == ["red.mp4"]
        key = served.json("/api/index")["generation_key"]
        growing("blue")
        until(lambda: len(served.search("red")) == 2)
        assert served.json("/api/index")["generation_key"] > key
        assert served.collection.index.tokeniser is model  # not loaded again


def test_a_request_uses_one_index_until_its_end(growing: Callable[[str], None], tmp_path: Path) -> None:
    may = threading.Event()
    index = Slow(tmp_path / "index", may)
    with running(lambda: index, tmp_path / "cache") as served, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(served.search, "slow")
        growing("blue")
        time.sleep(2 * collection.LOOK)
        may.set()
        assert len(asked.result()) == 1
        until(lambda: len(served.search("red")) == 2)


def test_a_deleted_index_still_answers_and_is_reported(growing: Callable[[str], None], tmp_path: Path) -> None:
    with running(lambda: FolderIndex(tmp_path / "index"), tmp_path / "cache") as served:
        (tmp_path / "index").rename(tmp_path / "away")
        until(lambda: "changing" in served.json("/api/health"))
        assert str(tmp_path) not in served.json("/api/health")["changing"]
        assert len(served.search("red")) == 1
        (tmp_path / "away").rename(tmp_path / "index")
        until(lambda: "changing" not in served.json("/api/health"))


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, "No such file or directory", "/secret place/index/catalogue.json"),
        UserError("/secret place/index/catalogue.json is damaged: see /secret/models/clip/config.json."),
        ValueError("'/secret/models/clip/weights' is no weight"),
    ],
)
def test_the_reason_for_not_showing_a_newer_index_names_no_path(shelf: Path, tmp_path: Path, error: Exception) -> None:
    index = FolderIndex(shelf / "index")

    def fail() -> bool:
        raise error

    with running(lambda: index, tmp_path) as served:
        index.path = Path("/secret place/index")
        index.newer = fail  # type: ignore[method-assign]
        until(lambda: "changing" in served.json("/api/health"))
        assert "secret" not in served.json("/api/health")["changing"]


def test_folders_that_look_the_same_can_each_be_chosen(shelf: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("a/films", "b/films", "a/films (2)", "a/films/caf\u00e9", "a/films/cafe\u0301")):
        (tmp_path / name).mkdir(parents=True)
        ffmpeg("-f", "lavfi", "-i", plain("red", seconds=2 + number), tmp_path / name / f"{number}.mp4")
    index = begin_index(
        [tmp_path / "a/films", tmp_path / "b/films", tmp_path / "a/films (2)"], str(shelf / "clip"), tmp_path / "index"
    )
    refresh(FolderIndex(index))
    with running(lambda: FolderIndex(index), tmp_path / "cache") as served:
        folders = served.json("/api/index")["folders"]
        assert len(folders) == 5
        found = {frozenset(hit["file"][-5:] for hit in served.search("red", folder=folder)) for folder in folders}
    assert found == {
        frozenset(names) for names in (["0.mp4", "3.mp4", "4.mp4"], ["1.mp4"], ["2.mp4"], ["3.mp4"], ["4.mp4"])
    }


def test_progress_of_indexing_is_reported(shelf: Path, growing: Callable[[str], None], tmp_path: Path) -> None:
    with running(lambda: FolderIndex(tmp_path / "index"), tmp_path / "cache") as served:
        assert served.json("/api/index")["indexing"] is None
        values = {"process": os.getpid(), "machine": os.uname().nodename, "since": "now", "done": 3, "total": 7}
        (tmp_path / "index/writer.json").write_text(json.dumps(values), encoding="utf-8")
        assert served.json("/api/index")["indexing"] == {"done": 3, "total": 7}
        dead = subprocess.Popen(["true"])
        dead.wait()
        (tmp_path / "index/writer.json").write_text(json.dumps(values | {"process": dead.pid}), encoding="utf-8")
        assert served.json("/api/index")["indexing"] is None


def begin(*arguments: str) -> "subprocess.Popen[str]":
    """Start the command as a user does."""
    code = "from structalign.cli.app import main; main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True,
    )  # fmt: skip


def address(process: "subprocess.Popen[str]") -> tuple[str, int]:
    """The address that the command prints."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("open http://"):
            host, _, port = line.split()[1].removeprefix("http://").rstrip("/").rpartition(":")
            return host, int(port)
    raise AssertionError("it did not start")


@pytest.mark.slow
def test_the_command_indexes_folders_serves_them_and_ends_by_ctrl_c(shelf: Path, tmp_path: Path) -> None:
    environment = {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    old = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    process = None
    try:
        process = begin("--videos", str(shelf / "videos/two"), "--backbone", str(shelf / "clip"))
        served = Server(*address(process), collection=None)  # type: ignore[arg-type]
        until(lambda: served.ask("/api/health")[0] == 200, TIMEOUT)
        until(lambda: served.json("/api/health")["videos"] == 3, 5 * TIMEOUT)  # a new process must start
        assert len(served.search("red")) == 3
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        if process is not None and process.poll() is None:
            process.terminate()
            process.wait()
        for name, value in old.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def inheritors(cache: Path) -> list[str]:
    """The processes that use this cache folder, by their environment."""
    found = list[str]()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"XDG_CACHE_HOME={cache}\0".encode() in (entry / "environ").read_bytes():
                found.append(entry.name)
    return found


def accepts(served: Server) -> bool:
    """Whether the server takes new connections."""
    try:
        socket.create_connection((served.host, served.port)).close()
    except ConnectionError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "code"), [([signal.SIGHUP], 143), ([signal.SIGTERM], 143), ([signal.SIGINT, signal.SIGINT], 0)]
)
def test_a_closed_terminal_and_an_impatient_ctrl_c_leave_nothing_running(
    shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: list[signal.Signals], code: int
) -> None:
    program = tmp_path / "ffmpeg"  # whose copies take long
    program.write_text(f"""#!/bin/sh\ncase "$*" in *" mp4 "*) exec sleep 60;; esac\nexec {get_ffmpeg_exe()} "$@"\n""")
    program.chmod(0o755)
    monkeypatch.setenv("STRUCTALIGN_FFMPEG", str(program))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    process = begin("--index", str(shelf / "index"))
    try:
        served = Server(*address(process), collection=None)  # type: ignore[arg-type]
        until(lambda: served.ask("/api/health")[0] == 200, TIMEOUT)
        old = next(hit["id"] for hit in served.search("red", limit=100) if hit["file"] == "two/old.mpg")
        served.ask(f"/api/videos/{old}")  # begins a copy
        until(lambda: len(inheritors(tmp_path)) == 2)
        with socket.create_connection((served.host, served.port)) as client:
            client.sendall(b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")  # no body
            process.send_signal(signals[0])
            for each in signals[1:]:
                until(lambda: not accepts(served))  # it waits for the open request
                assert process.poll() is None
                process.send_signal(each)
            said = process.communicate(timeout=TIMEOUT)[0]
        assert (process.returncode, "Traceback" in said) == (code, False), said
        assert not inheritors(tmp_path)
        assert not list(tmp_path.rglob("*.part"))
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--index", "nowhere"], "nowhere is neither an index nor a project"),
        (["--host", "0.0.0.0"], "STRUCTALIGN_TOKEN"),
        (["--videos", "."], "--videos and --backbone need each other"),
        (["--index", "a", "--project", "b"], "--index excludes --project"),
        (["--token", "short"], "at least 16"),
        (["--allow-name", "http://films.org"], "without http://"),
        (["--host", "[::1]", "--index", "nowhere"], "nowhere is neither"),
        (["--host", "LocalHost", "--index", "nowhere"], "nowhere is neither"),
    ],
)
def test_an_impossible_request_to_serve_is_refused(arguments: list[str], said: str) -> None:
    found = CliRunner().invoke(app, ["serve", "--port", "0", *arguments])
    assert isinstance(found.exception, UserError)
    assert said in str(found.exception)


@pytest.mark.parametrize("host", ["a..b", "192.0.2.1"])
def test_an_address_that_cannot_be_listened_on_is_refused(host: str) -> None:
    code, out = structalign("serve", "--port", "0", "--host", host, "--token", "a" * 16)
    assert (code, f"{host}:0" in out, "Traceback" in out) == (1, True, False)


def test_a_damaged_index_is_refused(shelf: Path, tmp_path: Path) -> None:
    shutil.copytree(shelf / "index", tmp_path / "index")
    next((tmp_path / "index/shards").rglob("means.npy")).write_bytes(b"")
    code, out = structalign("serve", "--port", "0", "--index", str(tmp_path / "index"))
    assert (code, "is damaged" in out, "Traceback" in out) == (1, True, False)


def test_an_index_that_cannot_be_opened_ends_the_start(tmp_path: Path) -> None:
    def fail() -> FolderIndex:
        raise UserError("no")

    begun = time.monotonic()
    with pytest.raises(AssertionError, match="no"), running(fail, tmp_path):
        pass
    assert time.monotonic() - begun < TIMEOUT


def test_the_order_of_candidates_ends_and_more_can_be_asked_for(server: Server) -> None:
    asked = {"query": "red", "mode": "candidates", "limit": 100}
    few = server.json("/api/search", asked | {"candidates": 5})
    assert (few["candidates"], few["more"], few["end"]) == (5, True, True)
    assert 1 <= len(few["hits"]) <= 5
    every = server.json("/api/search", asked | {"candidates": 2000})
    assert (every["candidates"], every["more"]) == (len(server.collection.index), False)
    exact = server.json("/api/search", asked | {"mode": "exact"})
    assert (exact["candidates"], exact["more"]) == (None, False)
    assert [hit["id"] for hit in every["hits"]] == [hit["id"] for hit in exact["hits"]]
    assert server.ask("/api/search", asked | {"candidates": 2001})[0] == 422
