"""The command in a message about a damaged file works, whether or not DVC's cache has the file."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from toy import Project

from structalign.dvc_files import way_back

MADE = "stages:\n  make:\n    cmd: mkdir -p out && printf good > out/a && printf b > out/b\n    outs: [out]\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project in which a stage made out/ and `dvc add` brought data/."""
    project = Project(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a").write_text("good")
    (tmp_path / "dvc.yaml").write_text(MADE)
    remote = tmp_path / "remote"
    for command in (
        "git init -q",
        "dvc init -q",
        f"dvc remote add -q -d kept {remote}",
        "dvc add -q data",
        "dvc repro -q",
        "dvc push -q",
    ):
        project.run(*command.split())
    monkeypatch.chdir(tmp_path)
    return project


def damage(file: Path) -> None:
    """Flip a bit as a disk does. Mode and times stay, so DVC takes the file for unchanged."""
    about = file.stat()
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)
    file.chmod(about.st_mode)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


def cached(text: str) -> Path:
    """The object of DVC's cache with a text."""
    return next(file for file in Path(".dvc/cache").rglob("*") if file.is_file() and file.read_text() == text)


def carry_out(message: str, project: Project) -> None:
    """Run the command between the backticks of a message."""
    project.run("bash", "-c", message.split("`")[1])


@pytest.mark.parametrize("file", ["out/a", "data/a"])
@pytest.mark.parametrize("in_cache", [False, True])
def test_the_command_restores_a_damaged_file(project: Project, file: str, in_cache: bool) -> None:
    if in_cache:
        damage(cached("good"))
        shutil.rmtree(Path(file).parent)
        project.run("dvc", "checkout", Path(file).parts[0])
    else:
        damage(Path(file))
    assert Path(file).read_text() != "good"
    carry_out(way_back(Path(file)), project)
    assert Path(file).read_text() == "good"
    assert Path(file).parent.joinpath("b").exists() == (file == "out/a")


def test_the_command_makes_a_lost_object_again(project: Project) -> None:
    cached("good").unlink()
    damage(Path("out/a"))
    carry_out(way_back(Path("out/a")), project)
    assert Path("out/a").read_text() == "good"


def test_the_command_works_from_another_folder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(Path("out/b"))
    monkeypatch.chdir(project.root.parent)
    said = way_back(project.root / "out/b").split("`")[1]
    subprocess.run(["bash", "-c", said], check=True, capture_output=True)
    assert (project.root / "out/b").read_text() == "b"


def test_a_file_outside_a_project_has_no_command(tmp_path: Path) -> None:
    assert way_back(tmp_path / "a") == "copy it again from its source"
