"""Find the videos in a folder, by content and not by name."""

import mimetypes
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from structalign.data.collection import why_absent
from structalign.errors import UserError

HIDDEN = "hidden"
OUTSIDE = "links to places outside the folder"
UNREADABLE = "folders that cannot be read"
PICTURES = "still pictures"
SOUNDS = "sounds"
OTHER = "other files"

# The first bytes of files that are certainly no video, to save starting a decoder
PICTURE_HEADS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*")
SOUND_HEADS = (b"fLaC", b"ID3")
OTHER_HEADS = (
    b"%PDF", b"SQLite format 3", b"\x93NUMPY", b"\x80\x02", b"\x80\x04",  # documents, tables, pickles
    b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"(\xb5/\xfd",  # archives
    b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"!<arch>",  # programs
    b"OTTO", b"\x00\x01\x00\x00\x00", b"wOFF", b"wOF2",  # fonts
)  # fmt: skip
HEAD = 512  # bytes


@dataclass
class Found:
    """videos: the candidates by real path. skipped: the number of skipped files by reason."""

    videos: dict[str, os.stat_result] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)


def find(roots: Sequence[Path]) -> Found:
    """All files below the `roots` that may be videos. Hidden files and links out of a root are skipped and counted."""
    found = Found()
    for root in roots:
        for path in _walk(root, found.skipped):
            if (kind := _other_kind(path)) is not None:
                found.skipped[kind] += 1
                continue
            try:
                real = path.resolve(strict=True)
                found.videos.setdefault(str(real), real.stat())
            except OSError:
                found.skipped[UNREADABLE] += 1
    return found


def real_folders(folders: Sequence[Path]) -> list[Path]:
    """The folders' real paths, sorted, without folders inside another one. Raises `UserError` for other paths."""
    real: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "does not exist"
            raise UserError(f"{folder} {what}: name a folder with videos.")
        if not os.access(folder, os.R_OK | os.X_OK):
            raise UserError(f"{folder} cannot be read: correct its permissions.")
        real.add(folder.resolve())
    return sorted(path for path in real if not any(other in path.parents for other in real))


def _walk(root: Path, skipped: Counter[str]) -> Iterator[Path]:
    """The regular files and valid links below `root`, in order of their names."""

    def refused(error: OSError) -> None:
        skipped[UNREADABLE] += 1

    for folder, below, names in os.walk(root, onerror=refused):
        here = Path(folder)
        for name in [name for name in below if name.startswith(".")]:
            below.remove(name)
            skipped[HIDDEN] += 1
        for name in [name for name in below if (here / name).is_symlink()]:  # os.walk follows no links
            if not _inside(here / name, root):
                skipped[OUTSIDE] += 1
        below.sort()
        for name in sorted(names):
            path = here / name
            if name.startswith("."):
                skipped[HIDDEN] += 1
            elif path.is_symlink() and why_absent(root, str(path.relative_to(root))):
                skipped[OUTSIDE] += 1
            elif path.is_file():
                yield path


def _inside(link: Path, root: Path) -> bool:
    try:
        return link.resolve(strict=True).is_relative_to(root)
    except (OSError, RuntimeError):
        return False


def _other_kind(path: Path) -> str | None:
    """The kind of a file that is not a video, or None if it needs decoding.

    Empty files, texts and other known formats are not videos, unless so named.
    """
    if named_as_video(path):
        return None
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError:
        return OTHER
    for kind, heads in ((PICTURES, PICTURE_HEADS), (SOUNDS, SOUND_HEADS), (OTHER, OTHER_HEADS)):
        if head.startswith(heads):
            return kind
    binary = any(byte < 9 or 13 < byte < 27 or 27 < byte < 32 for byte in head)  # no text has such a byte
    return None if binary else OTHER


def named_as_video(path: Path) -> bool:
    """Whether the file's name is a video's. If such a file cannot be decoded, it counts as broken."""
    kind = mimetypes.guess_type(path.name)[0] or ""
    return kind.startswith("video/") or path.suffix.lower() in {".mkv", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".vob"}
