"""`structalign import`, as a user types it, on files in MSR-VTT's format, and the preset that it names."""

import json
import pickle
import shutil
import subprocess
from pathlib import Path

import pytest
from codemap import ROOT
from command import begin_project, structalign

from structalign.cli.import_ import adopt
from structalign.data.captions import CaptionRow, read_captions
from structalign.data.importers.ctvr import Benchmark
from structalign.data.tasks import Task, read_tasks
from structalign.strict_yaml import load_yaml


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Twenty categories in ten tasks, each with a training and a test video. The last test video is missing."""
    own = tmp_path / "own"
    (own / "videos").mkdir(parents=True)
    tree = {
        split: {task: {c: [f"video{first + c}"] for c in (2 * task - 2, 2 * task - 1)} for task in range(1, 11)}
        for split, first in (("train", 0), ("val", 7010))
    }
    (own / "splits.pkl").write_bytes(pickle.dumps(tree))
    for number in [*range(20), *range(7010, 7029)]:
        (own / f"videos/video{number}.mp4").write_text(f"not decoded here: {number}")
    sentences = [{"video_id": f"video{n}", "caption": f"caption {n}"} for n in range(20)]
    (own / "annotations.json").write_text(json.dumps({"sentences": sentences}))
    lines = [f"ret{n},msr{n},video{n},caption {n}" for n in range(7010, 7030)]
    (own / "test.csv").write_text("\n".join(["key,vid_key,video_id,sentence", *lines]))
    return own


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project in git and DVC, without data/."""
    project = tmp_path / "project"
    begin_project(project)
    monkeypatch.chdir(project)
    subprocess.run(["git", "add", "."], check=True)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, "commit", "-qm", "Begin"], check=True)
    shutil.copy(ROOT / ".dvc/config", ".dvc/config")
    return project


def imported(own: Path, *more: str) -> tuple[int, str]:
    files = ["--splits", str(own / "splits.pkl"), "--videos", str(own / "videos")]
    texts = ["--annotations", str(own / "annotations.json"), "--test-captions", str(own / "test.csv")]
    return structalign("import", "msrvtt", *files, *texts, *more)


@pytest.mark.parametrize("link", [[], ["--link"]], ids=["copied", "linked"])
def test_a_benchmark_becomes_a_project_and_its_files_do_not_change(own: Path, project: Path, link: list[str]) -> None:
    code, said = imported(own, *link)
    assert code == 0
    assert "20 training videos, 20 test videos, 40 captions, 20 categories, 10 tasks" in said
    assert "missing videos: 1 (t10 1). The results will be marked partial." in said
    assert len(read_captions(Path("data"), read_tasks())) == 40
    assert load_yaml(Path("data.dvc"))["outs"][0]["nfiles"] == 40
    mine = (own / "videos/video0.mp4").stat()
    assert (mine.st_nlink, bool(mine.st_mode & 0o200)) == (1, True)


def test_a_second_import_replaces_imported_tasks_but_not_edited_ones(own: Path, project: Path) -> None:
    imported(own)
    assert imported(own)[0] == 0
    structalign("task", "add", "insects")
    code, said = imported(own)
    assert (code, "tasks.yaml has uncommitted rows" in said) == (1, True)
    assert len(read_tasks()) == 11


def test_the_preset_that_import_names_fits_the_dataset(own: Path, project: Path) -> None:
    said = imported(own)[1]
    assert "structalign preset msrvtt-10\n" in said
    assert structalign("preset", "msrvtt-10")[0] == 0
    assert load_yaml(Path("params.yaml"))["reference"]["zero_shot"] == 22.14


def test_data_that_dvc_does_not_track_is_not_replaced(own: Path, project: Path) -> None:
    Path("data").mkdir()
    Path("data/mine.mp4").touch()
    code, said = imported(own)
    assert (code, "run `dvc add data`" in said) == (1, True)
    assert Path("data/mine.mp4").exists()
    assert list(read_tasks()) == ["t01", "t02"]


def test_import_names_no_preset_for_a_dataset_without_published_settings(
    own: Path, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [CaptionRow(2, "a.mp4", "a cat", "cats", "train", None, None)]
    dataset = Benchmark(rows, {"t01": Task.numbered(1, ["cats"])}, {"a.mp4": own / "videos/video0.mp4"})
    adopt(dataset, preset=None, link=False)
    assert "Next:\n  structalign data check\n  dvc repro\nTo undo" in capsys.readouterr().out
