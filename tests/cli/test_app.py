"""The root of the commands."""

from importlib.metadata import version
from pathlib import Path

import pytest
from command import structalign as command

import structalign
from structalign.cli.app import COMMANDS


def test_the_version_is_that_of_the_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("--version") == (0, f"structalign {version('structalign')}\n")
    assert structalign.__version__ == version("structalign")


def test_the_help_says_in_one_line_what_each_command_is_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    code, said = command("--help")
    assert code == 0
    for name, line in COMMANDS.items():
        assert any(name in row and line in row for row in said.splitlines()), name
