"""A stopped stage resumes and ends in the same bytes. No process outlives the `dvc` that started it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from codemap import ROOT
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from toy import Project, make_project, quick_python

from structalign.cli.params import params_of
from structalign.data.tasks import split_categories
from structalign.params.schema import Params
from structalign.strict_yaml import load_yaml

pytestmark = pytest.mark.slow

WRITTEN = ("checkpoints/t02", "work/logs/t02.jsonl")
STEPS = 40  # an epoch of the toy project is one step
HOLD = '''\
"""`python hold.py -m MODULE ARGUMENT...`: a training that saves one step and waits in the next one to be stopped."""

import runpy
import signal
import sys
import time

from structalign.learning.resume import Progress

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background starts its children without

save, saved = Progress.save, []


def hold(progress, rows):
    while saved:
        time.sleep(0.01)
    save(progress, rows)
    saved.append(rows)


Progress.save = hold
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
'''


def contents(root: Path, *names: str) -> dict[str, bytes]:
    """Every file below some files and folders."""
    files = [file for name in names for file in [root / name, *(root / name).rglob("*")] if file.is_file()]
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


def forget(root: Path, *names: str) -> None:
    for name in names:
        if (root / name).is_dir():
            shutil.rmtree(root / name)
        else:
            (root / name).unlink()


def wait_for(condition: Callable[[], Any], what: str) -> None:
    until = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.01)


def steps_kept(root: Path) -> int:
    """The number of saved steps of t02."""
    for file in root.glob(".scratch/train-t02/*/progress.safetensors"):
        with safe_open(file, framework="numpy") as progress:
            return str(progress.metadata()["rows"]).count('"step"')
    return 0


def training(root: Path) -> list[int]:
    """Processes that train in the project."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"stages.train" in (folder / "cmdline").read_bytes() and (folder / "cwd").readlink() == root:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def training_after(root: Path, seconds: float) -> list[int]:
    """The training processes that remain after a wait."""
    until = time.monotonic() + seconds
    while training(root) and time.monotonic() < until:
        time.sleep(0.05)
    return training(root)


@dataclass
class History:
    """Observations of one training that was stopped three times and finished by `dvc repro`."""

    root: Path
    uninterrupted: dict[str, bytes]
    codes: dict[str, int] = field(default_factory=dict)
    kept: list[int] = field(default_factory=list)
    orphans: list[int] = field(default_factory=list)
    again: set[str] = field(default_factory=set)
    finished: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The toy project with all inputs of t02's training, whose stages start quickly."""
    with quick_python(tmp_path_factory.mktemp("python")) as python:
        project = Project(tmp_path_factory.mktemp("toy").resolve(), python)
        make_project(project, 2)
        project.set("optim.later.epochs", STEPS)
        project.repro("features@t02", "train@t01")
        yield project


@pytest.fixture(scope="module")
def history(toy: Project) -> History:
    """Stop the training of t02 by Ctrl-C, SIGTERM and a kill -9 of its dvc. Then finish it by `dvc repro`."""
    root = toy.root
    toy.run("python", "-m", "stages.train", "t02")
    seen = History(root, contents(root, *WRITTEN))
    forget(root, *WRITTEN)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"PATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "STRUCTALIGN_SAVE_SECONDS": "0"}
    environment |= {"SHELL": "/bin/sh", "LAUNCH": "sh stay.sh"}  # a shell or two between DVC and the stage
    (root / "hold.py").write_text(HOLD, encoding="utf-8")
    (root / "stay.sh").write_text('python hold.py "$@"\nexit $?\n', encoding="utf-8")

    def stop(command: list[str], how: signal.Signals) -> int:
        """Start, wait for a newly saved step, and stop. Returns the exit code."""
        before = steps_kept(root)
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(lambda: steps_kept(root) > before or process.poll() is not None, "progress")
        process.send_signal(how)
        code = process.wait(240)
        seen.kept.append(steps_kept(root))
        return code

    stage = ["python", "hold.py", "-m", "stages.train", "t02"]
    seen.codes["SIGINT"] = stop(stage, signal.SIGINT)
    seen.codes["SIGTERM"] = stop(stage, signal.SIGTERM)
    seen.codes["SIGKILL"] = stop(["dvc", "repro", "-s", "train@t02"], signal.SIGKILL)
    seen.orphans = training_after(root, 30)
    for orphan in seen.orphans:
        os.kill(orphan, signal.SIGKILL)
    seen.again = toy.repro("train@t02")
    seen.finished = contents(root, *WRITTEN)
    return seen


def test_a_signal_ends_the_stage_and_leaves_no_output(history: History) -> None:
    assert history.codes["SIGINT"] != 0
    assert (history.codes["SIGTERM"], history.codes["SIGKILL"]) == (-signal.SIGTERM, -signal.SIGKILL)


def test_every_run_resumes_where_the_previous_one_was_stopped(history: History) -> None:
    first, second, third = history.kept
    assert 0 < first < second < third < STEPS


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's stages watch")
def test_no_training_outlives_the_dvc_that_started_it(history: History) -> None:
    assert history.orphans == []


def test_dvc_repro_recovers_from_a_kill_by_itself(history: History) -> None:
    assert history.again == {"train@t02"}


def test_a_training_stopped_three_times_ends_in_the_same_bytes(history: History) -> None:
    assert history.finished == history.uninterrupted


def test_a_finished_training_leaves_no_progress(history: History) -> None:
    assert not (history.root / ".scratch/train-t02").exists()


def test_features_are_computed_once_for_each_video(toy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages import features

    monkeypatch.chdir(toy.root)
    monkeypatch.setenv("STRUCTALIGN_THREADS", "1")
    before = contents(toy.root, "work/features/t01")
    made = list[Path]()

    def stop_at_the_third(tensors: dict[str, Tensor], file: Path) -> None:
        if len(made) == 2:
            raise KeyboardInterrupt
        watch(tensors, file)

    def watch(tensors: dict[str, Tensor], file: Path) -> None:
        made.append(file)
        save_file(tensors, file)

    monkeypatch.setattr(features, "save_file", stop_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        features.main("t01")
    first, made = made, []
    monkeypatch.setattr(features, "save_file", watch)
    features.main("t01")
    assert len(first) == 2
    assert len(made) == 4 + 4 + 2 + 2 - 2  # centre and one view of the training videos, val, test
    assert not set(made) & set(first)
    assert contents(toy.root, "work/features/t01") == before


@pytest.mark.parametrize(("stage", "exempt"), [("frames", {"data"}), ("features", set()), ("train", set())])
def test_progress_is_keyed_by_all_parameters_of_the_stage(
    toy: Project, monkeypatch: pytest.MonkeyPatch, stage: str, exempt: set[str]
) -> None:
    """Exempt are settings that only decide about broken videos, since progress has none of these."""
    monkeypatch.chdir(toy.root)
    module, seen = import_module(f"stages.{stage}"), list[str]()

    def record(_stage: str, _task: str, values: object, *_: object) -> None:
        seen.append(repr(values))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "scratch", record)
    with pytest.raises(KeyboardInterrupt):
        module.main("t02")
    params = Params.model_validate(load_yaml(Path("params.yaml")))
    described = load_yaml(ROOT / "dvc.yaml")["stages"][stage]
    *_, listed = params_of(described, split_categories(["first", "later"], 2))
    for key in listed - exempt:
        value: Any = params
        for part in key.split("."):
            value = getattr(value, part)
        expected = {"seed": f"seed={value!r}", "method": repr(getattr(value, "name", None))}.get(key, repr(value))
        assert expected in seen[0], key
