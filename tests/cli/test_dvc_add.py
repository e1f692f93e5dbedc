"""`init`, `import` and `task add` change all or nothing, report DVC's reason, and add all files to DVC."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import begin_project, structalign

from structalign.dvc_files import files_of, held_by

REAL = ("--backbone", "openai/clip-vit-base-patch32")
LOCK = """
import sys, time
from dvc.repo import Repo
with Repo().lock:
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder of user's files, which no test here decodes."""
    folder = tmp_path / "own"
    (folder / "videos/more").mkdir(parents=True)
    rows = ["video,caption,category,split"]
    for number, split in enumerate(("train", "train", "test")):
        (folder / f"videos/more/{number}.mp4").write_text(f"video {number}")
        rows.append(f"more/{number}.mp4,caption {number},cats,{split}")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def project(tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that `init` has pointed at another folder, committed."""
    project, first = tmp_path / "project", shutil.copytree(own, tmp_path / "first")
    (first / "captions.csv").write_text((first / "captions.csv").read_text().replace("cats", "dogs"))
    begin_project(project)
    monkeypatch.chdir(project)
    assert structalign("init", str(first), "--tasks", "1", *REAL)[0] == 0
    commit()
    return project


def commit() -> None:
    for command in (["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t.org", "commit", "-qm", "state"]):
        subprocess.run(["git", *command], check=True)


def state() -> dict[str, bytes]:
    """Every file of the project except those of git and DVC."""
    files = (file for file in Path().rglob("*") if file.is_file() and file.parts[0] not in (".git", ".dvc"))
    return {str(file): file.read_bytes() for file in files}


@contextmanager
def locked() -> Iterator[None]:
    """Hold DVC's lock in another process."""
    with subprocess.Popen([sys.executable, "-c", LOCK], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        yield
        other.kill()


def test_init_changes_nothing_while_dvc_is_locked(own: Path, project: Path) -> None:
    before = state()
    with locked():
        code, said = structalign("init", str(own), "--tasks", "1", *REAL)
    assert (code, "Unable to acquire lock" in said) == (1, True)
    assert state() == before
    assert structalign("init", str(own), "--tasks", "1", *REAL)[0] == 0


def test_init_says_why_the_cache_cannot_be_written(own: Path, project: Path) -> None:
    before = state()
    shutil.rmtree(".dvc/cache")
    Path(".dvc/cache").write_text("no folder")
    code, said = structalign("init", str(own), "--tasks", "1", *REAL)
    assert (code, "Not a directory" in said) == (1, True)
    assert state() == before


def test_init_outside_git_says_so_and_changes_nothing(own: Path, project: Path) -> None:
    shutil.rmtree(".git")
    before = state()
    code, said = structalign("init", str(own), "--tasks", "1", *REAL)
    assert (code, "is not a git repository" in said) == (1, True)
    assert state() == before


def test_init_outside_dvc_says_so(own: Path, project: Path) -> None:
    shutil.rmtree(".dvc")
    before = state()
    code, said = structalign("init", str(own), "--tasks", "1", *REAL)
    assert (code, "not inside of a DVC repository" in said) == (1, True)
    assert state() == before


def test_dvc_without_git_is_enough(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin_project(tmp_path / "plain")
    monkeypatch.chdir(tmp_path / "plain")
    shutil.rmtree(".git")
    shutil.rmtree(".dvc")
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True)
    code, said = structalign("init", str(own), "--tasks", "1", *REAL)
    assert (code, "git checkout" in said) == (0, False)


def test_init_restores_data_that_a_killed_init_had_moved(own: Path, project: Path) -> None:
    Path("data").rename(".data.before")
    with locked():
        assert structalign("init", str(own), "--tasks", "1", *REAL)[0] == 1
    assert "dogs" in Path("data/captions.csv").read_text()
    assert not Path(".data.before").exists()


def test_task_add_changes_nothing_where_the_table_can_t_be_read(project: Path) -> None:
    before = Path("tasks.yaml").read_bytes()
    Path("data/captions.csv").unlink()
    Path("data/captions.csv").mkdir()
    assert structalign("task", "add", "owls")[0] == 1
    assert Path("tasks.yaml").read_bytes() == before


def test_a_linked_folder_of_own_videos_is_copied_and_tracked(own: Path, project: Path) -> None:
    (own / "videos/more").rename(own / "videos/real")
    (own / "videos/more").symlink_to("real", target_is_directory=True)
    assert structalign("init", str(own), "--tasks", "1", *REAL)[0] == 0
    held = next(iter(held_by(Path("data.dvc"))))
    assert {f"videos/more/{number}.mp4" for number in range(3)} <= set(files_of(held, Path()))
    assert not Path("data/videos/more").is_symlink()


@pytest.mark.parametrize("where", ["inside", "outside"])
def test_a_linked_folder_in_data_is_refused(project: Path, tmp_path: Path, where: str) -> None:
    real = Path("data/videos/real") if where == "inside" else tmp_path / "elsewhere"
    Path("data/videos/more").rename(real)
    Path("data/videos/more").symlink_to(real.resolve(), target_is_directory=True)
    before = Path("data.dvc").read_bytes()
    code, said = structalign("init", "data", "--tasks", "1", *REAL)
    assert (code, "data/videos/more is a link to a folder" in said) == (1, True)
    assert Path("data.dvc").read_bytes() == before
    code, said = structalign("data", "check")
    assert (code, "data/videos/more is a link to a folder, which DVC ignores" in said) == (1, True)


def test_a_link_out_of_data_is_never_added(project: Path, tmp_path: Path) -> None:
    (tmp_path / "private").write_text("private")
    Path("data/notes").symlink_to(tmp_path / "private")
    code, said = structalign("init", "data", "--tasks", "1", *REAL)
    assert (code, "data/notes is a link to a place outside data/" in said) == (1, True)
    assert not any(file.read_bytes() == b"private" for file in Path(".dvc/cache").rglob("*") if file.is_file())
    assert "data/notes is a link to a place outside data/" in structalign("data", "check")[1]


def test_a_file_that_dvc_ignores_is_named(own: Path, project: Path) -> None:
    before = state()
    (own / "videos/more/3.part").write_text("video 3")
    with (own / "captions.csv").open("a") as table:
        table.write("more/3.part,caption 3,cats,test\n")
    ignored = Path(".dvcignore").read_bytes()
    Path(".dvcignore").write_text("*.part\n")
    code, said = structalign("init", str(own), "--tasks", "1", *REAL)
    assert (code, "DVC ignores data/videos/more/3.part" in said) == (1, True)
    Path(".dvcignore").write_bytes(ignored)
    assert state() == before
