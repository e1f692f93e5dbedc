"""A server over a project answers while `dvc repro` runs, and then shows the new results."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Server, running
from toy import Project, make_project, quick_python

from structalign import open_index

pytestmark = pytest.mark.slow
SOON = 60.0  # seconds, on a busy machine; the server looks every second


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A toy project of two tasks after its first `dvc repro`."""
    with quick_python(tmp_path_factory.mktemp("python")) as python:
        project = Project(tmp_path_factory.mktemp("toy"), python)
        make_project(project, 2)
        project.repro()
        yield project


@pytest.fixture
def server(project: Project, tmp_path: Path) -> Iterator[Server]:
    with running(lambda: open_index(project.root), tmp_path) as served:
        yield served


def scores(server: Server) -> dict[str, float]:
    return {hit["file"]: hit["score"] for hit in server.search("clip", limit=100)}


def test_a_project_is_served_with_its_categories_and_videos(server: Server) -> None:
    about = server.json("/api/index")
    assert about["tasks"] == ["t01", "t02"]
    assert (about["videos"], len(about["examples"]), about["report"]) == (16, 6, True)
    hits = server.search("clip", limit=100, category="colour 2a")
    assert {hit["task"] for hit in hits} == {"t02"}
    assert all(hit["weak"] in (True, False) for hit in hits)
    assert server.ask(f"/api/videos/{hits[0]['id']}/media")[0] == 200
    assert server.ask(f"/api/videos/{hits[0]['id']}/poster")[0] == 200
    assert server.json("/api/explain", {"query": "clip", "id": hits[0]["id"]})["words"]


def test_searches_are_answered_during_a_run_and_afterwards_use_its_results(project: Project, server: Server) -> None:
    before, faults, over = scores(server), list[object](), threading.Event()

    def search() -> None:
        while not over.is_set():
            answer = server.ask("/api/search", {"query": "clip", "limit": 100})
            if answer[0] != 200 or server.ask("/api/health")[0] != 200:
                faults.append(answer)
            time.sleep(0.1)

    client = threading.Thread(target=search)
    client.start()
    try:
        project.set("optim.first.lr", 5e-3)
        assert {"train@t01", "train@t02"} <= project.repro()
        expected = {hit.file: hit.score for hit in open_index(project.root).search("clip", 100)}
        deadline = time.monotonic() + SOON
        while scores(server) != expected:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        over.set()
        client.join()
    assert not faults
    assert expected != before
    assert "changing" not in server.json("/api/health")
