"""Erase vectors that are no longer found, and merge small shards."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from structalign.library.store import Shard, ShardEntry, Writer, current_rows, open_shard
from structalign.library.table_writing import refresh_table

Part = tuple[Shard, list[int]]  # a shard and its rows to keep
ROWS = 20_000  # the largest number of segments in a shard


def compact(writer: Writer) -> int:
    """Rewrite the vectors of existing paths and erase all others. Returns the number of freed bytes."""
    snapshot = writer.snapshot
    before = bytes_of(writer.path)
    kept = set(snapshot.catalogue.places())
    opened = [open_shard(writer.path, entry) for entry in snapshot.shards]
    parts = [part for part in zip(opened, current_rows(opened, kept), strict=True) if part[1]]
    written: list[ShardEntry] = []
    for _, same in groupby(sorted(parts, key=_encoding), key=_encoding):
        written += [_merge(writer, group) for group in _groups(list(same))]
    contents = {key: content for key, content in snapshot.catalogue.contents.items() if key in kept}
    writer.commit(replace(snapshot.catalogue, contents=contents), written)
    refresh_table(writer)
    return max(0, before - bytes_of(writer.path))


def _encoding(part: Part) -> tuple[int, str]:
    encoding = part[0].entry.encoding
    return encoding.task, encoding.fingerprint


def _groups(parts: Sequence[Part]) -> list[list[Part]]:
    """Groups of neighbours with at most ROWS rows together, or a single part with more."""
    groups: list[list[Part]] = []
    for part in parts:
        if groups and sum(len(rows) for _, rows in [*groups[-1], part]) <= ROWS:
            groups[-1].append(part)
        else:
            groups.append([part])
    return groups


def _merge(writer: Writer, parts: Sequence[Part]) -> ShardEntry:
    """Merge the rows of several shards into one."""
    longest = max(shard.frames.shape[1] for shard, _ in parts)
    encoding = parts[0][0].entry.encoding
    return writer.shard(
        [shard.rows[i] for shard, places in parts for i in places],
        encoding,
        np.concatenate([_padded(shard.frames[places], longest) for shard, places in parts]),
        np.concatenate([shard.means[places] for shard, places in parts]),
        np.concatenate([shard.zero_shot[places] for shard, places in parts]) if encoding.task else None,
    )


def _padded(frames: np.ndarray, longest: int) -> np.ndarray:
    return np.concatenate([frames, np.repeat(frames[:, -1:], longest - frames.shape[1], axis=1)], axis=1)


def bytes_of(folder: Path) -> int:
    """The total bytes of all files in a folder and its subfolders."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
