"""A running server over small videos, for tests. The index is real, and its categories and tasks are given."""

import http.client
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from library_case import clip_folder, indexed, plain
from videos import ffmpeg

from structalign.library.folder_index import FolderIndex
from structalign.library.ranking import Weak
from structalign.library.video_index import VideoIndex
from structalign.serve.app import make_app
from structalign.serve.collection import Collection
from structalign.serve.media import Media
from structalign.serve.server import Server as Uvicorn

HOSTILE = "<img src=x onerror=document.title='owned'>.mp4"
CAPTION = "<script>document.title='owned'</script> & <b>red</b>"
COLOURS = ("red", "blue", "green", "white", "black")
TIMEOUT = 30  # seconds


class Labelled(FolderIndex):
    """An index of folders whose files have categories and tasks, and where a sentence with "unheard" is weak."""

    def __init__(self, path: Path):
        super().__init__(path)
        self.entries.rows = [
            replace(row, category=Path(row.file).parent.name, task="t01" if "one" in row.file else "t02")
            for row in self.entries.rows
        ]

    def _weak(self, sentence: str) -> Weak:
        return lambda place: "unheard" in sentence

    def examples(self) -> list[str]:
        return ["a red one", CAPTION]


def make_videos(folder: Path) -> None:
    """Two folders: a film in H.264, HEVC, MPEG-2 and an AVI, a long one of two halves, and many plain ones."""
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
    film = "testsrc2=size=128x96:rate=10:duration=8,format=yuv420p"
    sound = ("-f", "lavfi", "-i", "sine=frequency=440:duration=8", "-c:a", "aac")
    ffmpeg("-f", "lavfi", "-i", film, *sound, folder / "one" / "film.mp4")
    hevc = ("-c:v", "libx265", "-x265-params", "log-level=none")
    ffmpeg("-f", "lavfi", "-i", film + ",negate", *sound, *hevc, folder / "two" / "hevc.mp4")
    ffmpeg("-f", "lavfi", "-i", film + ",hue=h=90", "-c:v", "mpeg2video", folder / "two" / "old.mpg")
    ffmpeg("-f", "lavfi", "-i", film + ",hue=h=180", "-c:v", "libx264", folder / "two" / "boxed.avi")
    parts = "testsrc2=size=64x48:rate=5:duration=22[a];color=black:size=64x48:rate=5:duration=22[b];[a][b]concat"
    ffmpeg("-filter_complex", parts, folder / "one" / "long.mp4")
    for number in range(30):
        colour = COLOURS[number % len(COLOURS)]
        source = plain(colour, seconds=1 + number / 5)  # different content in each
        name = HOSTILE if number == 0 else f"{colour}-{number:02d}.mp4"
        ffmpeg("-f", "lavfi", "-i", source, folder / "one" / name)


class Server:
    """A server in a thread of this process. Requests go over its socket."""

    def __init__(self, host: str, port: int, collection: Collection):
        self.host, self.port, self.collection = host, port, collection

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def ask(
        self, path: str, body: Any = None, method: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by lower-case name, and body."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if data is not None:
            given.setdefault("Content-Type", "application/json")
        try:
            connection.request(method or ("GET" if data is None else "POST"), path, data, given)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def json(self, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON of a successful answer."""
        status, _, data = self.ask(path, body, **headers)
        assert status == 200, (status, data)
        return json.loads(data)

    def search(self, query: str, **body: Any) -> list[Any]:
        """The hits of a query."""
        found: list[Any] = self.json("/api/search", {"query": query, **body})["hits"]
        return found

    def id_of(self, file: str) -> str:
        """The id of a file of this name."""
        rows = self.collection.index.entries.rows
        return next(row.id for row in rows if Path(row.file).name == file)


@contextmanager
def running(
    open: Callable[[], VideoIndex], cache: Path, limit: int = 2**30, wait: bool = True, **guard: Any
) -> Iterator[Server]:
    """Run a server until the end of the block. With `wait`, it is ready first."""
    collection = Collection(open)
    media = Media(cache, limit)
    app = make_app(collection, media, **{"host": "127.0.0.1", **guard})
    server = Uvicorn(app, collection, media, port=0)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        served = Server("127.0.0.1", port, collection)
        deadline = time.monotonic() + TIMEOUT
        while wait and not collection.ready:
            assert collection.failed is None, collection.failed
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield served
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `videos`, their index `index` and a tiny `clip`. Read only."""
    folder = tmp_path_factory.mktemp("shelf")
    make_videos(folder / "videos")
    indexed(folder / "videos", clip_folder(folder / "clip"), folder / "index")
    return folder


@pytest.fixture(scope="session")
def server(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over the shelf, for tests that change nothing."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with running(lambda: Labelled(shelf / "index"), tmp_path_factory.mktemp("cache")) as served:
        yield served
