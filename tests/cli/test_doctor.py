"""`structalign doctor` reports each fault in one sentence and changes nothing without `--fix`.

After `--fix`, `dvc repro` gives the same results as before the fault.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from codemap import ROOT
from toy import Project, make_project, quick_python

from structalign.cli.doctor import summary
from structalign.data.tasks import split_categories, write_tasks
from structalign.doctor import hashes, locks, results, tracked, videos
from structalign.doctor.finding import Finding
from structalign.doctor.hashes import folder_files, folder_hash
from structalign.doctor.settings import state
from structalign.dvc_command import run_dvc
from structalign.errors import UserError

RWLOCK = Path(".dvc/tmp/rwlock")
CHECKPOINT = "checkpoints/t01/adapters.safetensors"
LOCK = "schema: '2.0'\nstages:\n  check:\n    cmd: python\n    outs:\n    - path: work/code\n      md5: {}\n"


def flip(path: Path) -> None:
    """Change one byte in place. Inode, size and time do not change, as after a fault of the disk."""
    about = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(about.st_mode)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def cut(path: Path, to: int) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:to])


def cached(root: Path, path: str) -> Path:
    """The object of DVC's cache with a file's content."""
    md5 = folder_files((root / path).parent)[Path(path).name]
    return root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


def damage_object(root: Path) -> None:
    flip(cached(root, CHECKPOINT))
    shutil.rmtree(root / "checkpoints/t01")


def damage_everywhere(root: Path) -> None:
    """Damage the cache's objects and the videos in data/, which may be linked to each other."""
    for path in sorted((root / ".dvc/cache/files/md5").glob("*/*")):
        path.chmod(0o644)
        path.write_bytes(b"damaged")
    for path in (root / "data/videos").iterdir():
        path.chmod(0o644)
        path.write_bytes(b"damaged, too")


def stop_an_experiment(root: Path) -> None:
    """Leave the files that a killed `dvc exp run` was seen to leave."""
    for name in ("EXEC_BASELINE", "EXEC_HEAD", "EXEC_MERGE"):
        subprocess.run(["git", "update-ref", f"refs/exps/exec/{name}", "HEAD"], cwd=root, check=True)
    (root / ".dvc/tmp/exps/tmpk1ll3d/stages").mkdir(parents=True)


def leave_half(root: Path) -> None:
    (root / "checkpoints/.t02.part").mkdir()
    (root / "checkpoints/.t02.part/config.json").write_text("{")
    (root / "work/.videos.json.part").write_text("[")


def hold(root: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    owner = {"pid": ended.pid, "cmd": "dvc repro"}
    (root / RWLOCK).write_text(json.dumps({"write": {str(root / "work/code"): owner}, "read": {}}))


FAULTS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "a path lock of 0 bytes": (lambda root: (root / RWLOCK).write_text(""), (".dvc/tmp/rwlock is damaged",)),
    "a cut path lock": (lambda root: (root / RWLOCK).write_text('{"write": {"/a": {"pi'), ("rwlock is damaged",)),
    "a path lock of another form": (lambda root: (root / RWLOCK).write_text('{"write": []}'), ("rwlock is damaged",)),
    "a lock whose process has ended": (hold, (".dvc/tmp/rwlock names process",)),
    "git's lock": (lambda root: (root / ".git/index.lock").touch(), (".git/index.lock is the lock of a git",)),
    "an empty dvc.lock": (lambda root: (root / "dvc.lock").write_text(""), ("dvc.lock can't be read", "git checkout")),
    "a cut dvc.lock": (lambda root: cut(root / "dvc.lock", 1000), ("dvc.lock can't be read",)),
    "a dvc.lock in conflict": (
        lambda root: (root / "dvc.lock").write_text("<<<<<<< HEAD\n" + (root / "dvc.lock").read_text()),
        ("dvc.lock can't be read",),
    ),
    "a cut data.dvc": (lambda root: cut(root / "data.dvc", 20), ("data.dvc can't be read",)),
    "a damaged checkpoint in the cache": (damage_object, ("in DVC's cache is damaged",)),
    "a damaged checkpoint here": (
        lambda root: flip(root / CHECKPOINT),
        ("checkpoints/t01 differs from dvc.lock",),
    ),
    "half-written files": (leave_half, ("checkpoints/.t02.part is half written", ".videos.json.part is half written")),
    "data/ missing": (lambda root: shutil.rmtree(root / "data"), ("data/ is missing: `dvc pull data`",)),
    "a video missing": (lambda root: (root / "data/videos/1a0.mp4").unlink(), ("data/videos/1a0.mp4 of data.dvc",)),
    "a killed experiment": (stop_an_experiment, ("tmpk1ll3d is left over from", "an experiment in the workspace was")),
}


def doctor(project: Project, *arguments: str) -> tuple[int, str]:
    done = project.run("structalign", "doctor", *arguments, check=False)
    return done.returncode, done.stdout + done.stderr


def bytes_of(root: Path) -> dict[str, bytes]:
    """The bytes of data/ and all results, except costs and the page that shows them."""
    files = [file for name in ("work", "checkpoints", "reports", "data") for file in (root / name).rglob("*")]
    names = {file.relative_to(root).as_posix(): file for file in files if file.is_file()}
    left_out = ("work/costs/", "reports/costs.json", "reports/index.html")
    return {name: file.read_bytes() for name, file in names.items() if not name.startswith(left_out)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project of one task after its run."""
    with quick_python(tmp_path_factory.mktemp("python")) as python:
        project = Project(tmp_path_factory.mktemp("toy").resolve(), python)
        make_project(project, 1)
        project.repro()
        project.commit()
        yield project


@pytest.fixture
def project(whole: Project, tmp_path: Path) -> Project:
    """A copy that tests may damage. It keeps its hard links and shares no file with the original."""
    subprocess.run(["cp", "-a", whole.root, tmp_path / "copy"], check=True)
    return Project(tmp_path / "copy", whole.python)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_fixed_and_the_next_run_gives_the_same_bytes(project: Project, name: str) -> None:
    damage, sentences = FAULTS[name]
    before = bytes_of(project.root)
    damage(project.root)
    damaged = bytes_of(project.root)
    code, said = doctor(project)
    assert code == 1
    assert all(sentence in said for sentence in sentences), said
    assert "Traceback" not in said
    assert bytes_of(project.root) == damaged, "without --fix nothing is touched"
    code, said = doctor(project, "--fix", "--yes")
    assert (code, "not fixed" in said) == (0, False), said
    project.repro()
    assert bytes_of(project.root) == before
    assert doctor(project) == (0, "No problems found.\n")


@pytest.mark.slow
def test_a_file_damaged_in_cache_and_workspace_is_removed_and_a_lost_video_named(project: Project) -> None:
    damage_everywhere(project.root)
    code, said = doctor(project, "--fix", "--yes")
    assert code == 1
    assert "in DVC's cache is damaged" in said
    assert "DVC's cache lacks the list of data/" in said
    assert "not fixed" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_doctor_asks_nothing_while_dvc_runs_in_the_project(project: Project) -> None:
    at_work = subprocess.Popen([sys.executable, "-c", "input()", "dvc"], cwd=project.root, stdin=subprocess.PIPE)
    dvc = project.root / "dvc"
    dvc.write_text("#!/bin/sh\nread line\n")
    busy = subprocess.Popen(["sh", str(dvc), "repro"], cwd=project.root, stdin=subprocess.PIPE)
    try:
        code, said = doctor(project, "--fix", "--yes")
    finally:
        for process in (busy, at_work):
            process.kill()
            process.wait()
            assert process.stdin
            process.stdin.close()
    assert code == 1
    assert f"process {busy.pid} (dvc repro) works in this project" in said


@pytest.mark.slow
def test_answering_no_changes_nothing(project: Project) -> None:
    (project.root / RWLOCK).write_text("")
    command = ["structalign", "doctor", "--fix"]
    done = subprocess.run(command, cwd=project.root, input="n\n", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "1 left." in done.stdout
    assert (project.root / RWLOCK).read_text() == ""


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("{}", None),
        ('{"write": {}, "read": {}}', None),
        ("", "is damaged"),
        ("[]", "is damaged"),
        ('{"read": {"/a": [{"pid": "x"}]}}', "is damaged"),
        ('{"read": {"/a": [{"pid": 7, "cmd": "dvc repro"}]}}', "names process 7"),
        ('{"write": {"/a": {"pid": 9, "cmd": "dvc repro"}}, "read": {}}', "names process 9"),
    ],
)
def test_a_path_lock_is_read_as_dvc_reads_it(tmp_path: Path, content: str, fault: str | None) -> None:
    path = tmp_path / "rwlock"
    path.write_text(content)
    said = locks._wrong(path)
    assert (said is None) if fault is None else (said is not None and said.startswith(fault))


def test_a_hard_link_lock_is_recognised(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text(" 4711\n")
    assert not locks._is_hardlink_lock(lock)
    lock.write_text("/p/.dvc/tmp/0123.lock")
    assert locks._is_hardlink_lock(lock)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"\xff", b"schema: '2.0'\nstages:\n  check:\n    cm", LOCK.format("12ab").encode(), b"schema: '3.0'"],
)
def test_a_lock_file_that_dvc_refuses_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"dvc\.lock"):
        tracked.parse(Path("dvc.lock"), content)


def test_a_valid_lock_file_is_read() -> None:
    lock = tracked.parse(Path("dvc.lock"), LOCK.format(32 * "a").encode())
    assert isinstance(lock, tracked.Lock)
    assert lock.stages["check"].outs[0].path == "work/code"


def test_a_folder_has_the_hash_that_dvc_gives_it(tmp_path: Path) -> None:
    """The hash is that of `dvc add`."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.txt").write_text("b")
    (tmp_path / "a-b.txt").write_text("a")
    (tmp_path / ".half.part").write_text("left out")
    assert folder_hash(folder_files(tmp_path)) == "b8fcad5f55591957f542914a1d1281ec.dir"


def test_what_dvc_ignores_is_no_part_of_a_folder_s_hash(tmp_path: Path) -> None:
    for line in (ROOT / ".dvcignore").read_text(encoding="utf-8").split():
        path = tmp_path / line.replace("*", "x") / "file" if line.endswith("/") else tmp_path / line.replace("*", "x")
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert folder_files(tmp_path) == {}


def test_a_cache_object_that_differs_from_its_name_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "objects", lambda: tmp_path)
    (tmp_path / "90").mkdir()
    path = tmp_path / "90/0150983cd24fb0d6963f7d28e17f72"  # md5 of abc
    path.write_text("abc")
    assert list(results.damaged_objects()) == []
    flip(path)
    hashes._read.cache_clear()
    (finding,) = results.damaged_objects()
    assert "in DVC's cache is damaged" in str(finding)


@pytest.mark.parametrize("lost", [True, False])
def test_an_output_restored_from_a_damaged_object_is_made_again(
    lost: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC records in dvc.lock what it restored. If both objects are whole, the stage ran twice."""
    monkeypatch.chdir(tmp_path)
    cache = tmp_path / "cache/files/md5"
    monkeypatch.setattr(results, "objects", lambda: cache)
    made, restored = (hashlib.md5(name).hexdigest() for name in (b"made", b"restored"))
    for number, (name, content) in enumerate([(made, b"made"), (restored, b"restored")]):
        record = tmp_path / f"cache/runs/aa/aabb/{number}"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(f"cmd: x\nouts:\n- path: work/code\n  md5: {name}\n")
        os.utime(record, (number, number))
        results.object_of(cache, name).parent.mkdir(parents=True, exist_ok=True)
        results.object_of(cache, name).write_bytes(content)
    if lost:
        results.object_of(cache, made).unlink()
    Path("dvc.lock").write_text(LOCK.format(restored))
    Path("work").mkdir()
    Path("work/code").write_bytes(b"restored")
    found = list(results.restored_from_damage())
    assert [finding.fault for finding in found] == [f"work/code {RESTORED}"] * lost
    for finding in found:
        assert finding.mend is not None
        finding.mend()
    assert Path("work/code").exists() == (not lost)
    assert results.object_of(cache, restored).exists() == (not lost)
    assert (tmp_path / "cache/runs/aa/aabb/1").exists() == (not lost)
    assert list(results.restored_from_damage()) == []


RESTORED = "was restored from a damaged object of DVC's cache"


def test_a_damaged_database_of_hashes_is_found_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC itself, also `dvc doctor`, ends in an error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    subprocess.run(["git", "init", "-q"], check=True)
    run_dvc("init", "-q")
    Path("a").write_text("a")
    run_dvc("add", "-q", "a")
    assert list(state()) == []
    for file in (tmp_path / "site").rglob("cache.db"):
        file.write_bytes(b"SQLite format 3\0" + bytes(8192))
    with pytest.raises(UserError):
        run_dvc("doctor")
    found = list(state())
    assert "where DVC remembers hashes, is damaged" in str(found[0])
    for finding in found:
        assert finding.mend is not None
        finding.mend()
    run_dvc("doctor")
    assert list(state()) == []


def test_a_recorded_video_may_be_missing_if_no_row_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    Path("data/captions.csv").write_text("video,caption,category,split\na.mp4,a dog,dogs,train\n")
    recorded = {"captions.csv": "1", "videos/a.mp4": "2", "videos/b.mp4": "3"}
    found = list(videos._differences({"captions.csv": "1"}, recorded, Path("cache")))
    assert [finding.fault for finding in found] == ["data/videos/a.mp4 of data.dvc is missing"]


def test_the_last_line_says_what_is_left_and_what_to_do_next() -> None:
    assert summary(0, 0, fix=False) == "No problems found."
    assert "structalign doctor --fix" in summary(2, 0, fix=False)
    assert "dvc repro" in summary(0, 1, fix=True)
    assert summary(1, 3, fix=True) == "1 left."


def test_results_of_removed_tasks_are_found_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_tasks(split_categories(["cats", "dogs"], 2))
    kept = ["checkpoints/t00", "checkpoints/t02", "checkpoints/released", "work/index/t02.json"]
    gone = [
        "checkpoints/t03",
        "reports/eval/t04.json",
        "work/gallery/t03",
        "work/index/t03.json",
        "work/logs/t10.jsonl",
    ]
    for name in (*kept, *gone):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch() if Path(name).suffix else Path(name).mkdir()
    found = [*results.of_former_tasks()]
    for finding in found:
        assert finding.mend is not None
        finding.mend()
    assert [name for name in (*kept, *gone) if Path(name).exists()] == kept


def test_a_finding_is_one_sentence_with_its_remedy() -> None:
    assert str(Finding("x is cut", "`rm x`")) == "x is cut: `rm x`."
