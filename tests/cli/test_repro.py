"""`structalign repro` runs the stages of `dvc repro`, two at a time, each after the stages that it needs."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import Project, make_project, quick_python

from structalign.cli import repro
from structalign.cli.repro import Done, Graph, affected, in_any_order


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to eight stages, each needing some of those before it."""
    names = [f"s{number}" for number in range(draw(st.integers(1, 8)))]
    return {name: {before for before in names[:i] if draw(st.booleans())} for i, name in enumerate(names)}


class Watched:
    """A stand-in for DVC. It notes which stages ran and which had ended when each stage began."""

    def __init__(self, failing: str | None = None):
        self.failing = failing
        self.lock = threading.Lock()
        self.running: set[str] = set()
        self.ended: set[str] = set()
        self.begun: dict[str, set[str]] = {}  # -> ended by then
        self.most = 0

    def reproduce(self, stage: str) -> Done:
        with self.lock:
            self.begun[stage] = set(self.ended)
            self.running.add(stage)
            self.most = max(self.most, len(self.running))
        time.sleep(0.001)
        with self.lock:
            self.running.remove(stage)
            self.ended.add(stage)
        return Done(stage, 0.0, stage == self.failing, "", "")


@given(graphs(), st.integers(1, 3))
@settings(deadline=None, max_examples=50)
def test_every_stage_runs_once_after_all_that_it_needs_and_no_more_than_jobs_at_a_time(graph: Graph, jobs: int) -> None:
    watched = Watched()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repro, "reproduce", watched.reproduce)
        ended = [done.stage for done in in_any_order(graph, set(graph), jobs)]
    assert sorted(ended) == sorted(graph)
    assert all(graph[stage] <= before for stage, before in watched.begun.items())
    assert watched.most <= jobs


@given(graphs(), st.data())
@settings(deadline=None, max_examples=50)
def test_nothing_that_needs_a_failed_stage_begins(graph: Graph, data: st.DataObject) -> None:
    failing = data.draw(st.sampled_from(sorted(graph)))
    watched = Watched(failing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repro, "reproduce", watched.reproduce)
        ended = [done.stage for done in in_any_order(graph, set(graph), 2)]
    assert ended[-1] == failing or {failing} == {stage for stage in ended if stage == failing}
    assert not set(watched.begun) & (affected(graph, {failing}) - {failing})


def test_independent_stages_run_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    met = threading.Barrier(2, timeout=10)

    def together(stage: str) -> Done:
        met.wait()
        return Done(stage, 0.0, False, "", "")

    monkeypatch.setattr(repro, "reproduce", together)
    assert {done.stage for done in in_any_order({"a": set(), "b": set()}, {"a", "b"}, 2)} == {"a", "b"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with quick_python(tmp_path_factory.mktemp("python")) as python:
        project = Project(tmp_path_factory.mktemp("toy"), python)
        make_project(project, 2)
        project.run("structalign", "repro")
        yield project


@pytest.mark.slow
def test_dvc_repro_finds_nothing_left_to_run(project: Project) -> None:
    assert project.repro() == set()
    assert project.run("structalign", "repro").stdout == "Nothing changed: all outputs are up to date.\n"


@pytest.mark.slow
def test_a_changed_parameter_runs_what_it_changes(project: Project) -> None:
    project.set("crp.weight", 0.5)
    said = project.run("structalign", "repro").stdout
    assert "train@t02" in said
    assert "train@t01" not in said
    assert (project.root / "reports/index.html").is_file()
    assert project.repro() == set()


@pytest.mark.slow
def test_a_stage_that_fails_is_named_and_its_reason_shown(project: Project) -> None:
    params = project.root / "params.yaml"
    before = params.read_text(encoding="utf-8")
    project.set("crp.weight", -1)
    failed = project.run("structalign", "repro", check=False)
    params.write_text(before, encoding="utf-8")
    assert failed.returncode == 1
    assert "crp.weight" in failed.stderr
    assert "stage check failed" in failed.stderr


@pytest.mark.slow
def test_missing_data_is_reported_as_dvc_reports_it(project: Project, tmp_path: Path) -> None:
    (project.root / "data").rename(tmp_path / "data")
    failed = project.run("structalign", "repro", check=False)
    (tmp_path / "data").rename(project.root / "data")
    assert failed.returncode == 1
    assert "missing data" in failed.stderr
