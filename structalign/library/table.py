"""Rows on disk: an SQLite file beside a large index, so that opening reads no row and search reads those it shows.

`table-<generation>.sqlite` is derived from a catalogue and its shards, and can be removed at any time. It belongs to
one generation. A small index has none.
Letters: V segments, D embedding.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structalign.library.entries import Entries, Entry, Filters, Floats, LazyRows, Stack
from structalign.library.store import (
    MANIFEST,
    SHARDS,
    Encoding,
    ShardEntry,
)
from structalign.machine import cores
from structalign.search.candidates import Moments
from structalign.store import digest

RECENT, TOGETHER = 20_000, 500  # rows that are kept, and rows of a query
COLUMNS = "s.id, c.content, c.file, s.start, s.stop, s.times, c.duration, c.playing, c.category, c.task, c.also"
JOIN = "FROM segment s JOIN content c ON c.number = s.content"


@dataclass(frozen=True)
class Table:
    """An open table. frames, means, zero_shot: of each shard, memory-mapped. shard, row: [V], where a segment is."""

    about: dict[str, Any]
    generation: int
    entries: "StoredEntries"
    encodings: list[Encoding]
    frames: list[NDArray[np.float16]]
    means: list[Floats]
    shard: NDArray[np.int32]
    row: NDArray[np.int32]
    moments: dict[int, Moments]
    sample: list[int]

    def vectors_at(self, place: int) -> NDArray[np.float16]:
        """The stored frames [N, D] of a segment."""
        found: NDArray[np.float16] = self.frames[self.shard[place]][self.row[place]]
        return found


def open_table(path: Path, split: str | None = None) -> Table | None:
    """The table of the current generation of the index at `path`, or None.

    split: that of its entries. The table and the scanned vectors are verified by hash, the frames by `structalign index
    check` only.
    """
    with suppress(OSError, ValueError, KeyError, TypeError, sqlite3.Error):
        values = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        file = path / f"table-{values['generation']}.sqlite"
        told = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        shards = [ShardEntry(**{**entry, "encoding": Encoding(**entry["encoding"])}) for entry in values["shards"]]
        expected = {file: told["sha256"], path / MANIFEST: told["manifest"]} | _vectors(path, shards)
        with ThreadPoolExecutor(cores()) as pool:  # hashing does not hold Python's lock
            if list(pool.map(digest, expected)) != list(expected.values()):
                return None  # the ordinary way of opening names what is damaged
        return _opened(path, file, values, shards, split)
    return None


def _vectors(path: Path, shards: Sequence[ShardEntry]) -> dict[Path, str]:
    """The files of the vectors that a search reads whole, and their hashes."""
    return {
        path / SHARDS / entry.name / name: entry.files[name]
        for entry in shards
        for name in ("means.npy", "zero_shot.npy")
        if name in entry.files
    }


def _opened(path: Path, file: Path, values: dict[str, Any], shards: Sequence[ShardEntry], split: str | None) -> Table:
    frames, means, zero_shot = [], [], []
    for entry in shards:
        folder = path / SHARDS / entry.name
        frames.append(np.load(folder / "frames.npy", mmap_mode="c"))
        means.append(np.load(folder / "means.npy", mmap_mode="c"))
        own = "zero_shot.npy" in entry.files
        zero_shot.append(np.load(folder / "zero_shot.npy", mmap_mode="c") if own else means[-1])
    with closing(sqlite3.connect(file)) as base:
        shard, row = _columns(base, "shard", "row")
        parts = dict(base.execute("SELECT name, data FROM part"))
    found = {int(name.split()[1]): _moments_of(data) for name, data in parts.items() if name.startswith("moments")}
    counts = np.bincount(shard, minlength=len(shards))

    def visible(parts: Sequence[Floats]) -> list[Floats]:
        return [
            part if count == len(part) else np.asarray(part[row[shard == number]])
            for number, (part, count) in enumerate(zip(parts, counts, strict=True))
        ]

    entries = StoredEntries(file, len(shard), Stack(visible(zero_shot)), split)
    return Table(
        values["about"], int(values["generation"]), entries, [entry.encoding for entry in shards], frames,
        visible(means), shard, row, found, np.frombuffer(parts["sample"], np.int64).tolist(),
    )  # fmt: skip


def _columns(base: sqlite3.Connection, *names: str) -> list[NDArray[np.int32]]:
    rows = base.execute(f"SELECT {', '.join(names)} FROM segment ORDER BY place")
    found = np.fromiter((value for row in rows for value in row), np.int32).reshape(-1, len(names))
    return [np.ascontiguousarray(column) for column in found.T]


def _moments_of(data: bytes) -> Moments:
    values = np.frombuffer(data, np.float64)
    dim = round((len(values) - 0.75) ** 0.5 - 0.5)  # 1 + D + D² numbers
    return Moments(int(values[0]), values[1 : 1 + dim], values[1 + dim :].reshape(dim, dim))


class Rows(LazyRows):
    """The segments of a table, read when they are asked for."""

    def __init__(self, entries: "StoredEntries", count: int):
        self.entries, self.total = entries, count

    def __len__(self) -> int:
        return self.total

    def at(self, place: int) -> Entry:
        return self.entries.read.get(place) or self.entries.at([int(place)])[0]

    def __iter__(self) -> Iterator[Entry]:
        for row in self.entries.base.execute(f"SELECT {COLUMNS} {JOIN} ORDER BY place"):
            yield _entry(row, self.entries.split)


def _entry(row: Sequence[Any], split: str | None) -> Entry:
    id, content, file, start, stop, times, duration, playing, category, task, also = row
    names = [_name(file), *map(_name, json.loads(also))]
    return Entry(
        id, content, names[0], start, stop, json.loads(times), duration, playing, category, task, split, names[1:]
    )


def _name(text: str) -> str:
    found: str = json.loads(f'"{text}"')
    return found


class StoredEntries(Entries):
    """The entries of a table. `means` are its mapped vectors."""

    def __init__(self, file: Path, count: int, means: Stack, split: str | None):
        self.file, self.means, self.split, self._own = file, means, split, local()
        self.rows = Rows(self, count)
        self.read: dict[int, Entry] = {}  # some recent rows, by position
        self.known: dict[str, int] = {}  # their positions, by id

    def at(self, places: Sequence[int]) -> list[Entry]:
        """The entries at some positions, read together. Raises `IndexError` if one is missing."""
        if len(self.read) > RECENT:
            self.read, self.known = {}, {}
        read, known = self.read, self.known  # another thread may replace them
        missing = [place for place in places if place not in read]
        for start in range(0, len(missing), TOGETHER):
            some = missing[start : start + TOGETHER]
            marks = ", ".join("?" * len(some))
            for place, *row in self.base.execute(f"SELECT place, {COLUMNS} {JOIN} WHERE place IN ({marks})", some):
                read[place] = entry = _entry(row, self.split)
                known[entry.id] = place
        if gone := [place for place in missing if place not in read]:
            raise IndexError(gone[0])
        return [read[place] for place in places]

    def ids(self, places: Sequence[int]) -> list[str]:
        return [entry.id for entry in self.at(places)]

    @property
    def base(self) -> sqlite3.Connection:
        """The open table. A connection belongs to one thread."""
        if not hasattr(self._own, "base"):
            self._own.base = sqlite3.connect(f"file:{self.file}?mode=ro&immutable=1", uri=True)
        found: sqlite3.Connection = self._own.base
        return found

    def _places_where(self, condition: str, *values: Any) -> list[int]:
        found = self.base.execute(f"SELECT place {JOIN} WHERE {condition} ORDER BY s.start, place", values)
        return [place for (place,) in found]

    @cached_property
    def _codes(self) -> NDArray[np.int32]:
        """The number of each segment's content: [V]."""
        (found,) = _columns(self.base, "content")
        return found

    @property
    def files(self) -> int:
        (count,) = self.base.execute("SELECT count(*) FROM content").fetchone()
        return int(count)

    def of_group(self, group: str) -> list[int]:
        return self._places_where("c.content = ?", group)

    def place(self, id: str) -> int | None:
        if (known := self.known.get(id)) is not None:
            return known
        row = self.base.execute("SELECT place FROM segment WHERE id = ?", (id,)).fetchone()
        return None if row is None else int(row[0])

    def of_file(self, file: str) -> list[int]:
        name = json.dumps(file)[1:-1]
        return self._places_where("c.file = ? OR c.also LIKE ?", name, f'%"{_pattern(json.dumps(name)[1:-1])}"%')

    def admitted(self, filters: Filters) -> NDArray[np.bool_] | None:
        if filters == Filters():
            return None
        conditions, values = [], list[Any]()
        for name, value in (("category", filters.category), ("task", filters.task)):
            if value is not None:
                conditions.append(f"{name} = ?")
                values.append(value)
        rows = self.base.execute(
            f"SELECT number, file, also FROM content WHERE {' AND '.join(conditions) or '1'}", values
        )
        (total,) = self.base.execute("SELECT max(number) + 1 FROM content").fetchone()
        contents = np.zeros(total or 0, bool)
        alone = Filters(folder=filters.folder)
        for number, file, also in rows:
            if filters.folder is None or alone.admits(_named(file, also)):
                contents[number] = True
        return contents[self._codes]

    def values(self, name: str) -> set[str]:
        assert name in ("category", "task")
        rows = self.base.execute(f"SELECT DISTINCT {name} FROM content WHERE {name} IS NOT NULL")
        return {value for (value,) in rows}

    def names(self) -> Iterable[str]:
        for file, also in self.base.execute("SELECT file, also FROM content"):
            yield from (_name(file), *map(_name, json.loads(also)))


def _named(file: str, also: str) -> Entry:
    """An entry that only has names."""
    return Entry("", "", _name(file), 0, 0, [], 0, also=[_name(name) for name in json.loads(also)])


def _pattern(text: str) -> str:
    return text.replace("%", "_")
