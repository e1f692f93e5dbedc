"""Stored video embeddings: written once, after the task of the videos, and never recomputed.

A task's gallery is `work/gallery/<task>/<split>.safetensors`. It has `frames` [V, M, D] float32, the vectors that the
method stores for a video after that task: M = N frames n(f_n), or one vector. It also has `zero_shot` [V, N, D] of
zero-shot CLIP. `<split>.json` has a row per video. `signals.safetensors` has the task's statistics for the ranking
signals. `work/index/<task>.json` lists the galleries of all tasks up to this one, with hashes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from structalign.errors import UserError
from structalign.formats import INDEX_FORMAT, format_of
from structalign.search.signal import states
from structalign.store import damaged, digest, read_json, reading, write_json

SIGNALS = "signals.safetensors"


@dataclass(frozen=True)
class Gallery:
    """The stored videos of task `number` (from 1). Their queries are encoded as task `encoded_as`.

    rows: a dict per video. frames [V, M, D] and zero_shot [V, N, D] are unit vectors.
    """

    task: str
    number: int
    encoded_as: int
    rows: list[dict[str, Any]]
    frames: Tensor
    zero_shot: Tensor


def write_gallery(folder: Path, split: str, rows: list[dict[str, Any]], frames: Tensor, zero_shot: Tensor) -> None:
    """Store the method's vectors [V, M, D] and zero-shot CLIP's raw frames [V, N, D] as unit vectors."""
    tensors = {"frames": F.normalize(frames, dim=-1), "zero_shot": F.normalize(zero_shot, dim=-1)} if rows else {}
    save_file(tensors, folder / f"{split}.safetensors")
    write_json(folder / f"{split}.json", {"videos": rows})


def write_signals(folder: Path, observed: Mapping[str, Tensor]) -> None:
    """Store the statistics of a task (`search.signal.observe`)."""
    save_file(dict(observed), folder / SIGNALS)


def write_index(path: Path, previous: Path, task: str, folder: Path, encoder: str) -> None:
    """Write the previous index with one more entry.

    The entry has the hashes of a task's gallery files and of the checkpoint that encoded them
    (`model.checkpoint.fingerprint`).
    """
    files = {file.name: digest(file) for file in sorted(folder.iterdir())}
    entry = {"task": task, "folder": folder.as_posix(), "files": files, "encoder": encoder}
    write_json(path, {"format": INDEX_FORMAT, "galleries": [*_entries(previous), entry]})


def _entries(path: Path) -> list[dict[str, Any]]:
    """The entries of an index. Raises `UserError` for another format."""
    with reading(path):
        values = read_json(path)
        if format_of(path, values, INDEX_FORMAT) < INDEX_FORMAT:
            raise UserError(f"{path} was written by an older version of structalign: run `dvc repro`.")
        return [{**entry} for entry in values["galleries"]]


def read_gallery(folder: Path, split: str, task: str, number: int) -> Gallery | None:
    """The videos of a split in a task's folder, or None."""
    if not (rows := read_json(folder / f"{split}.json")["videos"]):
        return None
    tensors = _load(folder / f"{split}.safetensors")
    return Gallery(task, number, number, rows, tensors["frames"], tensors["zero_shot"])


def newest_encoder(path: Path) -> str | None:
    """The fingerprint of the checkpoint that encoded the last gallery of an index, or None."""
    return next((str(entry.get("encoder")) for entry in reversed(_entries(path))), None)


class Index:
    """The galleries of all tasks up to one task. All files are verified by hash on opening.

    project: the folder to which entries are relative. states: the state of each signal, from the statistics of all
    tasks.
    """

    def __init__(self, path: Path, project: Path = Path()):
        self.path, self.project = path, project
        with reading(path):
            self.entries = [
                {**entry, "task": str(entry["task"]), "folder": str(entry["folder"]), "files": dict(entry["files"])}
                for entry in _entries(path)
            ]
        for entry in self.entries:
            for name, expected in entry["files"].items():
                file = Path(project, entry["folder"], name)
                if not file.exists():
                    raise UserError(f"{file} is missing: run `dvc checkout {file.parent}` or `dvc repro`.")
                if digest(file) != expected:
                    raise damaged(file, f"it differs from its hash in {path}")
        self.states = states([_load(Path(project, entry["folder"], SIGNALS)) for entry in self.entries])

    def galleries(self, split: str) -> list[Gallery]:
        """The galleries with videos of the split, in the order of tasks."""
        folders = [Path(self.project, entry["folder"]) for entry in self.entries]
        found = [
            read_gallery(folder, split, entry["task"], number)
            for number, (folder, entry) in enumerate(zip(folders, self.entries, strict=True), start=1)
        ]
        return [gallery for gallery in found if gallery is not None]


def _load(path: Path) -> dict[str, Tensor]:
    with reading(path):
        return load_file(path)
