"""The engine Qdrant finds what the scan finds, and a push sends only what changed, also after kill -9.

It runs against the server's API in qdrant-client's local mode, and against the server's engine in this process
(qdrant-edge-py). No server or cluster runs here.
"""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from codemap import ROOT
from library_case import clip_folder, indexed, plain
from qdrant_client import QdrantClient
from qdrant_client import models as m
from typer.testing import CliRunner
from videos import maker

from benchmarks.edge_client import EdgeClient
from structalign.cli.index import app
from structalign.errors import UserError
from structalign.library.engines import choice
from structalign.library.engines.qdrant import Pushed, Qdrant, connected
from structalign.library.engines.scan import Block, Scan
from structalign.library.entries import Entries, Entry, Filters, Floats
from structalign.library.folder_index import FolderIndex

pytestmark = [
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
    pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
]
DIM, VIDEOS, TASKS = 16, 300, [1, 4]
NAME = "structalign-test"


def vectors(count: int, seed: int) -> Floats:
    found = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def made(count: int = VIDEOS) -> tuple[Entries, list[Block]]:
    """Two tasks' videos, one of which is rare."""
    rows = [
        Entry(f"{task}-{i}", f"{task}-{i}", f"/films/{task}/{i}.mp4", 0, 1, [0], 1,
              category="rare" if (task, i) == (4, 7) else "common", task=f"t{task:02d}")
        for task in TASKS for i in range(count)
    ]  # fmt: skip
    blocks = [Block(place, vectors(count, place)) for place in range(len(TASKS))]
    return Entries(rows, np.concatenate([block.vectors for block in blocks])), blocks


def without(entries: Entries, blocks: list[Block], place: int) -> tuple[Entries, list[Block]]:
    """The same without a video of the first task."""
    rows = [row for number, row in enumerate(entries.rows) if number != place]
    kept = np.delete(blocks[0].vectors, place, axis=0)
    return Entries(rows, entries.means), [Block(0, kept), *blocks[1:]]


@pytest.fixture(params=["local", "edge"])
def qdrant(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Qdrant]:
    if request.param == "local":
        yield Qdrant(QdrantClient(":memory:"), NAME, TASKS)  # on disk it is very slow
    else:
        edge = EdgeClient(tmp_path / "edge", DIM)
        yield Qdrant(cast(QdrantClient, edge), NAME, TASKS)
        if edge.shard is not None:
            edge.shard.close()


ASKED = vectors(2, 9)


@pytest.mark.parametrize(
    ("bonus", "filters"),
    [
        ([0.0, 0.0], Filters()),
        ([0.0, 0.3], Filters()),
        ([0.0, 5.0], Filters()),
        ([0.0, 0.0], Filters(category="rare")),
        ([0.0, 0.0], Filters(task="t01")),
        ([0.0, 0.0], Filters(folder="/films/4")),
        ([0.0, 0.0], Filters(folder="/films", task="t04", category="common")),
        ([0.0, 0.0], Filters(category="none")),
    ],
)
def test_qdrant_finds_what_the_scan_finds(qdrant: Qdrant, bonus: list[float], filters: Filters) -> None:
    entries, blocks = made()
    qdrant.push(entries, blocks)
    expected = Scan(entries, blocks).find(ASKED, bonus, 20, filters)
    assert qdrant.find(ASKED, bonus, 20, filters) == expected


def test_a_search_of_a_graph_keeps_twice_as_many_neighbours_as_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    qdrant, asked = Qdrant(QdrantClient(":memory:"), NAME, TASKS), list[m.QueryRequest]()
    entries, blocks = made()
    qdrant.push(entries, blocks)
    find = qdrant.client.query_batch_points

    def told(collection: str, requests: list[m.QueryRequest]) -> Any:
        asked.extend(requests)
        return find(collection, requests)

    monkeypatch.setattr(qdrant.client, "query_batch_points", told)
    assert len(qdrant.find(ASKED, [0.0, 0.0], 20, Filters())) == 20
    assert [(query.limit, query.params and query.params.hnsw_ef) for query in asked] == [(20, 40), (20, 40)]


def test_a_second_push_sends_nothing(qdrant: Qdrant) -> None:
    entries, blocks = made()
    assert qdrant.push(entries, blocks) == Pushed(2 * VIDEOS, 0, 0)
    assert qdrant.push(entries, blocks) == Pushed(0, 0, 2 * VIDEOS)


def test_a_push_sends_only_what_changed(qdrant: Qdrant) -> None:
    entries, blocks = made()
    qdrant.push(entries, blocks)
    entries, blocks = without(entries, blocks, 5)
    changed = replace(entries.rows[0], category="other"), replace(entries.rows[1], id="new")
    entries.rows = [*changed, *entries.rows[2:]]
    assert qdrant.push(entries, blocks) == Pushed(2, 2, 2 * VIDEOS - 3)  # of the new id, the old one is removed
    found = qdrant.find(ASKED, [0.0, 0.0], 2 * VIDEOS, Filters())
    assert sorted(found) == sorted(entry.id for entry in entries.rows)
    assert qdrant.find(ASKED, [0.0, 0.0], 5, Filters(category="other")) == [entries.rows[0].id]


def test_a_changed_vector_is_sent(qdrant: Qdrant) -> None:
    entries, blocks = made()
    qdrant.push(entries, blocks)
    blocks[1].vectors[3] = ASKED[1]
    assert qdrant.push(entries, blocks).sent == 1
    assert qdrant.find(ASKED, [0.0, 0.0], 1, Filters()) == ["4-3"]


def test_a_push_that_ended_before_its_payload_indexes_makes_them_the_next_time(
    qdrant: Qdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_indexes = list[str]()

    def lost(collection: str, field: str, **_: Any) -> None:
        raise ConnectionError

    def told(collection: str, field: str, **_: Any) -> None:
        made_indexes.append(field)

    monkeypatch.setattr(qdrant.client, "create_payload_index", lost)
    with pytest.raises(ConnectionError):
        qdrant.push(*made())
    monkeypatch.setattr(qdrant.client, "create_payload_index", told)
    assert qdrant.push(*made()) == Pushed(2 * VIDEOS, 0, 0)
    assert made_indexes == ["encoder", "category", "task", "folders"]


class Failing:
    """A client whose connection is lost after some upserts."""

    def __init__(self, client: QdrantClient, left: int):
        self.client, self.left = client, left

    def upsert(self, *values: Any, **named: Any) -> object:
        if not self.left:
            raise ConnectionError
        self.left -= 1
        return self.client.upsert(*values, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


def test_an_interrupted_push_goes_on_where_it_ended(qdrant: Qdrant) -> None:
    entries, blocks = made(700)
    with pytest.raises(ConnectionError):
        replace(qdrant, client=cast(QdrantClient, Failing(qdrant.client, 2))).push(entries, blocks)
    assert qdrant.push(entries, blocks) == Pushed(700, 0, 700)


PUSH = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from benchmarks.edge_client import EdgeClient
from test_qdrant import DIM, NAME, TASKS, made
from structalign.library.engines.qdrant import Qdrant
client = EdgeClient(Path(sys.argv[1]), DIM)
upsert = client.upsert
def told(*values, **named):
    upsert(*values, **named)
    print("sent", flush=True)
client.upsert = told
Qdrant(client, NAME, TASKS).push(*made(5000))
"""


def test_kill_9_in_the_middle_of_a_push_loses_nothing_that_was_sent(tmp_path: Path) -> None:
    paths = [ROOT, ROOT / "tests", Path(__file__).parent]
    command = [sys.executable, "-c", PUSH, str(tmp_path / "edge"), *map(str, paths)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline() == "sent\n"
        process.send_signal(signal.SIGKILL)
    edge = EdgeClient(tmp_path / "edge", DIM)
    qdrant, (entries, blocks) = Qdrant(cast(QdrantClient, edge), NAME, TASKS), made(5000)
    done = qdrant.push(entries, blocks)
    assert done.unchanged >= 1500
    assert (done.sent + done.unchanged, done.removed) == (10_000, 0)
    expected = Scan(entries, blocks).find(ASKED, [0.0, 0.1], 50, Filters())
    assert qdrant.find(ASKED, [0.0, 0.1], 50, Filters()) == expected
    edge.open.close()


def test_a_collection_of_other_vectors_is_refused(tmp_path: Path) -> None:
    client = QdrantClient(":memory:")
    client.create_collection(NAME, vectors_config=m.VectorParams(size=DIM + 1, distance=m.Distance.DOT))
    with pytest.raises(UserError, match="STRUCTALIGN_QDRANT_COLLECTION"):
        Qdrant(client, NAME, TASKS).push(*made())


def test_a_server_that_does_not_answer_is_named() -> None:
    qdrant = connected("http://127.0.0.1:9", None, NAME, TASKS)
    for call in (qdrant.exists, lambda: qdrant.push(*made()), lambda: qdrant.find(ASKED, [0.0, 0.0], 5, Filters())):
        with pytest.raises(UserError, match="no Qdrant answers at STRUCTALIGN_QDRANT"):
            call()


def test_a_collection_that_was_not_pushed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    client = QdrantClient(":memory:")
    monkeypatch.setattr("structalign.library.engines.qdrant.connected", lambda *_: Qdrant(client, NAME, TASKS))
    monkeypatch.setenv(choice.URL, "http://127.0.0.1:6333")
    with pytest.raises(UserError, match="structalign index push"):
        choice.engine_of(tmp_path, *made(), TASKS)


def test_a_collection_that_lags_behind_is_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entries, blocks = made()
    qdrant = Qdrant(QdrantClient(":memory:"), NAME, TASKS)
    qdrant.push(*without(entries, blocks, 0))
    note = choice.note_of(qdrant, len(entries.rows))
    assert note is not None
    assert f"{2 * VIDEOS - 1} of {2 * VIDEOS} segments" in note
    qdrant.push(entries, blocks)
    assert choice.note_of(qdrant, len(entries.rows)) is None


def test_check_compares_what_qdrant_finds_with_exact_ranking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    make = maker(tmp_path / "videos")
    for colour in ("red", "green", "blue"):
        make(f"{colour}.mp4", plain(colour))
    indexed(tmp_path / "videos", clip_folder(tmp_path / "clip"), tmp_path / "index")
    client = QdrantClient(":memory:")
    monkeypatch.setattr("structalign.library.engines.qdrant.connected", lambda *given: Qdrant(client, *given[2:]))
    monkeypatch.setenv(choice.URL, "http://127.0.0.1:6333")
    index = FolderIndex(tmp_path / "index")
    assert index.push() == Pushed(3, 0, 0)
    check = ["check", "--index", str(index.path)]
    done = CliRunner().invoke(app, check, catch_exceptions=False)
    assert (done.exit_code, done.output.split()[-2:]) == (0, ["1.000", "1.000"])
    records, _ = client.scroll(choice.collection_of(index.path))
    client.delete(choice.collection_of(index.path), m.PointIdsList(points=[records[0].id]))
    done = CliRunner().invoke(app, check)
    assert isinstance(done.exception, UserError)
    assert "top 10 agree with exact ranking in 0.667" in str(done.exception)
    assert "Qdrant has 2 of 3 segments: run `structalign index push`" in " ".join(done.output.split())


def test_only_a_whole_index_asks_qdrant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.URL, "http://127.0.0.1:9")
    assert isinstance(choice.engine_of(None, *made(), TASKS), Scan)


def test_without_a_url_the_scan_is_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(choice.URL, raising=False)
    assert isinstance(choice.engine_of(tmp_path, *made(), TASKS), Scan)
    with pytest.raises(UserError, match="STRUCTALIGN_QDRANT is not set"):
        choice.qdrant_of(tmp_path, TASKS)


def test_an_address_without_a_scheme_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(choice.URL, "localhost:6333")
    with pytest.raises(UserError, match=r"localhost:6333 is not an address"):
        choice.qdrant_of(tmp_path, TASKS)


def test_without_the_extra_its_name_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(choice.URL, "http://127.0.0.1:6333")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'structalign\[qdrant\]'"):
        choice.qdrant_of(tmp_path, TASKS)
