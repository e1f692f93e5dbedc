import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from structalign.costs import measured

MEGABYTE = 2**20


def cost(tmp_path: Path, *command: str) -> dict[str, Any]:
    """What a block costs that runs a command."""
    with measured("frames", "t01", tmp_path / "costs.json"):
        if command:
            subprocess.run(command, check=True)
    found: dict[str, Any] = json.loads((tmp_path / "costs.json").read_text())
    return found


def test_memory_of_a_process_that_the_stage_starts_counts(tmp_path: Path) -> None:
    found = cost(tmp_path, sys.executable, "-c", f"x = b'x' * {300 * MEGABYTE}")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert found["peak_memory_bytes"] >= own + 300 * MEGABYTE


def test_threads_are_those_of_torch(tmp_path: Path) -> None:
    assert cost(tmp_path)["threads"] == torch.get_num_threads()


def test_a_stage_without_torch_names_no_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    assert "threads" not in cost(tmp_path)
