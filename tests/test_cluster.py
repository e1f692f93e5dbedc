"""Stages that send their videos to Dask workers. Two local processes stand for two machines."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy import Project, make_project

from structalign.data.parallel import SCHEDULER, _there, code, in_order
from structalign.errors import UserError

WORKERS = 2


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A toy project of one task after stage prepare."""
    project = Project(tmp_path_factory.mktemp("toy"))
    make_project(project, 1)
    for stage in ("check", "prepare"):
        project.run("python", "-m", f"stages.{stage}")
    return project


@pytest.fixture
def scheduler(project: Project, tmp_path: Path) -> Iterator[str]:
    """The address of a Dask scheduler with two workers of one thread each, started in another folder."""
    pytest.importorskip("distributed", reason="Dask is not installed: pip install 'structalign[scale]'")
    file = tmp_path / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": str(project.root), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    dask, here = [sys.executable, "-m", "dask"], ["--scheduler-file", str(file), "--no-dashboard"]
    scheduler = [*dask, "scheduler", *here, "--host", "127.0.0.1", "--port", "0"]
    commands = [scheduler, *WORKERS * [[*dask, "worker", *here, "--nthreads", "1", "--no-nanny"]]]
    logs = [tmp_path / f"{number}.log" for number in range(len(commands))]
    started = []
    try:
        for command, log in zip(commands, logs, strict=True):
            with log.open("w") as out:
                started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=out))
            wait_for(file)
        for log in logs[1:]:
            wait_for(log, "Registered to")
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGKILL)
            process.wait()


def wait_for(file: Path, text: str = "") -> None:
    until = time.monotonic() + 240
    while not (file.exists() and text in file.read_text()):
        assert time.monotonic() < until, f"waited in vain for {text or file}"
        time.sleep(0.05)


def contents(root: Path) -> dict[str, bytes]:
    """The outputs of frames and features."""
    folders = ("frames", "thumbs", "quarantine", "features")
    files = [file for name in folders for file in (root / "work" / name).rglob("*") if file.is_file()]
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


@pytest.mark.slow
def test_two_workers_give_the_bytes_of_one_process(
    project: Project, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stage in ("frames", "features"):
        project.run("python", "-m", f"stages.{stage}", "t01")
    alone = contents(project.root)
    for name in ("frames", "features"):
        shutil.rmtree(project.root / "work" / name)
    monkeypatch.setenv(SCHEDULER, scheduler)
    for stage in ("frames", "features"):
        project.run("python", "-m", f"stages.{stage}", "t01")
    assert contents(project.root) == alone
    assert {name.split("/")[1] for name in alone} == {"frames", "thumbs", "quarantine", "features"}


@pytest.mark.slow
def test_a_worker_also_reports_a_changed_video_in_one_sentence(
    project: Project, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SCHEDULER, scheduler)
    video = next((project.root / "data/videos").iterdir())
    content = video.read_bytes()
    video.unlink()
    refused = project.run("python", "-m", "stages.frames", "t01", check=False)
    video.write_bytes(content)
    assert refused.returncode == 1
    assert f"data/videos/{video.name} has changed since stage `prepare` ran" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_address_without_a_scheduler_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed: pip install 'structalign[scale]'")
    monkeypatch.setenv(SCHEDULER, "nonsense://here")
    with pytest.raises(UserError, match="no Dask scheduler answers at STRUCTALIGN_DASK=nonsense://here"):
        list(in_order(str, [1]))


def test_a_worker_with_other_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _there(tmp_path, code(), str, 1) == "1"
    with pytest.raises(UserError, match="runs other code: update structalign there and restart the worker"):
        _there(tmp_path, "another", str, 1)


def test_a_worker_that_does_not_see_the_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no folder .*: make it available there"):
        _there(tmp_path / "elsewhere", code(), str, 1)


def test_results_are_in_order_and_only_a_few_are_computed_ahead() -> None:
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item

    results = in_order(work, range(1000), threads=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    time.sleep(0.05)
    assert len(begun) < 20
    results.close()  # type: ignore[attr-defined]
