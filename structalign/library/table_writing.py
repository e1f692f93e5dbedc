"""Write the rows of a large index into an SQLite file, which `library.table` reads.

Letters: V segments, D embedding.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from structalign.library.store import MANIFEST, Shard, Snapshot, Writer, current_rows, open_all
from structalign.search.candidates import Moments, moments, moments_by_task, sampled
from structalign.store import digest, whole, write_json

LEAST = 100_000  # segments; a smaller index opens quickly without a table
SCHEMA = """
CREATE TABLE content(number INTEGER PRIMARY KEY, content TEXT, file TEXT, also TEXT, duration REAL, playing TEXT,
                     category TEXT, task TEXT);
CREATE TABLE segment(place INTEGER PRIMARY KEY, id TEXT, content INTEGER, shard INTEGER, row INTEGER, start REAL,
                     stop REAL, times TEXT);
CREATE TABLE part(name TEXT PRIMARY KEY, data BLOB);
"""
INDEXES = """
CREATE INDEX by_id ON segment(id);
CREATE INDEX by_content ON segment(content);
CREATE INDEX by_name ON content(content);
CREATE INDEX by_file ON content(file);
"""


def write_table(snapshot: Snapshot, shards: Sequence[Shard]) -> Path:
    """Write the table of an index's current generation, and remove older ones."""
    path, catalogue = snapshot.path, snapshot.catalogue
    places = {content: sorted(paths) for content, paths in catalogue.places().items()}
    here = current_rows(shards, places)
    numbers = {content: number for number, content in enumerate(places)}
    file = path / f"table-{snapshot.generation}.sqlite"
    with whole(file) as temporary, closing(sqlite3.connect(temporary)) as base:
        base.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + SCHEMA)
        base.executemany("INSERT INTO content VALUES (?,?,?,?,?,?,?,?)", _contents(snapshot, places, numbers))
        base.executemany("INSERT INTO segment VALUES (?,?,?,?,?,?,?,?)", _segments(shards, here, numbers))
        base.executescript(INDEXES)
        ids = (row[0] for row in base.execute("SELECT id FROM segment ORDER BY place"))
        chosen = np.array(sampled(ids), np.int64)
        base.execute("INSERT INTO part VALUES ('sample', ?)", (chosen.tobytes(),))
        for task, own in moments_by_task(_moments(shards, here)).items():
            data = np.concatenate([[own.count], own.total, own.second.ravel()]).tobytes()
            base.execute("INSERT INTO part VALUES (?, ?)", (f"moments {task}", data))
        base.commit()
    write_json(
        path / f"table-{snapshot.generation}.json", {"sha256": digest(file), "manifest": digest(path / MANIFEST)}
    )
    for old in path.glob("table-*"):
        if old.stem != file.stem:
            old.unlink(missing_ok=True)
    return file


def refresh_table(writer: Writer) -> None:
    """Write the table of a large index after its last commit, if there is none of this generation."""
    snapshot = writer.snapshot
    there = snapshot.path / f"table-{snapshot.generation}.json"
    if sum(entry.rows for entry in snapshot.shards) >= LEAST and not there.exists():
        write_table(*open_all(snapshot.path))


def _contents(snapshot: Snapshot, places: dict[str, list[str]], numbers: dict[str, int]) -> Iterator[tuple[Any, ...]]:
    for content, paths in places.items():
        about = snapshot.catalogue.contents[content]
        file, *also = (json.dumps(path)[1:-1] for path in paths)  # a name may have bytes that are no valid text
        yield (
            numbers[content],
            content,
            file,
            json.dumps(also),
            about.duration,
            about.playing,
            about.category,
            about.task,
        )


def _segments(
    shards: Sequence[Shard], here: Sequence[Sequence[int]], numbers: dict[str, int]
) -> Iterator[tuple[Any, ...]]:
    place = 0
    for number, (shard, rows) in enumerate(zip(shards, here, strict=True)):
        for i in rows:
            row = shard.rows[i]
            yield place, row.id, numbers[row.content], number, i, row.start, row.end, json.dumps(row.times)
            place += 1


def _moments(shards: Sequence[Shard], here: Sequence[Sequence[int]]) -> Iterator[tuple[int, Moments]]:
    """The task and the moments of each shard. Those of hidden rows are subtracted from those of the whole shard."""
    for shard, rows in zip(shards, here, strict=True):
        own, hidden = moments(shard.means), sorted(set(range(len(shard.means))) - set(rows))
        yield shard.entry.encoding.task, own - moments(shard.means[hidden]) if hidden else own
