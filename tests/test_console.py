"""Commands print one sentence for an error, and no control sequences."""

import ast
import hashlib
from pathlib import Path

import pytest
import torch
from codemap import ROOT

from structalign.console import command, say
from structalign.errors import UserError


def test_a_users_error_is_one_sentence_and_exit_code_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage() -> None:
        raise UserError("the disk is full.")

    monkeypatch.setattr("sys.argv", ["stage"])
    with pytest.raises(SystemExit) as end:
        command(stage)
    assert (end.value.code, capsys.readouterr().err) == (1, "error: the disk is full.\n")


def test_a_name_in_an_error_cannot_control_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage() -> None:
        raise UserError("\x1b[2J\x1b]0;x\x07evil.mp4\nerror: none is missing.")

    monkeypatch.setattr("sys.argv", ["stage"])
    with pytest.raises(SystemExit):
        command(stage)
    printed = capsys.readouterr().err
    assert printed == "error: \\x1b[2J\\x1b]0;x\\x07evil.mp4\\nerror: none is missing.\n"


def test_line_breaks_of_a_message_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1bb\nc")
    assert capsys.readouterr().out == "a\\x1bb\nc\n"


# prints CSV, Markdown and HTML for files
DATA = {"structalign/cli/compare.py"}


def test_every_command_prints_through_one_of_two_modules() -> None:
    """`console.say` and `report.terminal` escape control characters in names."""
    guests = set()
    for folder in ("structalign/cli", "structalign/report"):
        for file in (ROOT / folder).glob("*.py"):
            calls = [node.func for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
            names = {ast.unparse(call) for call in calls}
            if names & {"print", "typer.echo", "typer.secho", "click.echo", "sys.stdout.write", "Console"}:
                guests.add(str(file.relative_to(ROOT)))
    assert guests == DATA


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_a_lack_of_memory_is_one_sentence(
    error: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage() -> None:
        raise error

    monkeypatch.setattr("sys.argv", ["stage"])
    with pytest.raises(SystemExit):
        command(stage)
    assert "not enough memory" in capsys.readouterr().err


def test_another_error_shows_where_it_was_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stage() -> None:
        raise ValueError("ours")

    monkeypatch.setattr("sys.argv", ["stage"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="ours"):
        command(stage)


def test_an_error_names_a_changed_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stage() -> None:
        raise ValueError("shapes differ")

    lock = "stages:\n  make:\n    outs:\n    - path: work/{}\n      md5: {}\n"
    (tmp_path / "work").mkdir()
    (tmp_path / "work/a").write_text("as made")
    monkeypatch.setattr("sys.argv", ["stage"])
    monkeypatch.chdir(tmp_path)
    Path("dvc.lock").write_text(lock.format("a", hashlib.md5(b"as made").hexdigest()))
    with pytest.raises(ValueError, match="shapes"):
        command(stage)
    Path("work/a").write_text("damaged")
    with pytest.raises(SystemExit):
        command(stage)
    assert "work/a is damaged (it is not what DVC recorded)" in capsys.readouterr().err
