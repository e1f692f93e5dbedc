"""Stored video embeddings: written once, after the task that brought the videos, and never recomputed.

A task's gallery is `work/gallery/<task>/<split>.safetensors` with `frames` [V, M, D] float32, what the method stores
of a video after that task (its M = N frames n(f_n), or one vector), and `frozen` [V, N, D] of frozen CLIP, beside
`<split>.json` with a row a video. `work/index/<task>.json` lists the galleries of all tasks up to it with their hashes,
so that a changed or missing one is noticed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from structalign.errors import UserError
from structalign.model.video_text import TextEmbeddings, VideoText
from structalign.retrieval.comparison import FUSED, Comparison
from structalign.retrieval.similarity import best_frame, best_words, cosines, mean_of_best
from structalign.store import digest, read_json, write_json

# a tile: with captions of 32 tokens its word-frame cosines are 64 MiB of float32
QUERIES = 64
VECTORS = 8192  # stored vectors of videos


@dataclass(frozen=True)
class Gallery:
    """rows: a dict a video; frames: [V, M, D] and frozen: [V, N, D] unit vectors."""

    task: str
    rows: list[dict[str, Any]]
    frames: Tensor
    frozen: Tensor


def write_gallery(folder: Path, split: str, rows: list[dict[str, Any]], frames: Tensor, frozen: Tensor) -> None:
    """Store the method's vectors [V, M, D] and frozen CLIP's raw frames [V, N, D] as unit vectors."""
    tensors = {"frames": F.normalize(frames, dim=-1), "frozen": F.normalize(frozen, dim=-1)} if rows else {}
    save_file(tensors, folder / f"{split}.safetensors")
    write_json(folder / f"{split}.json", {"videos": rows})


def write_index(path: Path, previous: Path, task: str, folder: Path, encoder: str) -> None:
    """The previous index and one more entry: the hashes of a task's gallery files, and of the checkpoint that encoded
    them (`model.checkpoint.fingerprint`)."""
    files = {file.name: digest(file) for file in sorted(folder.iterdir())}
    entry = {"task": task, "folder": folder.as_posix(), "files": files, "encoder": encoder}
    write_json(path, {"galleries": [*read_json(previous)["galleries"], entry]})


def read_galleries(index: Path, split: str) -> list[Gallery]:
    """Every gallery of an index, in the order of tasks, each file checked against its hash."""
    galleries = []
    for entry in read_json(index)["galleries"]:
        folder = Path(entry["folder"])
        for name, expected in entry["files"].items():
            if not (folder / name).exists() or digest(folder / name) != expected:
                raise UserError(
                    f"{folder / name} is missing or not what {index} names: "
                    f"`dvc checkout {folder}` (or `dvc pull {folder}`) brings it back."
                )
        rows = read_json(folder / f"{split}.json")["videos"]
        tensors = load_file(folder / f"{split}.safetensors")
        if rows:
            galleries.append(Gallery(entry["task"], rows, tensors["frames"], tensors["frozen"]))
    return galleries


def score(
    text: TextEmbeddings, frames: Tensor, comparison: Comparison = FUSED, model: VideoText | None = None
) -> dict[str, Tensor]:
    """The comparison's similarities and `best_frame`, each [Q, V], in tiles of bounded memory.

    frames: [V, M, D] as stored, memory-mapped or not; model: what a comparison with learned pooling needs. Tiles are of
    one size: a query's scores are the same, to the bit, among any multiple of QUERIES others.
    """
    parts = torch.split(frames, max(1, VECTORS // max(1, frames.shape[1])))
    rows = []
    for start in range(0, len(text.mask), QUERIES):
        some = text[slice(start, start + QUERIES)]
        rows.append(side_by_side([_tile(some, part, comparison, model) for part in parts]))
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def _tile(text: TextEmbeddings, frames: Tensor, comparison: Comparison, model: VideoText | None) -> dict[str, Tensor]:
    used = text.mask.any(dim=0)
    used[0] = True  # a caption may have no word at all
    mask = text.mask[:, used]
    cosine = cosines(text.words[:, used], mask, frames)
    best = best_words(cosine)
    found = {"words": mean_of_best(cosine, best, mask)} if comparison.words else {}
    found["sentence"] = comparison.sentence(model, text.sentence, frames)
    return found | {"best_frame": best_frame(best).to(torch.uint8)}


def side_by_side(blocks: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Join blocks of columns by name: [Q, V_p] each -> [Q, V]."""
    return {name: torch.cat([block[name] for block in blocks], dim=1) for name in blocks[0]}
