"""Costs are noted on success, under a fingerprint that can be computed from the lock file."""

import json
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from structalign.costs import COSTS, measured, read_cost
from structalign.errors import UserError
from structalign.fingerprint import fingerprint_of_entry, fingerprint_of_stage, outputs_of
from structalign.machine import machine

MEGABYTE = 2**20
PIPELINE = """
stages:
  frames:
    cmd: "true"
    outs: [work/frames/t01, work/frames/t02]
  train:
    foreach: ${tasks}
    do:
      cmd: "true"
      deps: [work/code/train, "work/frames/${key}", "checkpoints/${item.prev}"]
      params: [seed, "optim.${item.phase}"]
  report:
    cmd: "true"
    deps: [work/frames]
  check:
    cmd: "true"
    deps: [structalign]
"""
LOCK = """
stages:
  prepare:
    outs: [{path: checkpoints/t00, md5: 00e1.dir}]
  frames:
    outs: [{path: work/frames/t01, md5: 01e1.dir}, {path: work/frames/t02, md5: 02e1.dir}]
"""
TRAIN: dict[str, Any] = {
    "deps": [
        {"path": "checkpoints/t00", "md5": "00e1.dir"},
        {"path": "work/code/train", "md5": "eccbc87e4b5ce2fe28308fd9f2a7baf3"},  # of "3"
        {"path": "work/frames/t01", "md5": "01e1.dir"},
    ],
    "params": {"params.yaml": {"optim.first": {"lr": 0.001}, "seed": 7}},
}
OUTPUTS = {"checkpoints/t00": "00e1.dir", "work/frames/t01": "01e1.dir", "work/frames/t02": "02e1.dir"}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project after its frames and before its training."""
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_STAGE", "DVC_ROOT", "RANK"):
        monkeypatch.delenv(name, raising=False)
    Path("dvc.yaml").write_text(PIPELINE)
    Path("dvc.lock").write_text(LOCK)
    Path("params.yaml").write_text("seed: 7\noptim: {first: {lr: 1.0e-3}, later: {lr: 2.0e-3}}\n")
    Path("tasks.yaml").write_text("tasks: {t01: {prev: t00, phase: first}, t02: {prev: t01, phase: later}}\n")
    for folder in ("structalign", "checkpoints/t00", "work/code", "work/frames/t01", "work/frames/t02"):
        Path(folder).mkdir(parents=True)
    Path("work/code/train").write_text("3")
    return tmp_path


def noted() -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in COSTS.glob("*/*.json")]


def cost(*command: str) -> dict[str, Any]:
    """The costs of a block that runs a command."""
    with measured():
        if command:
            subprocess.run(command, check=True)
    [found] = noted()
    return found


def test_memory_of_a_process_that_the_stage_starts_counts() -> None:
    found = cost(sys.executable, "-c", f"x = b'x' * {300 * MEGABYTE}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert found["peak_memory_bytes"] >= own + 300 * MEGABYTE


def test_threads_are_those_of_torch() -> None:
    assert cost()["threads"] == torch.get_num_threads()


def test_a_stage_without_torch_names_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    assert "threads" not in cost()


def test_costs_name_their_machine() -> None:
    assert cost()["machine"] == machine()


def test_a_failing_stage_does_not_change_the_costs_of_the_last_success() -> None:
    before = cost()
    with pytest.raises(KeyboardInterrupt), measured():
        raise KeyboardInterrupt
    assert noted() == [before]


def test_costs_are_found_by_the_entry_that_the_lock_file_will_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "train@t01")
    assert cost()["stage"] == "train@t01"
    assert read_cost("train@t01", fingerprint_of_entry("train@t01", TRAIN, OUTPUTS)) == noted()[0]


def test_costs_of_a_temporary_workspace_are_in_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC names the project's root to a stage of a queued experiment."""
    monkeypatch.setenv("DVC_STAGE", "train@t01")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "project"))
    with measured():
        pass
    assert noted() == []
    assert len(list(tmp_path.glob("project/.costs/*/train@t01-*.json"))) == 1


def test_only_the_first_of_several_processes_notes_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with measured():
        pass
    assert noted() == []


@pytest.mark.parametrize("target", ["check", "mine", "train@t09"])
def test_a_stage_without_a_fingerprint_notes_no_costs(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", target)
    with measured():
        pass
    assert noted() == []


def test_a_failed_write_of_costs_is_reported_and_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    COSTS.touch()
    with measured():
        pass
    assert "was not recorded" in capsys.readouterr().err


def test_an_experiments_fingerprint_is_that_of_its_entry() -> None:
    assert fingerprint_of_stage("train@t01") == fingerprint_of_entry("train@t01", TRAIN, OUTPUTS)


def test_a_folder_of_several_outputs_is_identified_by_them() -> None:
    entry = {"deps": [{"path": "work/frames", "md5": "abc.dir"}]}
    assert fingerprint_of_stage("report") == fingerprint_of_entry("report", entry, OUTPUTS)
    assert fingerprint_of_stage("report") != fingerprint_of_entry("report", entry, OUTPUTS | {"work/frames/t02": "x"})


def test_a_lock_file_is_read_by_its_outputs() -> None:
    assert outputs_of({"stages": {"frames": {"outs": [{"path": "a", "md5": "1"}]}, "check": {}}}) == {"a": "1"}
    assert outputs_of(None) == {}


def write(path: str, text: str) -> Callable[[], object]:
    return lambda: Path(path).write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        write("work/code/train", "4"),
        write("dvc.lock", LOCK.replace("01e1", "0aa1")),
        write("dvc.lock", LOCK.replace("00e1", "0aa1")),
        write("params.yaml", "seed: 8\noptim: {first: {lr: 1.0e-3}}\n"),
        write("params.yaml", "seed: 7\noptim: {first: {lr: 2.0e-3}}\n"),
    ],
    ids=["code", "frames", "checkpoint", "seed", "rate"],
)
def test_another_input_is_another_fingerprint(change: Callable[[], object]) -> None:
    before = fingerprint_of_stage("train@t01")
    change()
    assert fingerprint_of_stage("train@t01") != before


def test_parameters_that_a_stage_does_not_read_do_not_change_its_fingerprint() -> None:
    before = fingerprint_of_stage("train@t01")
    Path("params.yaml").write_text("seed: 7\noptim: {first: {lr: 1.0e-3}, later: {lr: 9.0}}\n")
    Path("dvc.lock").write_text(LOCK.replace("02e1", "0aa1"))
    assert fingerprint_of_stage("train@t01") == before


@pytest.mark.parametrize("half", ["stages:\n  prep", "stages: [", "stages: {}\n"])
def test_a_stage_waits_for_a_lock_file_that_another_stage_is_writing(half: str) -> None:
    before = fingerprint_of_stage("train@t01")
    Path("dvc.lock").write_text(half)
    writer = threading.Timer(0.3, write("dvc.lock", LOCK))
    writer.start()
    assert fingerprint_of_stage("train@t01") == before
    writer.join()


def test_a_damaged_lock_file_is_refused_in_one_sentence() -> None:
    Path("dvc.lock").write_text("stages: [")
    with pytest.raises(UserError, match=r"dvc\.lock is damaged"):
        fingerprint_of_stage("train@t01")


def test_a_stage_still_reports_a_wrong_params_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "train@t01")
    Path("params.yaml").write_text("seed: 010\n")
    with measured():
        pass
    assert noted() == []
