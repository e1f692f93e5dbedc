"""An interrupted stage's progress is used again under the same conditions, and under no others."""

import os
from contextlib import suppress
from pathlib import Path

import pytest

from structalign import code_digest, code_seen
from structalign.code_digest import Code
from structalign.scratch import READ_IN_FULL, scratch


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with an input, and code of a stage."""
    monkeypatch.chdir(tmp_path)
    Path("input").mkdir()
    Path("input/small").write_text("a")
    Path("input/large").write_bytes(bytes(READ_IN_FULL + 1))
    os.utime("input/large", (1, 1))
    write_stage("import structalign.used")
    Path("structalign").mkdir()
    Path("structalign/used.py").write_text("a = 1")
    Path("structalign/unused.py").write_text("a = 1")
    code = {name: tmp_path / name for name in ("stages", "structalign")}
    monkeypatch.setattr(code_seen, "Code", lambda: Code(code))
    monkeypatch.setattr(code_digest, "LOADED_BY_NAME", {"frames": ["structalign.{method[name]}"]})
    return tmp_path


def write_stage(text: str) -> None:
    for stage in ("train", "frames"):
        file = Path(f"stages/{stage}.py")
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)


def interrupt(values: object = 1) -> Path:
    """Enter, store a file, and be interrupted. Returns the folder."""
    with suppress(KeyboardInterrupt), scratch("train", "t01", values, [Path("input")]) as kept:
        (kept / "progress").touch()
        raise KeyboardInterrupt
    return kept


def found(values: object = 1) -> bool:
    """Whether the next run finds the stored file. The run succeeds."""
    with scratch("train", "t01", values, [Path("input")]) as kept:
        return (kept / "progress").exists()


def test_an_interrupted_run_is_resumed() -> None:
    interrupt()
    assert found()


def test_a_successful_run_leaves_no_scratch_files() -> None:
    interrupt()
    found()
    assert not list(Path(".scratch").iterdir())


def test_other_values_start_again() -> None:
    interrupt(values=1)
    assert not found(values=2)


def test_a_small_input_with_other_content_starts_again() -> None:
    interrupt()
    Path("input/small").write_text("b")
    assert not found()


def test_a_large_input_that_was_written_again_starts_again() -> None:
    interrupt()
    os.utime("input/large", (2, 2))
    assert not found()


def test_an_additional_input_starts_again() -> None:
    interrupt()
    Path("input/more").touch()
    assert not found()


def test_other_code_starts_again() -> None:
    interrupt()
    Path("structalign/used.py").write_text("a = 2")
    assert not found()


@pytest.mark.parametrize(("file", "text"), [("used", "a = 1  # one"), ("unused", "a = 2")])
def test_a_comment_and_code_of_others_change_nothing(file: str, text: str) -> None:
    interrupt()
    Path(f"structalign/{file}.py").write_text(text)
    assert found()


def test_code_that_a_parameter_names_counts() -> None:
    named = {"method": {"name": "unused"}}
    with suppress(KeyboardInterrupt), scratch("frames", "t01", 1, named=named) as kept:
        (kept / "progress").touch()
        raise KeyboardInterrupt
    Path("structalign/unused.py").write_text("a = 2")
    with scratch("frames", "t01", 1, named=named) as again:
        assert not (again / "progress").exists()


def test_stale_scratch_files_are_removed() -> None:
    stale = interrupt(values=1)
    interrupt(values=2)
    assert not stale.exists()


def test_another_task_s_progress_stays() -> None:
    mine = interrupt()
    with scratch("train", "t02", 1):
        pass
    assert mine.exists()
