"""The parts of a project's index, read from disk: the clips of its table, and the added videos."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from structalign.errors import UserError
from structalign.library.added import clip_hashes, stale_contents
from structalign.library.chain import Chain
from structalign.library.entries import Entry
from structalign.library.parts import Part, merged
from structalign.library.store import Catalogue, Shard, Snapshot, current_rows, exists
from structalign.library.table import Table, open_table
from structalign.paths import ADDED, COLLECTION
from structalign.search.index import Gallery, Index, read_gallery
from structalign.store import digest, read_json


@dataclass(frozen=True)
class Clips:
    """The stored clips of a project's table.

    captions: of each task's training clips (`search.familiarity.observe`). unstored: the tasks whose training clips are
    not stored for search.
    """

    parts: list[Part]
    captions: list[dict[str, Tensor]]
    unstored: list[str]


def read_clips(chain: Chain, index: Index, split: str | None) -> Clips:
    """The clips of a split, or of all splits. Training clips are stored separately by `dvc repro`.

    The last bits of a score depend on how many videos are compared at once, so those of a split keep evaluation's
    parts. Raises `UserError` if stored training clips are damaged, or if another model encoded them.
    """
    found, known = Clips([], [], []), clip_hashes(chain)
    for number, task in enumerate(chain.tasks, start=1):
        folder = chain.project / COLLECTION / task
        if not (folder / "index.json").exists():
            found.unstored.append(task)
            continue
        about = read_json(folder / "index.json")
        if about["encoder"] != index.entries[number - 1].get("encoder"):
            raise UserError(f"{folder} has clips that were not encoded by the model of {task}: run `dvc repro`.")
        for name, expected in about["files"].items():
            if not (folder / name).exists() or digest(folder / name) != expected:
                raise UserError(f"{folder / name} is missing or damaged: restore it with `dvc checkout {folder}`.")
        found.captions.append(load_file(folder / "captions.safetensors"))
        if split in (None, "train") and (gallery := read_gallery(folder, "train", task, number)):
            found.parts.append(_clips(gallery, "train", known, chain.names))
    for own in ("val", "test"):
        if split in (None, own):
            found.parts.extend(_clips(gallery, own, known, chain.names) for gallery in index.galleries(own))
    return found if split is not None else Clips(merged(found.parts), found.captions, found.unstored)


def _clips(gallery: Gallery, split: str, hashes: Mapping[str, str], names: Mapping[int, str]) -> Part:
    entries = []
    for row in gallery.rows:
        id = hashlib.sha256(f"{hashes[row['id']]} {row['start']} {row['duration']}".encode()).hexdigest()[:16]
        entries.append(
            Entry(
                id=id,
                group=row["id"],
                file=row["file"],
                start=row["start"],
                end=row["start"] + row["duration"],
                times=row["times"],
                duration=row["duration"],
                playing=row.get("playing", "transcode"),
                category=names[row["category"]],
                task=row["task"],
                split=split,
            )
        )
    return Part(gallery, entries)


def read_added(chain: Chain, snapshot: Snapshot, shards: Sequence[Shard]) -> list[Part]:
    """The added videos. Raises `UserError` if an encoder is no longer a checkpoint of this chain."""
    places = {content: sorted(paths) for content, paths in snapshot.catalogue.places().items()}
    if stale_contents(chain, snapshot, shards) & places.keys():
        raise UserError(
            f"{snapshot.path} has videos of a model that was trained again: `structalign add --again` encodes "
            "them with the current model."
        )
    return [
        _added(chain, shard, here, places, snapshot.catalogue)
        for shard, here in zip(shards, current_rows(shards, places), strict=True)
        if here and shard.entry.encoding.task <= len(chain.tasks)  # later tasks come after the requested one
    ]


def _added(chain: Chain, shard: Shard, here: list[int], places: Mapping[str, list[str]], catalogue: Catalogue) -> Part:
    entries, number = [], shard.entry.encoding.task
    for i in here:
        row = shard.rows[i]
        about, paths = catalogue.contents[row.content], places[row.content]
        entries.append(
            Entry(row.id, row.content, paths[0], row.start, row.end, row.times, about.duration, about.playing,
                  about.category, None, "added", paths[1:])
        )  # fmt: skip
    frames = torch.from_numpy(shard.frames[here].astype(np.float32))
    zero_shot = torch.from_numpy(np.array(shard.zero_shot[here]))[:, None]
    gallery = Gallery(chain.tasks[number - 1], number, number, [{}] * len(here), frames, zero_shot)
    return Part(gallery, entries)


def open_added_table(chain: Chain) -> Table | None:
    """The table of the added videos, if there is one and it has none of a later task."""
    added = chain.project / ADDED
    if not exists(added) or (table := open_table(added, "added")) is None:
        return None
    fingerprints = chain.fingerprints()
    for encoding in table.encodings:
        if encoding.task > len(fingerprints) or encoding.fingerprint != fingerprints[encoding.task - 1]:
            return None  # the ordinary way of opening tells what is wrong
    return table


def parts_of_table(chain: Chain, table: Table) -> list[Part]:
    """The added videos of a table, by shard."""
    parts = []
    for number, encoding in enumerate(table.encodings):
        if len(rows := table.row[table.shard == number]):
            frames, nothing = torch.from_numpy(table.frames[number]), torch.empty(0)
            gallery = Gallery(chain.tasks[encoding.task - 1], encoding.task, encoding.task, [], frames, nothing)
            parts.append(Part(gallery, (), None, table.means[number], rows))
    return parts
