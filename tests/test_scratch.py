"""What an interrupted stage kept is taken up under the same circumstances, and under no others."""

import os
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from structalign import scratch as module
from structalign.scratch import READ_IN_FULL, scratch


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with an input, and a module loaded from a tree of code."""
    monkeypatch.chdir(tmp_path)
    Path("input").mkdir()
    Path("input/small").write_text("a")
    Path("input/large").write_bytes(bytes(READ_IN_FULL + 1))
    os.utime("input/large", (1, 1))
    code = tmp_path / "structalign/loaded.py"
    code.parent.mkdir()
    code.write_text("a = 1")
    loaded = ModuleType("loaded")
    loaded.__file__ = str(code)
    monkeypatch.setattr(module, "CODE", tmp_path)
    monkeypatch.setitem(sys.modules, "loaded", loaded)
    return tmp_path


def interrupt(values: object = 1) -> Path:
    """Enter, keep a file, and be interrupted; the folder."""
    with suppress(KeyboardInterrupt), scratch("train", "t01", values, [Path("input")]) as kept:
        (kept / "progress").touch()
        raise KeyboardInterrupt
    return kept


def found(values: object = 1) -> bool:
    """Whether the next run finds what was kept; it succeeds."""
    with scratch("train", "t01", values, [Path("input")]) as kept:
        return (kept / "progress").exists()


def test_an_interrupted_run_is_taken_up() -> None:
    interrupt()
    assert found()


def test_success_leaves_nothing() -> None:
    interrupt()
    found()
    assert not list(Path(".scratch").iterdir())


def test_other_values_start_anew() -> None:
    interrupt(values=1)
    assert not found(values=2)


def test_a_small_input_of_other_content_starts_anew() -> None:
    interrupt()
    Path("input/small").write_text("b")
    assert not found()


def test_a_large_input_that_was_written_again_starts_anew() -> None:
    interrupt()
    os.utime("input/large", (2, 2))
    assert not found()


def test_an_input_more_starts_anew() -> None:
    interrupt()
    Path("input/more").touch()
    assert not found()


def test_other_code_starts_anew(folder: Path) -> None:
    interrupt()
    (folder / "structalign/loaded.py").write_text("a = 2")
    assert not found()


def test_what_is_stale_is_removed() -> None:
    stale = interrupt(values=1)
    interrupt(values=2)
    assert not stale.exists()


def test_another_task_s_progress_stays() -> None:
    mine = interrupt()
    with scratch("train", "t02", 1):
        pass
    assert mine.exists()
