"""Cached features of a split of a task: hidden states after the frozen prefix, and zero-shot CLIP's embeddings.

A folder has `index.json` and one safetensors file per view (`centre`, `view00`, …) with `states` [V, N, T, W] float16.
The centre view also has `frames` [V, N, D] float32 of zero-shot CLIP. For training there is `captions.safetensors` with
token ids.
Letters: V videos, N frames, T tokens of a frame, W width, D embedding, R captions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import pad

from structalign.model.backbone import Tokens
from structalign.store import read_json, read_rows, reading, write_json

CENTRE = "centre"


def view_name(view: int) -> str:
    """File name of the seeded training view `view` (from 0)."""
    return f"view{view:02d}"


@dataclass(frozen=True)
class Captions:
    """tokens: R captions. video: [R] int64, the row of a caption's video in the split. category: [R] int64."""

    tokens: Tokens
    video: Tensor
    category: Tensor


class VideoSource(Protocol):
    """The interface of a split's videos for training and embedding.

    `views` is the number of training views per video, or 0 if each visit gets a new crop.
    """

    @property
    def views(self) -> int: ...
    def __len__(self) -> int: ...
    def read(self, video: int, view: str = CENTRE) -> Tensor: ...
    def captions(self) -> Captions: ...


@runtime_checkable
class Stored(Protocol):
    """A source whose videos are stored on disk in half precision."""

    def stored(self, video: int, view: str = CENTRE) -> Tensor: ...


class Features:
    """Reads a split's features. States are memory-mapped and read one video at a time."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.rows = read_rows(folder / "index.json", "videos", "id")
        with reading(folder / "index.json"):
            index = read_json(folder / "index.json")
            self.views = int(index["views"])
        self._open: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def _slice(self, view: str, name: str) -> Any:
        if view not in self._open:
            self._open[view] = safe_open(self.folder / f"{view}.safetensors", framework="pt")
        return self._open[view].get_slice(name)

    def read(self, video: int, view: str = CENTRE) -> Tensor:
        """[N, T, W] float32 of one video."""
        return self.stored(video, view).float()

    def stored(self, video: int, view: str = CENTRE) -> Tensor:
        """The same in float16, as stored."""
        with reading(self.folder / f"{view}.safetensors"):
            row: Tensor = self._slice(view, "states")[video]
        return row

    def zero_shot_frames(self) -> Tensor:
        """[V, N, D] raw frame embeddings of zero-shot CLIP, of the centre views."""
        return load_tensor(self.folder / f"{CENTRE}.safetensors", "frames")

    def captions(self) -> Captions:
        return read_captions(self.folder)


class JoinedFeatures:
    """Several splits read as one, for joint training."""

    def __init__(self, parts: Sequence[VideoSource]):
        self.parts = [part for part in parts if len(part)]
        self.views = min(part.views for part in self.parts)
        self._place = [(part, i) for part in self.parts for i in range(len(part))]

    def __len__(self) -> int:
        return len(self._place)

    def read(self, video: int, view: str = CENTRE) -> Tensor:
        part, row = self._place[video]
        return part.read(row, view)

    def stored(self, video: int, view: str = CENTRE) -> Tensor:
        part, row = self._place[video]
        return part.stored(row, view) if isinstance(part, Stored) else part.read(row, view)

    def captions(self) -> Captions:
        parts = [part.captions() for part in self.parts]
        length = max(part.tokens.ids.shape[1] for part in parts)
        end = int(parts[0].tokens.ids[0, parts[0].tokens.eot[0]])
        first = torch.tensor([0, *(len(part) for part in self.parts)]).cumsum(dim=0).tolist()
        ids = [pad(part.tokens.ids, (0, length - part.tokens.ids.shape[1]), value=end) for part in parts]
        tokens = Tokens(torch.cat(ids), torch.cat([part.tokens.eot for part in parts]))
        video = torch.cat([part.video + start for part, start in zip(parts, first, strict=False)])
        return Captions(tokens, video, torch.cat([part.category for part in parts]))


def load_tensor(path: Path, name: str) -> Tensor:
    """One tensor of a safetensors file."""
    with reading(path), safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
        return tensor


def write_view(folder: Path, view: str, states: list[Tensor], frozen: list[Tensor]) -> None:
    """Write one view of all videos of a split.

    `states`: [N, T, W] each. `frozen`: zero-shot CLIP's frame embeddings [N, D] each, only for the centre view.
    """
    tensors = {}
    if states:
        tensors["states"] = torch.stack(states).half()
    if frozen:
        tensors["frames"] = torch.stack(frozen).float()
    save_file(tensors, folder / f"{view}.safetensors")


def write_captions(folder: Path, captions: Captions) -> None:
    """Write the training captions of a split."""
    tokens = captions.tokens
    save_file(
        {"ids": tokens.ids, "eot": tokens.eot, "video": captions.video, "category": captions.category},
        folder / "captions.safetensors",
    )


def read_captions(folder: Path) -> Captions:
    """The training captions of a split."""
    path = folder / "captions.safetensors"
    with reading(path):
        tensors = load_file(path)
        return Captions(Tokens(tensors["ids"], tensors["eot"]), tensors["video"], tensors["category"])


def write_index(folder: Path, rows: list[dict[str, Any]], views: int, cut: int) -> None:
    """Write the videos of the rows of all views, and the number of truncated captions."""
    write_json(folder / "index.json", {"videos": rows, "views": views, "captions_cut": cut})
