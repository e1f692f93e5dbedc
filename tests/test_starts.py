"""What a start loads, and that the garbage collector is off during it."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from structalign.collector import paused
from structalign.console import command, run
from structalign.errors import UserError

HEAVY = {
    "torch",
    "transformers",
    "scipy",
    "pandas",
    "matplotlib",
    "jinja2",
    "dvc",
    "ffmpeg",
    "ruamel",
    "rich",
    "fastapi",
    "uvicorn",
}
MAY_LOAD: dict[str, set[str]] = {
    "stages.check": set(),
    "stages.prepare": set(),
    "stages.frames": {"ffmpeg"},
    "stages.evaluate": set(),
    "stages.report": {"matplotlib", "jinja2", "rich"},
    "stages.features": {"torch"},  # and CLIP's classes, once a model is loaded
    "stages.train": {"torch"},
    "stages.embed": {"torch"},
    "structalign.search.retriever": {"torch"},
    "structalign.library.opening": {"torch", "ffmpeg"},
    "structalign.cli.app": set(),
    "structalign.cli.search": {"rich"},
    "structalign.cli.serve": set(),
}


def loaded(module: str) -> set[str]:
    """The packages that a new process has loaded after importing `module`."""
    code = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=300
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", MAY_LOAD)
def test_a_start_loads_no_heavy_library_that_it_does_not_need(module: str) -> None:
    assert loaded(module) & HEAVY <= MAY_LOAD[module]


def test_a_pause_restores_the_garbage_collector() -> None:
    with paused():
        assert not gc.isenabled()
        with paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


@pytest.mark.usefixtures("nothing_frozen")
@pytest.mark.parametrize("ours", [True, False])
def test_only_a_process_of_ours_never_visits_what_it_imported(ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("structalign.collector._own", ours)
    with paused():
        monkeypatch.setitem(sys.modules, "a_module_that_was_imported_now", sys)
    assert (gc.get_freeze_count() > 0) == ours


@pytest.mark.usefixtures("nothing_frozen")
def test_a_pause_without_imports_freezes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("structalign.collector._own", True)
    with paused():
        pass
    assert gc.get_freeze_count() == 0


def test_an_import_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ImportError), paused():
        raise ImportError
    assert gc.isenabled()


@pytest.fixture
def nothing_frozen() -> Iterator[None]:
    """Unfreeze the objects that conftest.py has frozen, and freeze them again afterwards."""
    gc.unfreeze()
    yield
    gc.unfreeze()  # what the test froze may be garbage by now
    gc.collect()
    gc.freeze()


@pytest.mark.usefixtures("nothing_frozen")
def test_a_stage_collects_garbage_while_it_works_but_visits_no_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["stage"])
    gc.disable()
    with pytest.raises(SystemExit):
        command(lambda: seen.append((gc.isenabled(), gc.get_freeze_count() > 0)))
    assert seen == [(True, True)]


@pytest.mark.usefixtures("nothing_frozen")
@pytest.mark.parametrize("ends", [SystemExit, UserError])
def test_a_command_collects_no_garbage_at_its_end(ends: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ends("so")

    app = typer.Typer()
    app.command()(fail)
    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit):
        run(app)
    assert gc.get_freeze_count() > 0
