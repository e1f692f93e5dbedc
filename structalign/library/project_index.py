"""The collection of a project: all readable clips of its table, and the added videos.

A video is compared with queries that are encoded as the task whose encoder stored it.
Letters: V clips and segments, M stored vectors of one, L words, D embedding.
"""

import csv
import hashlib
import math
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from structalign.collector import paused
from structalign.data.collection import why_absent
from structalign.data.tasks import TASKS
from structalign.errors import UserError
from structalign.library.added import add, clip_hashes, stale_contents
from structalign.library.candidates import Asked
from structalign.library.chain import Chain, other_backbone, read_chain
from structalign.library.engines.scan import Block
from structalign.library.indexing import Summary
from structalign.library.ranking import Entries, Entry, Floats, Joined, Span, Weak
from structalign.library.sampling import Sampler
from structalign.library.segments import spread
from structalign.library.store import Catalogue, Shard, Snapshot, current_rows, exists, generation_of, open_all
from structalign.library.table import Table, open_table
from structalign.library.video_index import VideoIndex
from structalign.model.backbone import Tokeniser
from structalign.model.checkpoint import fingerprint
from structalign.model.video_text import TextEmbeddings
from structalign.params.ranking import Ranking
from structalign.params.reading import PARAMS
from structalign.params.reading import read as read_params
from structalign.paths import ADDED, CHECKPOINTS, COLLECTION, DATA, INDEXES
from structalign.search.candidates import Moments, frames_of, mean_words, moments, sampled, unit_sentences
from structalign.search.familiarity import familiarity
from structalign.search.fusion import fuse
from structalign.search.index import Gallery, Index, read_gallery
from structalign.search.retriever import Retriever, load
from structalign.search.scoring import QUERIES, Matrices, score, side_by_side
from structalign.search.signal import Comparison, prepared, signals
from structalign.search.similarity import video_vectors
from structalign.search.similarity_heads import SimilarityHead
from structalign.store import digest, read_json

EXAMPLES = 6
RECENT = 64  # sentences whose encodings are cached
_TILE = torch.zeros(QUERIES, dtype=torch.int64)  # one sentence, repeated as often as evaluation compares at a time


@dataclass(frozen=True)
class _Part:
    """Videos stored by one encoder. number: its task, from 1.

    means: [V, D] mapped vectors of videos in a table. Their frames [V', N, D] are mapped, too, and of these `rows` [V].
    """

    gallery: Gallery
    entries: Sequence[Entry]
    vectors: Tensor | None = None
    means: Floats | None = None
    rows: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        return len(self.entries) if self.rows is None else len(self.rows)

    def frames(self, places: Sequence[int]) -> Tensor:
        """The stored vectors [len(places), M, D] of some videos."""
        chosen = places if self.rows is None else self.rows[list(places)].tolist()
        return frames_of(self.gallery.frames, chosen)

    def prepared(self, head: SimilarityHead) -> "_Part":
        """The same, prepared for single queries (`search.signal.prepared`)."""
        if self.vectors is not None:
            return self
        whole = self.gallery.frames if self.rows is None else self.frames(range(len(self)))
        videos, vectors = prepared(whole, head)
        return replace(self, gallery=replace(self.gallery, frames=videos), vectors=vectors, rows=None)


class ProjectIndex(VideoIndex):
    """The stored videos of a project, up to the task `after`. With `split`, only its clips and no added videos."""

    @paused()
    def __init__(self, project: Path, after: str | None = None, split: str | None = None, chain: Chain | None = None):
        self.path, self.after, self.split = project, after, split
        self._stamps = _stamps(project)  # before reading, so that a later change counts as newer
        self.chain = read_chain(project, after) if chain is None else chain
        self._index = Index(self.chain.index, project)
        notes = [note] if (note := other_backbone(self.chain)) else []
        self.table = self._table_of_added() if split is None else None
        self.added: Snapshot | None = None
        shards: list[Shard] = []
        if exists(project / ADDED) and self.table is None:
            self.added, shards = open_all(project / ADDED)
        self.generation = self.table.generation if self.table else self.added.generation if self.added else 0
        self.unstored: list[str] = []
        self._captions: list[dict[str, torch.Tensor]] = []
        parts = [*self._own()]
        if split is None:
            parts = _by_task(parts)
        if self.unstored and split in (None, "train"):
            notes.append(
                f"the training clips of {', '.join(self.unstored)} are not stored for search: run `dvc repro`."
            )
        if any("sentences" not in captions for captions in self._captions):
            notes.append("an older version stored the training captions, so no match is called weak: run `dvc repro`.")
            self._captions = []
        self.note = " ".join(notes) or None
        if split is None and self.added is not None:
            parts += self._added(self.added, shards)
        own = [entry for part in parts for entry in part.entries]
        if self.table is not None:
            parts += self._stored(self.table)
        self._parts = parts
        if not parts:
            what = f"of split {split}" if split else "at all"
            raise UserError(f"{self.chain.index} names no stored videos {what}: add some and run `dvc repro`.")
        means = [video_vectors(part.gallery.zero_shot) for part in parts if part.means is None]
        whole = torch.cat(means) if means else torch.zeros(0, 1)
        self._familiar = familiarity(self._captions, whole[[entry.split != "added" for entry in own]])
        self.entries = Entries(own, whole.numpy())
        if self.table is not None:
            self.entries = Joined([self.entries, self.table.entries] if own else [self.table.entries])
        self._firsts = [0, *accumulate(len(part) for part in parts)][:-1]
        self._weights = read_params("ranking", Ranking, project / PARAMS).weights()
        self._encoded: OrderedDict[str, tuple[dict[int, TextEmbeddings], TextEmbeddings | None]] = OrderedDict()

    @cached_property
    def retriever(self) -> Retriever:
        """The newest checkpoint, loaded on first use. Raises `UserError` if it is another one by then."""
        found = load(self.chain.checkpoint)
        if fingerprint(self.chain.checkpoint) != self.chain.newest:
            raise UserError(f"{self.chain.checkpoint} has changed since its index was opened: open the index again.")
        return found

    @property
    def weights(self) -> Mapping[str, float]:
        return self._weights

    @property
    def tokeniser(self) -> Tokeniser:
        return self.retriever.tokeniser

    @cached_property
    def sampler(self) -> Sampler:
        """The sampler that encodes files with the newest checkpoint."""
        return Sampler(self.retriever.encoder, self.retriever.pixels)

    def _own(self) -> list[_Part]:
        """The clips of the table. Training clips are stored separately by `dvc repro`."""
        parts = []
        known = clip_hashes(self.chain)
        for number, task in enumerate(self.chain.tasks, start=1):
            folder = self.path / COLLECTION / task
            if not (folder / "index.json").exists():
                self.unstored.append(task)
                continue
            about = read_json(folder / "index.json")
            if about["encoder"] != self._index.entries[number - 1].get("encoder"):
                raise UserError(f"{folder} has clips that were not encoded by the model of {task}: run `dvc repro`.")
            for name, expected in about["files"].items():
                if not (folder / name).exists() or digest(folder / name) != expected:
                    raise UserError(f"{folder / name} is missing or damaged: restore it with `dvc checkout {folder}`.")
            self._captions.append(load_file(folder / "captions.safetensors"))
            if self.split in (None, "train") and (gallery := read_gallery(folder, "train", task, number)):
                parts.append(self._part(gallery, "train", known))
        for split in ("val", "test"):
            if self.split in (None, split):
                parts += [self._part(gallery, split, known) for gallery in self._index.galleries(split)]
        return parts

    def _part(self, gallery: Gallery, split: str, hashes: Mapping[str, str]) -> _Part:
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
                    category=self.chain.names[row["category"]],
                    task=row["task"],
                    split=split,
                )
            )
        return _Part(gallery, entries)

    def _added(self, snapshot: Snapshot, shards: Sequence[Shard]) -> list[_Part]:
        """The added videos. Raises `UserError` if an encoder is no longer a checkpoint of this chain."""
        places = {content: sorted(paths) for content, paths in snapshot.catalogue.places().items()}
        if stale_contents(self.chain, snapshot, shards) & places.keys():
            raise UserError(
                f"{snapshot.path} has videos of a model that was trained again: `structalign add --again` encodes "
                "them with the current model."
            )
        return [
            self._added_part(shard, here, places, snapshot.catalogue, shard.entry.encoding.task)
            for shard, here in zip(shards, current_rows(shards, places), strict=True)
            if here and shard.entry.encoding.task <= len(self.chain.tasks)  # later tasks come after the requested one
        ]

    def _table_of_added(self) -> Table | None:
        """The table of the added videos, if there is one and it has none of a later task."""
        if not exists(self.path / ADDED) or (table := open_table(self.path / ADDED, "added")) is None:
            return None
        fingerprints = self.chain.fingerprints()
        for encoding in table.encodings:
            if encoding.task > len(fingerprints) or encoding.fingerprint != fingerprints[encoding.task - 1]:
                return None  # the ordinary way of opening tells what is wrong
        return table

    def _stored(self, table: Table) -> list[_Part]:
        """The added videos of a table, by shard."""
        parts = []
        for number, encoding in enumerate(table.encodings):
            if len(rows := table.row[table.shard == number]):
                frames, nothing = torch.from_numpy(table.frames[number]), torch.empty(0)
                gallery = Gallery(
                    self.chain.tasks[encoding.task - 1], encoding.task, encoding.task, [], frames, nothing
                )
                parts.append(_Part(gallery, (), None, table.means[number], rows))
        return parts

    def _added_part(
        self, shard: Shard, here: list[int], places: Mapping[str, list[str]], catalogue: Catalogue, number: int
    ) -> _Part:
        entries = []
        for i in here:
            row = shard.rows[i]
            about, paths = catalogue.contents[row.content], places[row.content]
            entries.append(
                Entry(row.id, row.content, paths[0], row.start, row.end, row.times, about.duration, about.playing,
                      about.category, None, "added", paths[1:])
            )  # fmt: skip
        frames = torch.from_numpy(shard.frames[here].astype(np.float32))
        zero_shot = torch.from_numpy(np.array(shard.zero_shot[here]))[:, None]
        gallery = Gallery(self.chain.tasks[number - 1], number, number, [{}] * len(here), frames, zero_shot)
        return _Part(gallery, entries)

    def _texts(self, sentence: str) -> tuple[dict[int, TextEmbeddings], TextEmbeddings | None]:
        """The sentence encoded as each task, and by zero-shot CLIP if needed."""
        self.read([sentence])
        self._encoded.move_to_end(sentence)
        return self._encoded[sentence]

    @torch.inference_mode()
    def read(self, sentences: Sequence[str]) -> None:
        fresh = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._encoded]
        model = self.retriever.encoder.model
        alone = (
            model is not None and model.config.words == "with_padding"
        )  # then a batch's longest sentence changes the others
        for part in [[sentence] for sentence in fresh] if alone else [fresh] * bool(fresh):
            self._read(part)
        while len(self._encoded) > RECENT:
            self._encoded.popitem(last=False)

    def _read(self, sentences: list[str]) -> None:
        """Encode sentences together. Each is cut to its length, so that its encoding does not depend on the others."""
        encoder, tokens = self.retriever.encoder, self.retriever.tokeniser(sentences)
        numbers = sorted({part.gallery.encoded_as for part in self._parts})
        plain = encoder.zero_shot(tokens) if encoder.model is None or self._needs_zero_shot else None
        texts = encoder.as_each(tokens, numbers, plain) if plain is not None else encoder.as_tasks(tokens, numbers)
        for row, sentence in enumerate(sentences):
            length = int(tokens.eot[row]) + 1

            def own(text: TextEmbeddings, row: int = row, length: int = length) -> TextEmbeddings:
                one = text[row : row + 1]
                ids = None if one.ids is None else one.ids[:, :length]
                return TextEmbeddings(one.words[:, :length], one.mask[:, :length], one.sentence, ids)

            by_task = dict(zip(numbers, map(own, texts), strict=True))
            self._encoded[sentence] = by_task, None if plain is None else own(plain)

    @property
    def _needs_zero_shot(self) -> bool:
        return bool(self._states) or self._familiar is not None

    def _weak(self, sentence: str) -> Weak:
        """Whether matches are weak: all or none, except that captions tell nothing about added videos."""
        _, plain = self._texts(sentence)
        if self._familiar is None or plain is None:
            return super()._weak(sentence)
        weak = bool(self._familiar.weak(plain)[0])
        return lambda place: None if self.entries.rows[place].split == "added" else weak

    @property
    def _states(self) -> Mapping[str, Any]:
        """The states of the signals that are used."""
        return {name: state for name, state in self._index.states.items() if state is not None and self.weights[name]}

    @torch.inference_mode()
    def _matrices(self, sentence: str) -> Matrices:
        """Each signal's row [1, V], and each video's best frame."""
        texts, plain = self._texts(sentence)
        encoder, states = self.retriever.encoder, self._states
        found = []
        self._parts = [part if part.means is not None else part.prepared(encoder.head) for part in self._parts]
        for stored in self._parts:
            part = stored.prepared(encoder.head)  # of a table: each time, since it may be large
            gallery = part.gallery
            text, zero_shot = texts[gallery.encoded_as], plain or texts[gallery.encoded_as]
            if self.split is not None:  # the last bits of a matrix product depend on its number of rows
                text, zero_shot = text[_TILE], zero_shot[_TILE]
            comparison = Comparison(
                text, zero_shot, gallery.frames, encoder.head, encoder.model, gallery.number, part.vectors
            )
            found.append(score(comparison, states, shared=bool(states)))
        return {name: matrix[:1] for name, matrix in side_by_side(found).items()}

    def _explained(self, sentence: str, place: int) -> tuple[TextEmbeddings, Tensor]:
        texts, _ = self._texts(sentence)
        part, row = self._part_of(place)
        return texts[part.gallery.encoded_as], part.frames([row])[0]

    def _scores(self, sentence: str) -> tuple[Floats, Floats, Span]:
        found = {name: matrix.numpy() for name, matrix in self._matrices(sentence).items()}
        best = found.pop("best_frame")[0]
        scores = fuse(found, self.weights)[0]
        similar = [found[name][0] for name in ("words", "sentence") if name in found]

        def span(place: int) -> tuple[float, float, float]:
            return self._span(place, int(best[place]))

        return scores, np.mean(similar, axis=0), span

    def _span(self, place: int, frame: int) -> tuple[float, float, float]:
        """Start, end and time of the best `frame` of the segment at a position."""
        entry, (part, _) = self.entries.rows[place], self._part_of(place)
        stored = part.gallery.frames.shape[1]
        at = spread(entry.times, stored)[frame]
        if entry.split == "added" or stored == 1:
            return entry.start, entry.end, at
        share = entry.duration / stored
        return entry.start + frame * share, entry.start + frame * share + share, at

    def _part_of(self, place: int) -> tuple[_Part, int]:
        """The part of the segment at a position, and its position in the part."""
        number = bisect_right(self._firsts, place) - 1
        return self._parts[number], place - self._firsts[number]

    @property
    def _pushed(self) -> Path | None:
        return self.path if self.split is None else None

    @property
    def _has_vectors(self) -> bool:
        return self.retriever.encoder.head.vectors is not None

    @property
    def _numbers(self) -> int:
        if self.split is not None:  # evaluation's gallery is always ranked exactly
            return 0
        return sum(math.prod(part.gallery.frames.shape) for part in self._parts)

    @cached_property
    def _tasks(self) -> list[int]:
        """The number of each task with stored videos."""
        return sorted({part.gallery.number for part in self._parts})

    def _blocks(self) -> list[Block]:
        tasks, of_video = self._tasks, self.retriever.encoder.head.vectors
        assert of_video is not None
        return [
            Block(
                tasks.index(part.gallery.number),
                of_video(part.gallery.frames).numpy() if part.means is None else part.means,
            )
            for part in self._parts
        ]

    @property
    def _known(self) -> tuple[dict[int, Moments], list[int]] | None:
        if self.table is None:
            return None
        blocks = self._blocks()[: len(self._parts) - len(self._stored(self.table))]
        found = {self._tasks.index(task): own for task, own in self.table.moments.items() if task in self._tasks}
        for block in blocks:
            own = moments(block.vectors)
            found[block.task] = found[block.task] + own if block.task in found else own
        first = sum(len(block.vectors) for block in blocks)
        places = [*range(first), *(first + place for place in self.table.sample)]
        return found, sorted(places[i] for i in sampled(self.entries.rows[place].id for place in places))

    @torch.inference_mode()
    def _asked(self, sentence: str) -> Asked:
        texts, _ = self._texts(sentence)
        tasks = self._tasks
        by_task = [texts[number] for number in tasks]
        words = mean_words(by_task) if self.retriever.encoder.head.words else None

        def compare(places: Sequence[int]) -> tuple[dict[str, Floats], Span]:
            return self._compare(sentence, places)

        def of_sample() -> dict[str, Floats]:
            return self._signals(sentence, self._sample)[0]

        bonus = [self._bonus(sentence, number) if self._states else 0.0 for number in tasks]
        return Asked(unit_sentences(by_task), words, bonus, compare, of_sample)

    @cached_property
    def _sample(self) -> list[tuple[list[int], _Part]]:
        """The sampled segments by task, ready to be compared."""
        head, (places, _, _) = self.retriever.encoder.head, self.finder.sample
        return [(here, part.prepared(head)) for here, part in self._some(places)]

    def _some(self, places: Sequence[int]) -> list[tuple[list[int], _Part]]:
        """The segments at some ascending positions, by task, each with its position in `places`."""
        found: dict[tuple[int, ...], tuple[list[int], list[Tensor], Gallery]] = {}
        for first, part in zip(self._firsts, self._parts, strict=True):
            begin, end = bisect_left(places, first), bisect_left(places, first + len(part))
            if begin < end:
                frames = part.frames([place - first for place in places[begin:end]])
                alike = part.gallery.number, *frames.shape[1:]
                here, parts, _ = found.setdefault(alike, ([], [], part.gallery))
                here += range(begin, end)
                parts.append(frames)
        return [
            (here, _Part(replace(gallery, frames=torch.cat(frames)), ())) for here, frames, gallery in found.values()
        ]

    def _bonus(self, sentence: str, number: int) -> float:
        """The weighted signals that are equal for all videos of a task."""
        place = next(
            first for first, part in zip(self._firsts, self._parts, strict=True) if part.gallery.number == number
        )
        found, _ = self._signals(sentence, self._some([place]))
        shared = [name for name, signal in signals().items() if signal.shared]
        return sum(self.weights[name] * float(matrix[0]) for name, matrix in found.items() if name in shared)

    def _signals(self, sentence: str, parts: Sequence[tuple[list[int], _Part]]) -> tuple[dict[str, Floats], list[int]]:
        """The signals of some segments by name, and their best frames, in the order of the given positions."""
        texts, plain = self._texts(sentence)
        encoder, found = self.retriever.encoder, []
        for _, part in parts:
            gallery, text = part.gallery, texts[part.gallery.encoded_as]
            comparison = Comparison(
                text, plain or text, gallery.frames, encoder.head, encoder.model, gallery.number, part.vectors
            )
            found.append(score(comparison, self._states, shared=bool(self._states)))
        order = np.argsort([place for here, _ in parts for place in here])
        rows = {name: matrix[0].numpy()[order] for name, matrix in side_by_side(found).items()}
        return rows, rows.pop("best_frame").tolist()

    def _compare(self, sentence: str, places: Sequence[int]) -> tuple[dict[str, Floats], Span]:
        """The signals of the segments at some ascending positions, and the spans of their best frames."""
        signals, frames = self._signals(sentence, self._some(places))
        at = {place: number for number, place in enumerate(places)}
        return signals, lambda place: self._span(place, frames[at[place]])

    def _name(self, path: Path) -> str:
        """A clip's name in the table, or the real path of an added file."""
        real, videos = path.resolve(), (self.path / DATA / "videos").resolve()
        if real.is_relative_to(videos):
            return str(real.relative_to(videos))
        return str(path) if not path.exists() and not path.is_absolute() else str(real)

    def shown(self, file: str) -> str:
        """The name in the table, or the file name of an added file."""
        return Path(file).name if Path(file).is_absolute() else file

    def _readable(self, file: str) -> Path | None:
        """The path of a clip or of an added file. None if a link has replaced the added file."""
        path = Path(file)
        if path.is_absolute():
            return path if path.resolve() == path and path.is_file() else None
        videos = self.path / DATA / "videos"
        return None if why_absent(videos, file) else videos / file

    def reopened(self) -> "ProjectIndex":
        index = ProjectIndex(self.path, self.after, self.split)
        same = (index.chain.checkpoint, index.chain.newest) == (self.chain.checkpoint, self.chain.newest)
        if same and "retriever" in self.__dict__:
            index.retriever = self.retriever
        return index

    def examples(self) -> list[str]:
        """Evenly spread captions of the table."""
        texts = list(dict.fromkeys(filter(None, (row.get("caption") for row in self._table()))))
        return [text[:100] for text in texts[:: max(1, len(texts) // EXAMPLES)][:EXAMPLES]]

    def sentences(self, count: int) -> list[tuple[str, str | None]]:
        """Captions of the table whose clips can be found, evenly spread over each task."""
        by_task: dict[str, list[str]] = {}
        tasks = {entry.file: entry.task for entry in self.entries.rows if entry.task is not None}
        for row in self._table():
            if row.get("caption") and (task := tasks.get(row.get("video", ""))) is not None:
                by_task.setdefault(task, []).append(row["caption"])
        return [
            (text, task)
            for task, texts in sorted(by_task.items())
            for text in texts[:: max(1, -(-len(texts) // count))][:count]
        ]

    def _table(self) -> list[dict[str, str]]:
        """The rows of captions.csv, or none if it cannot be read."""
        try:
            with (self.path / DATA / "captions.csv").open(encoding="utf-8-sig", newline="") as stream:
                return list(csv.DictReader(stream))
        except (OSError, ValueError, csv.Error):
            return []

    @property
    def written(self) -> Path:
        return self.path / ADDED

    def newer(self) -> bool:
        """Whether the index on disk is newer, also because of `dvc repro`."""
        added = self.path / ADDED
        now = generation_of(added) if exists(added) else None
        before = self.table or self.added
        return now != (before.generation if before else None) or _stamps(self.path) != self._stamps

    def add(self, paths: Sequence[str | Path], category: str | None = None) -> Summary:
        """Encode files, or the videos of folders, with the newest checkpoint, and add them to the project.

        Content that is already there is reported and not encoded. Raises `UserError` if a path does not exist.
        """
        return add(self.chain, self.sampler, paths, category)


def _by_task(parts: Sequence[_Part]) -> list[_Part]:
    """Merge the parts of each task, since comparing many small parts is slow.

    The last bits of a score depend on how many videos are compared at once, so `split` keeps evaluation's parts.
    """

    def alike(part: _Part) -> tuple[int, ...]:
        return part.gallery.number, *part.gallery.frames.shape[1:], *part.gallery.zero_shot.shape[1:]

    joined = []
    for _, same in groupby(sorted(parts, key=alike), key=alike):
        group = list(same)
        gallery = replace(
            group[0].gallery,
            rows=[row for part in group for row in part.gallery.rows],
            frames=torch.cat([part.gallery.frames for part in group]),
            zero_shot=torch.cat([part.gallery.zero_shot for part in group]),
        )
        joined.append(_Part(gallery, [entry for part in group for entry in part.entries]))
    return joined


def _stamps(project: Path) -> list[tuple[str, int, int]]:
    """Sizes and times of the files of a project's index, to detect changes without reading them."""
    files = [project / TASKS, project / PARAMS, *(project / INDEXES).glob("*.json")]
    files += [*(project / CHECKPOINTS).glob("*/config.json"), *(project / COLLECTION).glob("*/index.json")]
    stamps = []
    for file in sorted(files):
        with suppress(OSError):
            about = file.stat()
            stamps.append((str(file), about.st_mtime_ns, about.st_size))
    return stamps
