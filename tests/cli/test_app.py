"""The root of the commands."""

from importlib.metadata import version
from pathlib import Path

import pytest
from command import structalign as command

import structalign


def test_the_version_is_that_of_the_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("--version") == (0, f"structalign {version('structalign')}\n")
    assert structalign.__version__ == version("structalign")
