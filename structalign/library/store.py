"""An index on disk. It stays consistent if a process adds, removes or is killed at any moment.

    manifest.json         format, generation, what the index is of, its catalogue and shards with their hashes
    catalogue-<n>.json    files by path, and the contents; replaced with every generation
    shards/<name>/        vectors, written once: rows.json, frames.npy [V, N, D] float16, means.npy [V, D] float32 unit
    vectors, and zero_shot.npy [V, D] if a trained model made them
    writer.lock           held by the only process that writes; writer.json names it

Only the manifest is replaced, by rename. Files of an unfinished generation are removed by the next writer.
A *segment* is a stretch of a video, and a row. A *shard* is a folder of vectors.
Letters: V segments of a shard, N frames, D embedding.
"""

import hashlib
import json
import os
import shutil
import socket
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from structalign.collector import paused
from structalign.errors import UserError
from structalign.formats import LIBRARY_FORMAT, format_of
from structalign.store import digest, whole, whole_folder

MANIFEST, LOCK, WRITER, SHARDS = "manifest.json", "writer.lock", "writer.json", "shards"

Json = dict[str, Any]


@dataclass(frozen=True)
class File:
    """A file by its real path: its content (SHA-256), and the size and time that reveal a change."""

    content: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Broken:
    """Why a file is not in the index, and the size and time that reveal a change."""

    reason: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Content:
    """A content: its seconds, how a browser plays it, and its category, if it was added with one."""

    duration: float
    playing: str
    damage: str | None = None
    category: str | None = None
    task: str | None = None


@dataclass
class Catalogue:
    """files: by path. contents: by hash. broken: by path. skipped: the number of skipped files by reason."""

    files: dict[str, File] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)
    broken: dict[str, Broken] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)

    def places(self) -> dict[str, list[str]]:
        """The paths of each content that can be found."""
        found: dict[str, list[str]] = {}
        for path, file in self.files.items():
            if file.content in self.contents:
                found.setdefault(file.content, []).append(path)
        return found


@dataclass(frozen=True)
class Encoding:
    """The encoder of a shard: the fingerprint of its checkpoint or backbone, and its task (from 1, 0: none)."""

    fingerprint: str
    task: int = 0


@dataclass(frozen=True)
class Row:
    """A segment: the `content` of its file, start and end, and the times of its frames, in seconds."""

    id: str
    content: str
    start: float
    end: float
    times: list[float]


@dataclass(frozen=True)
class ShardEntry:
    """A shard's entry in the manifest: hashes by file name."""

    name: str
    rows: int
    files: dict[str, str]
    encoding: Encoding


@dataclass(frozen=True)
class Shard:
    """An open shard. frames: memory-mapped [V, N, D]. means, zero_shot: [V, D] unit vectors."""

    entry: ShardEntry
    rows: list[Row]
    frames: NDArray[np.float16]
    means: NDArray[np.float32]
    zero_shot: NDArray[np.float32]


@dataclass(frozen=True)
class Snapshot:
    """An index at one generation. `about` describes what the index is of."""

    path: Path
    generation: int
    about: Json
    catalogue: Catalogue
    shards: list[ShardEntry]


@dataclass(frozen=True)
class Progress:
    """The number of files that a writing process has read, and the total. 0 of 0 until the total is known."""

    done: int
    total: int


def exists(path: Path) -> bool:
    """Whether there is an index at `path`."""
    return (path / MANIFEST).is_file()


def generation_of(path: Path) -> int:
    """The current generation for readers."""
    generation = _manifest(path).get("generation")
    if not isinstance(generation, int):
        raise _damaged(path, f"{MANIFEST} has no generation")
    return generation


def read(path: Path) -> Snapshot:
    """The index at `path`. Raises `UserError` if there is none, or if it is damaged or of a newer format."""
    values = _manifest(path)
    try:
        catalogue = _checked(path / values["catalogue"]["file"], values["catalogue"]["sha256"])
        return Snapshot(
            path,
            int(values["generation"]),
            values["about"],
            _catalogue(json.loads(catalogue)),
            [ShardEntry(**{**entry, "encoding": Encoding(**entry["encoding"])}) for entry in values["shards"]],
        )
    except FileNotFoundError as error:
        if generation_of(path) != values["generation"]:  # a writer has replaced it meanwhile
            return read(path)
        raise _damaged(path, f"{Path(error.filename).name} is missing") from None
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, f"{MANIFEST}: {error}") from None


@paused()  # it would visit the rows again and again
def open_all(path: Path) -> tuple[Snapshot, list[Shard]]:
    """The index at `path` and its shards. All files are verified by hash."""
    snapshot = read(path)
    try:
        return snapshot, [open_shard(path, entry) for entry in snapshot.shards]
    except UserError:
        if generation_of(path) != snapshot.generation:  # a writer has merged shards meanwhile
            return open_all(path)
        raise


def open_shard(path: Path, entry: ShardEntry, verify: bool = True) -> Shard:
    """A shard of the index at `path`. With `verify`, all its files are verified by hash."""
    folder = path / SHARDS / entry.name
    for name, expected in entry.files.items():
        file = folder / name
        if not file.is_file() or (verify and digest(file) != expected):
            raise _damaged(path, f"{SHARDS}/{entry.name}/{name} is missing or not what was written")
    rows = [Row(**row) for row in json.loads((folder / "rows.json").read_text(encoding="utf-8"))]
    means = np.load(folder / "means.npy", mmap_mode="r")
    own = folder / "zero_shot.npy"
    return Shard(
        entry,
        rows,
        np.load(folder / "frames.npy", mmap_mode="r"),
        means,
        np.load(own, mmap_mode="r") if own.name in entry.files else means,
    )


def current_rows(shards: Sequence[Shard], contents: Container[str]) -> list[list[int]]:
    """For each shard, the current rows of these contents. A later shard replaces an earlier one's rows of a content."""
    newest = {row.content: number for number, shard in enumerate(shards) for row in shard.rows}
    return [
        [i for i, row in enumerate(shard.rows) if row.content in contents and newest[row.content] == number]
        for number, shard in enumerate(shards)
    ]


def _manifest(path: Path) -> Json:
    try:
        values = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{path} is not an index: make one with `structalign index DIR --backbone NAME`, which prints its path."
        ) from None
    except ValueError as error:
        raise _damaged(path, f"{MANIFEST}: {error}") from None
    format_of(path / MANIFEST, values, LIBRARY_FORMAT)
    return values


def _checked(file: Path, expected: str) -> bytes:
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != expected:
        raise _damaged(file.parent, f"{file.name} is not what was written")
    return data


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"the index {path} is damaged ({what}): delete this folder and index again.")


def _catalogue(values: Json) -> Catalogue:
    return Catalogue(
        {path: File(**file) for path, file in values["files"].items()},
        {key: Content(**content) for key, content in values["contents"].items()},
        {path: Broken(**broken) for path, broken in values["broken"].items()},
        values["skipped"],
    )


class Writer:
    """The only process that changes an index. Each `commit` makes a new generation. Nothing changes before it."""

    def __init__(self, snapshot: Snapshot):
        self.snapshot = snapshot

    @property
    def path(self) -> Path:
        return self.snapshot.path

    def shard(
        self,
        rows: Sequence[Row],
        encoding: Encoding,
        frames: NDArray[np.floating],
        means: NDArray[np.floating],
        zero_shot: NDArray[np.floating] | None = None,
    ) -> ShardEntry:
        """Write a shard that no generation has yet. frames [V, N, D], means and zero_shot [V, D] are unit vectors."""
        number = 1 + max((int(entry.name) for entry in self.snapshot.shards), default=0)
        while (folder := self.path / SHARDS / f"{number:06d}").exists():
            number += 1
        with whole_folder(folder) as part:
            _write(part / "rows.json", [asdict(row) for row in rows])
            np.save(part / "frames.npy", np.asarray(frames, np.float16))
            np.save(part / "means.npy", np.asarray(means, np.float32))
            if zero_shot is not None:
                np.save(part / "zero_shot.npy", np.asarray(zero_shot, np.float32))
            files = {file.name: digest(file) for file in sorted(part.iterdir())}
        return ShardEntry(folder.name, len(rows), files, encoding)

    def commit(self, catalogue: Catalogue, shards: Sequence[ShardEntry], about: Json | None = None) -> None:
        """Make the next generation from this catalogue and these shards."""
        old, number = self.snapshot, self.snapshot.generation + 1
        file = self.path / f"catalogue-{number}.json"
        _write(file, asdict(catalogue))
        values: Json = {
            "format": LIBRARY_FORMAT,
            "generation": number,
            "about": old.about if about is None else about,
            "catalogue": {"file": file.name, "sha256": digest(file)},
            "shards": [asdict(entry) for entry in shards],
        }
        _write(self.path / MANIFEST, values)
        self.snapshot = replace(old, generation=number, about=values["about"], catalogue=catalogue, shards=list(shards))
        self.sweep(keep=number - 1)

    def tell(self, done: int, total: int) -> None:
        """Tell readers how many files are read, and the total."""
        with suppress(OSError, ValueError, TypeError):
            values = json.loads((self.path / WRITER).read_text(encoding="utf-8"))
            _write(self.path / WRITER, {**values, "done": done, "total": total})

    def sweep(self, keep: int | None = None) -> None:
        """Remove files that no generation uses.

        The catalogue of `keep` stays, since a reader may be about to open it.
        """
        number = self.snapshot.generation
        named = {entry.name for entry in self.snapshot.shards}
        for file in self.path.glob("catalogue-*.json"):
            if file.stem.removeprefix("catalogue-") not in {str(number), str(keep)}:
                file.unlink(missing_ok=True)
        for folder in (self.path / SHARDS).glob("*"):
            if folder.name not in named:
                shutil.rmtree(folder, ignore_errors=True)
        for left in self.path.glob(".*.part"):
            with suppress(OSError):
                left.unlink()


@contextmanager
def writing(path: Path, about: Mapping[str, Any], shelter: bool = False) -> Iterator[Writer]:
    """Hold the lock of the index at `path`. If there is no index, make one with `about`.

    Raises a `UserError` that names the holder if another process writes. The lock ends with its process. shelter: make
    git ignore the folder.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK, timeout=0)
        lock.acquire()
    except Timeout:
        raise UserError(f"{path} is being written by {_holder(path)}: wait until it ends, or stop it.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror}): choose another place with --index.") from None
    try:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        _write(path / WRITER, {"process": os.getpid(), "machine": socket.gethostname(), "since": now})
        if shelter and not (path / ".gitignore").exists():
            (path / ".gitignore").write_text("*\n", encoding="utf-8")
        if exists(path):
            writer = Writer(read(path))
            writer.sweep()
        else:
            writer = Writer(Snapshot(path, 0, dict(about), Catalogue(), []))
            writer.commit(Catalogue(), [])
        yield writer
    finally:
        with suppress(OSError):
            (path / WRITER).unlink(missing_ok=True)
        lock.release()


def progress(path: Path) -> Progress | None:
    """The progress of the process on this machine that writes the index at `path`, or None."""
    try:
        holder = json.loads((path / WRITER).read_text(encoding="utf-8"))
        if holder["machine"] == socket.gethostname():
            os.kill(int(holder["process"]), 0)  # a killed process leaves its file
        return Progress(int(holder.get("done", 0)), int(holder.get("total", 0)))
    except PermissionError:
        return Progress(0, 0)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _holder(path: Path) -> str:
    try:
        holder = json.loads((path / WRITER).read_text(encoding="utf-8"))
        return f"process {holder['process']} on {holder['machine']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _write(path: Path, value: Any) -> None:
    """Write JSON in ASCII, completely or not at all. File names may have bytes that are no valid text."""
    with whole(path) as temporary:
        temporary.write_text(json.dumps(value, separators=(",", ":")) + "\n", encoding="ascii")
