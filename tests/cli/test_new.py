"""`structalign new` makes a project that runs with the installed library, from a wheel or a source package."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from codemap import ROOT
from command import structalign

from structalign.cli.new import ALWAYS, LIBRARY, project_files
from structalign.templates import own_files, pack


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh project. Read only."""
    folder = tmp_path_factory.mktemp("new") / "project"
    code, said = structalign("new", str(folder))
    assert (code, f"cd {folder}" in said) == (0, True)
    return folder


def test_a_project_has_the_repository_s_files(project: Path) -> None:
    for name, content in own_files().items():
        if name not in ("dvc.yaml", ".dvc/config"):
            assert (project / name).read_bytes() == content, name
    assert {path.name for path in (project / "stages").glob("*.py")} == {p.name for p in (ROOT / "stages").glob("*.py")}


def test_its_pipeline_only_differs_in_the_library(project: Path) -> None:
    ours, theirs = (folder / "dvc.yaml" for folder in (ROOT, project))
    left, right = (path.read_text(encoding="utf-8").splitlines(keepends=True) for path in (ours, theirs))
    assert [line for line in left if line not in right] == [LIBRARY]
    assert [line for line in right if line not in left] == [ALWAYS]


def test_a_new_project_is_in_git_and_dvc_without_a_remote(project: Path) -> None:
    assert "dvc.yaml" in git("status", "--porcelain", cwd=project)
    done = subprocess.run([sys.executable, "-m", "dvc", "remote", "list"], cwd=project, capture_output=True, check=True)
    assert b"sample" not in done.stdout
    assert ".dvc/plots/recall.json" in git("diff", "--cached", "--name-only", cwd=project)


def test_an_update_is_a_patch_that_git_applies(project: Path, tmp_path: Path) -> None:
    mine = shutil.copytree(project, tmp_path / "mine")
    assert structalign("new", str(mine), "--update") == (0, "nothing differs\n")
    (mine / "params.yaml").write_text("seed: 1\n")
    (mine / "stages/train.py").write_text("# edited\n")
    (mine / "presets/clip.yaml").unlink()
    code, patch = structalign("new", str(mine), "--update")
    assert (code, "b/params.yaml" in patch) == (0, False)
    subprocess.run(["git", "apply", "-"], cwd=mine, input=patch, text=True, check=True)
    for name in ("stages/train.py", "presets/clip.yaml"):
        assert (mine / name).read_bytes() == project_files()[name]


@pytest.mark.parametrize("kind", ["full", "file"])
def test_an_existing_folder_is_refused_and_left_unchanged(tmp_path: Path, kind: str) -> None:
    taken = tmp_path / "taken"
    mine = taken / "mine" if kind == "full" else taken
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    code, said = structalign("new", str(taken))
    assert (code, "name a new folder" in said) == (1, True)
    assert mine.read_text() == "mine"


def test_a_clone_without_the_sample_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    code, said = structalign("new", str(tmp_path / "new"), "--sample-from", str(tmp_path))
    assert (code, "--sample-from takes a clone" in said) == (1, True)
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_sample_comes_along_from_a_clone(tmp_path: Path) -> None:
    assert structalign("new", str(tmp_path / "new"), "--sample-from", str(ROOT))[0] == 0
    assert (tmp_path / "new/data/captions.csv").read_bytes() == (ROOT / "data/captions.csv").read_bytes()


@pytest.mark.parametrize(
    "command",
    [
        ["params"],
        ["search", "x"],
        ["data", "check"],
        ["task", "add", "a"],
        ["preset", "paper"],
        ["doctor"],
        ["repro"],
        ["serve"],
        ["list"],
        ["compact"],
    ],
)
def test_outside_a_project_a_command_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = structalign(*command)
    assert (code, said.count("\n")) == (1, 1)
    assert "`structalign new DIR`" in said


def test_packing_the_same_files_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        pack(ROOT, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


@pytest.mark.slow
def test_the_wheel_holds_the_library_and_the_repository_s_own_templates(tmp_path: Path) -> None:
    source = tmp_path / "source"
    tracked = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0")
    for name in filter(None, tracked):
        if not name.startswith("sample-remote/") and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*pip, str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size <= 2_000_000
    with ZipFile(wheel) as stream:
        names = stream.namelist()
        assert {name.partition("/")[0].partition("-")[0] for name in names} == {"structalign"}
        assert "structalign/py.typed" in names
        stream.extract("structalign/project.zip", tmp_path)
    with ZipFile(tmp_path / "structalign/project.zip") as stream:
        assert {name: stream.read(name) for name in stream.namelist()} == own_files()
