"""Update an index: only new and changed files are encoded. Each commit can be searched."""

import os
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from structalign.console import track
from structalign.data.parallel import in_order
from structalign.data.video import NO_STREAM, BrokenVideo, require_ffmpeg, stop_all
from structalign.library.finding import OTHER, PICTURES, SOUNDS, Found, named_as_video
from structalign.library.sampling import Described, Sampler
from structalign.library.store import Broken, Catalogue, Content, Encoding, File, Row, ShardEntry, Writer
from structalign.machine import cores
from structalign.search.similarity import video_vectors
from structalign.store import digest

FIRST, LAST = 2.0, 60.0  # seconds between two commits; the first ones are early, so that a search soon finds something
TELL = 0.5  # seconds between two progress updates
PICTURE = "it is a picture and no video"
CHANGING = "it changed while being read: index again when it is complete"
UNKNOWN = -1  # size that marks a file to be read again


@dataclass
class Summary:
    """The result of an update: encoded, moved, unchanged and missing paths, and broken ones with the reason.

    duplicates: (path, another path with the same content). seconds: length of the encoded video. decoding, encoding:
    seconds that these took, summed over threads. skipped: the number of skipped files by reason.
    """

    encoded: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    unchanged: int = 0
    segments: int = 0
    seconds: float = 0.0
    decoding: float = 0.0
    encoding: float = 0.0


@dataclass(frozen=True)
class Label:
    """The category of added files, and its task."""

    category: str | None = None
    task: str | None = None


def update(writer: Writer, found: Found, sampler: Sampler, encoding: Encoding) -> Summary:
    """Update the index to the files `found`, and hide all others.

    Vectors of moved and returning content are kept.
    """
    catalogue, summary = deepcopy(writer.snapshot.catalogue), Summary()
    gone = {path: file.content for path, file in catalogue.files.items() if path not in found.videos}
    for path in gone:
        del catalogue.files[path]
    catalogue.broken = {path: why for path, why in catalogue.broken.items() if path in found.videos}
    fresh = [(path, about) for path, about in found.videos.items() if not _as_before(catalogue, path, about)]
    summary.unchanged = len(catalogue.files.keys() & found.videos.keys() - {path for path, _ in fresh})
    _Intake(writer, catalogue, sampler, encoding, summary, Label(), set(gone.values())).read(fresh)
    there = {file.content for file in catalogue.files.values()}
    summary.gone = sorted(path for path, content in gone.items() if content not in there)
    summary.broken = {path: why.reason for path, why in catalogue.broken.items()}
    summary.skipped = found.skipped + count_others(summary.broken)
    catalogue.skipped = dict(summary.skipped)
    if catalogue != writer.snapshot.catalogue:
        writer.commit(catalogue, writer.snapshot.shards)
    return summary


def add(
    writer: Writer,
    files: Sequence[tuple[str, os.stat_result]],
    sampler: Sampler,
    encoding: Encoding,
    label: Label,
    anew: Collection[str] = (),
) -> Summary:
    """Add the files to the index. Files with the contents `anew` are encoded again."""
    catalogue, summary = deepcopy(writer.snapshot.catalogue), Summary()

    def known(path: str, about: os.stat_result) -> bool:
        return _as_before(catalogue, path, about) and catalogue.files[path].content not in anew

    fresh = [(path, about) for path, about in files if not known(path, about)]
    summary.unchanged = len(files) - len(fresh)  # none is broken, since `added` keeps no broken ones
    _Intake(writer, catalogue, sampler, encoding, summary, label, set(), set(anew)).read(fresh)
    summary.broken = {path: catalogue.broken.pop(path).reason for path, _ in files if path in catalogue.broken}
    if catalogue != writer.snapshot.catalogue:
        writer.commit(catalogue, writer.snapshot.shards)
    return summary


def count_others(broken: dict[str, str], named: Collection[str] = ()) -> Counter[str]:
    """Remove files that are not videos from `broken`, and count them by kind. `named` files stay."""
    kinds = {path: kind for path, reason in broken.items() if (kind := _kind(path, reason)) and path not in named}
    for path in kinds:
        del broken[path]
    return Counter(kinds.values())


def _kind(path: str, reason: str) -> str | None:
    """The kind of a file that could not be encoded for this reason, or None if it is a broken video."""
    if reason == PICTURE:
        return PICTURES
    if named_as_video(Path(path)):
        return None
    return SOUNDS if reason == NO_STREAM else OTHER


def _as_before(catalogue: Catalogue, path: str, about: os.stat_result) -> bool:
    known = catalogue.files.get(path) or catalogue.broken.get(path)
    return known is not None and (known.size, known.mtime_ns) == (about.st_size, about.st_mtime_ns)


@dataclass(frozen=True)
class _Read:
    """A file that was read: its state at the start, its hash, and its encoding, or None if the content is known."""

    path: str
    about: os.stat_result
    content: str
    described: Described | None


@dataclass
class _Intake:
    """Reads files and commits at intervals.

    `left`: contents that lost a path. `anew`: known contents to encode again.
    """

    writer: Writer
    catalogue: Catalogue
    sampler: Sampler
    encoding: Encoding
    summary: Summary
    label: Label
    left: set[str]
    anew: set[str] = field(default_factory=set)
    batch: list[tuple[str, Described]] = field(default_factory=list)

    def read(self, files: Sequence[tuple[str, os.stat_result]]) -> None:
        if not files:
            return
        require_ffmpeg()
        known = set(self.catalogue.contents) - self.anew

        def look(file: tuple[str, os.stat_result]) -> _Read | tuple[str, Broken]:
            return _look(*file, self.sampler, known)

        smallest_first = sorted(files, key=lambda file: file[1].st_size)  # so that a search soon finds something
        pause, due = FIRST, time.monotonic() + FIRST
        told = 0.0
        reads = in_order(look, smallest_first, cores(), stop_all, here=True)
        for done, read in enumerate(track(reads, "reading videos", len(files)), start=1):
            self._note(read)
            if time.monotonic() - told >= TELL:
                self.writer.tell(done, len(files))
                told = time.monotonic()
            if time.monotonic() >= due:
                self._commit()
                pause = min(2 * pause, LAST)
                due = time.monotonic() + pause
        self._commit()

    def _note(self, read: "_Read | tuple[str, Broken]") -> None:
        """Add a file to the catalogue, and its encoding to the batch."""
        if isinstance(read, tuple):
            path, broken = read
            self.catalogue.files.pop(path, None)
            self.catalogue.broken[path] = broken
            return
        path, described, summary = read.path, read.described, self.summary
        self.catalogue.broken.pop(path, None)
        others = [other for other, file in self.catalogue.files.items() if file.content == read.content]
        if other := next((other for other in others if other != path), None):
            summary.duplicates.append((path, other))
        elif described is None:
            (summary.moved if read.content in self.left else summary.encoded).append(path)
        self.catalogue.files[path] = File(read.content, read.about.st_size, read.about.st_mtime_ns)
        if described is None or read.content in set(self.catalogue.contents) - self.anew:
            return
        self.anew.discard(read.content)
        watched = described.watched
        seconds = watched.end - watched.start
        self.catalogue.contents[read.content] = Content(
            seconds, watched.playing, watched.damage, self.label.category, self.label.task
        )
        self.batch.append((read.content, described))
        summary.encoded.append(path)
        summary.segments += len(described.segments)
        summary.seconds += seconds
        summary.decoding += described.decoding
        summary.encoding += described.encoding

    def _commit(self) -> None:
        shards = self.writer.snapshot.shards
        if self.batch:
            shards = [*shards, _shard(self.writer, self.batch, self.encoding)]
            self.batch.clear()
        self.writer.commit(deepcopy(self.catalogue), shards)


def _look(path: str, about: os.stat_result, sampler: Sampler, known: set[str]) -> "_Read | tuple[str, Broken]":
    """Hash the file, and encode it if its content is new. Or return why this is impossible."""
    file, described = Path(path), None
    try:
        content = digest(file)
        if content not in known:
            described = sampler.describe(file)
            if described.watched.still:
                raise BrokenVideo(PICTURE)
        now = file.stat()
    except OSError as error:
        return path, Broken(f"it can't be read ({error.strerror})", UNKNOWN, about.st_mtime_ns)
    except BrokenVideo as reason:
        return path, Broken(str(reason), about.st_size, about.st_mtime_ns)
    if (now.st_size, now.st_mtime_ns) != (about.st_size, about.st_mtime_ns):
        return path, Broken(CHANGING, UNKNOWN, about.st_mtime_ns)
    return _Read(path, about, content, described)


def _shard(writer: Writer, batch: Iterable[tuple[str, Described]], encoding: Encoding) -> ShardEntry:
    """Write the vectors of encoded files. Shorter segments repeat their last frame."""
    rows, frames, means, zero_shot = list[Row](), list[Tensor](), list[Tensor](), list[Tensor]()
    for content, described in batch:
        for number, segment in enumerate(described.segments):
            times = [described.watched.times[frame] for frame in segment.frames]
            rows.append(Row(f"{content[:16]}-{number}", content, segment.start, segment.end, times))
        frames += described.frames
        means += [video_vectors(frame[None])[0] for frame in described.frames]
        zero_shot += [video_vectors(frame[None])[0] for frame in described.zero_shot]
    longest = max(map(len, frames))
    padded = torch.stack([torch.cat([frame, frame[-1:].expand(longest - len(frame), -1)]) for frame in frames])
    own = None if encoding.task == 0 else torch.stack(zero_shot).numpy()
    return writer.shard(rows, encoding, padded.numpy(), torch.stack(means).numpy(), own)
