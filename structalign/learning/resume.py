"""Progress inside a task, saved regularly, so that an interrupted run can be resumed.

Random numbers of a step are keyed by its number. So it is enough to save the trained tensors, the optimizer's and the
method's state, and the rows of the log.
"""

import json
import os
import time
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from structalign.errors import UserError
from structalign.item_cache import load_whole
from structalign.store import whole
from structalign.text import shortened

SECONDS = 60.0

LogRow = dict[str, float]


class Progress:
    """The progress of one task in `folder`/progress.safetensors. Without a folder nothing is saved.

    carried: other tensors that steps change in place, by name.
    """

    def __init__(self, folder: Path | None, optimizer: torch.optim.Optimizer, carried: dict[str, Tensor]):
        self._file = folder and folder / "progress.safetensors"
        self._optimizer = optimizer
        self._carried = carried
        self._trained = [p for group in optimizer.param_groups for p in group["params"]]
        self._every = _seconds()
        self._saved = time.monotonic()

    @torch.no_grad()
    def resume(self) -> list[LogRow]:
        """Restore model and optimizer from the saved run. Returns the log rows of its steps, if there are any."""
        saved = load_whole(self._file, _read) if self._file else None
        if saved is None:
            return []
        rows, tensors = saved
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            number, _, key = name.partition(".")
            if number == "carried":
                self._carried[key].copy_(tensor)
            elif key == "weight":
                self._trained[int(number)].copy_(tensor)
            else:
                state.setdefault(int(number), {})[key] = tensor.clone()
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": state, "param_groups": groups})
        return rows

    def due(self) -> bool:
        """Whether it is time to save again."""
        return self._file is not None and time.monotonic() - self._saved >= self._every

    def save(self, rows: list[LogRow]) -> None:
        """Save after a step. rows: log rows of all steps so far."""
        assert self._file is not None
        tensors = {f"{number}.weight": p.detach() for number, p in enumerate(self._trained)}
        for number, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"{number}.{key}": value for key, value in state.items()}
        tensors |= {f"carried.{name}": tensor for name, tensor in self._carried.items()}
        with whole(self._file) as part:
            save_file(tensors, part, {"rows": json.dumps(rows)})
        self._saved = time.monotonic()


def _seconds() -> float:
    """Seconds between two saves (STRUCTALIGN_SAVE_SECONDS)."""
    text = os.environ.get("STRUCTALIGN_SAVE_SECONDS") or str(SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UserError(
            f"STRUCTALIGN_SAVE_SECONDS={shortened(text)} is not a number of seconds: set it to 0 or more, or unset it."
        )
    return seconds


def _read(path: Path) -> tuple[list[LogRow], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        rows: list[LogRow] = json.loads(file.metadata()["rows"])
        return rows, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is not a dict
