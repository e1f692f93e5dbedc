"""An index of folders of videos, made with a CLIP, without a project, a table or training."""

import re
from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from structalign.collector import paused
from structalign.errors import UserError
from structalign.library.backbones import backbone_hash, backbone_of
from structalign.library.candidates import Asked
from structalign.library.compacting import compact
from structalign.library.engines.scan import Block
from structalign.library.entries import Entries, Entry, Floats
from structalign.library.finding import find, real_folders
from structalign.library.indexing import Summary, update
from structalign.library.places import SAMPLING, place_of, refuse_among_videos
from structalign.library.ranking import Span
from structalign.library.sampling import Sampler
from structalign.library.store import (
    Encoding,
    Shard,
    Snapshot,
    current_rows,
    exists,
    generation_of,
    open_all,
    read,
    writing,
)
from structalign.library.table import open_table
from structalign.library.table_writing import refresh_table
from structalign.library.video_index import VideoIndex
from structalign.model.backbone import Tokeniser, load_clip, pixel_statistics
from structalign.model.device import prepare_device
from structalign.model.video_text import TextEmbeddings
from structalign.search.candidates import Moments
from structalign.search.encoder import Encoder
from structalign.search.similarity_heads import HEADS

KIND = "folders"
RECENT = 256  # sentences whose encoding is cached


class FolderIndex(VideoIndex):
    """An index of folders of videos, ranked by zero-shot CLIP's sentence similarity."""

    def __init__(self, path: Path):
        self.path = path
        self.table = open_table(path) if exists(path) else None
        if self.table is not None:
            self.about, self.generation, self.entries = self.table.about, self.table.generation, self.table.entries
        else:
            self.snapshot, self.shards = open_all(path)
            self.about, self.generation = self.snapshot.about, self.snapshot.generation
            self.entries, self._where = _entries(self.snapshot, self.shards)
        self._encoded: OrderedDict[str, Floats] = OrderedDict()

    @cached_property
    def snapshot(self) -> Snapshot:
        """The catalogue and the shards on disk."""
        return read(self.path)

    @cached_property
    def encoder(self) -> Encoder:
        """The CLIP that made the index, loaded on first use."""
        backbone = self.about["backbone"]
        folder = Path(backbone["folder"])
        if not folder.is_dir() or backbone_hash(folder) != backbone["hash"]:
            raise UserError(
                f"{folder} is no longer the CLIP that made {self.path}: restore {backbone['name']}, or index again."
            )
        device = prepare_device()
        return Encoder(load_clip(folder, device), None, HEADS["mean"], device)

    @cached_property
    def tokeniser(self) -> Tokeniser:
        return Tokeniser(Path(self.about["backbone"]["folder"]))

    @cached_property
    def sampler(self) -> Sampler:
        """The sampler that encodes files for this index."""
        folder = Path(self.about["backbone"]["folder"])
        return Sampler(self.encoder, pixel_statistics(folder))

    @torch.inference_mode()
    def read(self, sentences: Sequence[str]) -> None:
        fresh = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._encoded]
        if not fresh:
            return
        text = self.encoder.zero_shot(self.tokeniser(fresh))
        for sentence, vector in zip(fresh, text.sentence, strict=True):
            self._encoded[sentence] = F.normalize(vector, dim=0).numpy()
        while len(self._encoded) > RECENT:
            self._encoded.popitem(last=False)

    @torch.inference_mode()
    def _scores(self, sentence: str) -> tuple[Floats, Floats, Span]:
        self.read([sentence])
        vector = self._encoded[sentence]
        self._encoded.move_to_end(sentence)
        cosines = self.entries.means @ vector
        return cosines, cosines, self._span(vector)

    def _span(self, vector: Floats) -> Span:
        def span(place: int) -> tuple[float, float, float]:
            entry = self.entries.rows[place]
            best = int(np.argmax(self._frames(place)[: len(entry.times)] @ vector))
            return entry.start, entry.end, entry.times[best]

        return span

    @property
    def weights(self) -> dict[str, float]:
        return {"words": 0.0, "sentence": 1.0}

    @property
    def _numbers(self) -> int:
        return self.entries.means.size

    def _blocks(self) -> list[Block]:
        if self.table is not None:
            return [Block(0, part) for part in self.table.means]
        assert isinstance(self.entries.means, np.ndarray)
        return [Block(0, self.entries.means)]

    @property
    def _known(self) -> tuple[dict[int, Moments], list[int]] | None:
        return None if self.table is None else (self.table.moments, self.table.sample)

    @torch.inference_mode()
    def _asked(self, sentence: str) -> Asked:
        self.read([sentence])
        vector = self._encoded[sentence]

        def compare(places: Sequence[int]) -> tuple[dict[str, Floats], Span]:
            return {"sentence": self.entries.means[list(places)] @ vector}, self._span(vector)

        def of_sample() -> dict[str, Floats]:
            return {"sentence": self.finder.sample[1] @ vector}

        return Asked(vector[None], None, [0.0], compare, of_sample)

    def _explained(self, sentence: str, place: int) -> tuple[TextEmbeddings, Tensor]:
        frames = torch.from_numpy(self._frames(place)[: len(self.entries.rows[place].times)])
        return self.encoder.zero_shot(self.tokeniser([sentence])), frames

    def _frames(self, place: int) -> Floats:
        """The stored frames [N, D] of a segment."""
        if self.table is not None:
            return self.table.vectors_at(place).astype(np.float32)
        shard, row = self._where[place]
        found: Floats = shard.frames[row].astype(np.float32)
        return found

    def _name(self, path: Path) -> str:
        return str(path.resolve())

    def shown(self, file: str) -> str:
        """The path relative to its folder. With several folders, the folder's name comes first."""
        folders = [Path(folder) for folder in self.about["folders"]]
        for folder in folders:
            if folder in Path(file).parents:
                below = Path(file).relative_to(folder)
                return str(below if len(folders) == 1 else folder.name / below)
        return Path(file).name

    def _readable(self, file: str) -> Path | None:
        path = Path(file)
        inside = any(Path(folder) in path.parents for folder in self.about["folders"])
        return path if inside and path.resolve() == path and path.is_file() else None

    def reopened(self) -> "FolderIndex":
        index = FolderIndex(self.path)
        if index.about["backbone"] == self.about["backbone"] and "encoder" in self.__dict__:
            index.encoder, index.tokeniser = self.encoder, self.tokeniser
        return index

    def add(self, paths: Sequence[str | Path]) -> Summary:
        """Add files, or the videos of folders, to the index on disk, and update what it has."""
        return refresh(self, [Path(path) for path in paths])

    def sentences(self, count: int) -> list[tuple[str, str | None]]:
        """The examples, and the words of file names, since an index of folders has no captions."""
        stems = sorted({Path(entry.file).stem for entry in self.entries.rows})
        texts = [*self.examples(), *(" ".join(re.findall(r"[^\W\d_]+", stem)) for stem in stems)]
        kept = list(dict.fromkeys(text[:100] for text in texts if text))
        return [(text, None) for text in kept[:: max(1, -(-len(kept) // count))][:count]]

    @property
    def written(self) -> Path:
        return self.path

    def newer(self) -> bool:
        return generation_of(self.path) != self.generation

    def compact(self) -> int:
        """Erase the vectors of missing files. Returns the number of freed bytes."""
        with writing(self.path, self.about) as writer:
            return compact(writer)


@paused()
def _entries(snapshot: Snapshot, shards: Sequence[Shard]) -> tuple[Entries, list[tuple[Shard, int]]]:
    """The entries that can be found, and the shard and row of each entry's vectors."""
    places = {content: sorted(paths) for content, paths in snapshot.catalogue.places().items()}
    rows, where, means = list[Entry](), list[tuple[Shard, int]](), list[Floats]()
    for shard, here in zip(shards, current_rows(shards, places), strict=True):
        for i in here:
            row = shard.rows[i]
            paths, about = places[row.content], snapshot.catalogue.contents[row.content]
            rows.append(
                Entry(row.id, row.content, paths[0], row.start, row.end, row.times, about.duration, about.playing,
                      about.category, about.task, None, paths[1:])
            )  # fmt: skip
            where.append((shard, i))
        means.append(shard.means if len(here) == len(shard.rows) else shard.means[here])
    joined = np.concatenate(means) if means else np.zeros((0, 1), np.float32)
    return Entries(rows, joined), where


def refresh(index: FolderIndex, more: Sequence[Path] = ()) -> Summary:
    """Update the index on disk for its folders and for `more` folders."""
    about = dict(index.about)
    with writing(index.path, about) as writer:
        about = dict(writer.snapshot.about)
        folders = sorted({*about["folders"], *(str(path.resolve()) for path in more)})
        if folders != about["folders"]:
            about["folders"] = folders
            writer.commit(writer.snapshot.catalogue, writer.snapshot.shards, about)
        found = find([Path(folder) for folder in folders])
        summary = update(writer, found, index.sampler, Encoding(about["backbone"]["hash"]))
        refresh_table(writer)
        return summary


def begin(folders: Sequence[Path], backbone: str, place: Path | None = None) -> Path:
    """Open the index of the folders and this CLIP at `place` or in the user's data folder, or make an empty one.

    Raises `UserError` for a path that is not a folder, a CLIP that cannot be found, or an index of another CLIP.
    """
    real = real_folders(folders)
    clip = backbone_of(backbone)
    hashed = backbone_hash(clip)
    path = place_of(real, hashed) if place is None else place
    refuse_among_videos(path, real)
    about = {
        "kind": KIND,
        "folders": [str(folder) for folder in real],
        "backbone": {"name": backbone, "folder": str(clip), "hash": hashed},
        "sampling": SAMPLING,
    }
    if path.exists() and not exists(path) and any(path.iterdir()):
        raise UserError(f"{path} has other files: name an empty or a new folder.")
    with writing(path, about) as writer:
        made = writer.snapshot.about
        if made.get("kind") != KIND:
            raise UserError(f"{path} is not an index of folders: choose another place with --index.")
        if made["backbone"]["hash"] != hashed or made["sampling"] != SAMPLING:
            raise UserError(
                f"{path} was made with {made['backbone']['name']}, not with this {backbone}: choose another place with "
                "--index."
            )
        if made["backbone"] != about["backbone"]:  # the same CLIP in another folder
            writer.commit(writer.snapshot.catalogue, writer.snapshot.shards, {**made, "backbone": about["backbone"]})
    return path
