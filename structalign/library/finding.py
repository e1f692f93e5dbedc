"""Which files of a folder are videos: by what they hold, not by their names."""

import mimetypes
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from structalign.data.collection import why_absent
from structalign.errors import UserError

HIDDEN = "hidden"
OUTSIDE = "links that lead out of the folder"
UNREADABLE = "folders that cannot be read"
OTHER = "no videos"

# The first bytes of what is certainly no video, so that no decoder is started for it
OTHERS = (
    b"\x89PNG\r\n", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*",  # pictures
    b"fLaC", b"ID3",  # sounds
    b"%PDF", b"SQLite format 3", b"\x93NUMPY", b"\x80\x02", b"\x80\x04",  # documents, tables, pickles
    b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"(\xb5/\xfd",  # archives
    b"\x7fELF", b"MZ", b"\xca\xfe\xba\xbe", b"!<arch>",  # programs
    b"OTTO", b"\x00\x01\x00\x00\x00", b"wOFF", b"wOF2",  # fonts
)  # fmt: skip
HEAD = 512  # bytes


@dataclass
class Found:
    """videos: the candidates by their real path; skipped: how many were passed over, by reason."""

    videos: dict[str, os.stat_result] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)


def find(roots: Sequence[Path]) -> Found:
    """Every file below the `roots` that may be a video, hidden ones and links out of its root left out and counted."""
    found = Found()
    for root in roots:
        for path in _walk(root, found.skipped):
            if not _may_be_video(path):
                found.skipped[OTHER] += 1
                continue
            try:
                real = path.resolve(strict=True)
                found.videos.setdefault(str(real), real.stat())
            except OSError:
                found.skipped[UNREADABLE] += 1
    return found


def real_folders(folders: Sequence[Path]) -> list[Path]:
    """The folders' real paths, sorted, those inside of another left out; what is no folder is a `UserError`."""
    real: set[Path] = set()
    for folder in folders:
        if not folder.is_dir():
            what = "is no folder" if folder.exists() else "does not exist"
            raise UserError(f"{folder} {what}: name a folder that holds videos.")
        if not os.access(folder, os.R_OK | os.X_OK):
            raise UserError(f"{folder} cannot be read: mend its permissions.")
        real.add(folder.resolve())
    return sorted(path for path in real if not any(other in path.parents for other in real))


def _walk(root: Path, skipped: Counter[str]) -> Iterator[Path]:
    """The regular files and the good links below `root`, in the order of their names."""

    def refused(error: OSError) -> None:
        skipped[UNREADABLE] += 1

    for folder, below, names in os.walk(root, onerror=refused):
        here = Path(folder)
        for name in [name for name in below if name.startswith(".")]:
            below.remove(name)
            skipped[HIDDEN] += 1
        for name in [name for name in below if (here / name).is_symlink()]:  # os.walk follows none
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


def _may_be_video(path: Path) -> bool:
    """Whether a decoder must be asked: what is empty, a text or of a known other kind is no video, unless its name
    says so."""
    if named_as_video(path):
        return True
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD)
    except OSError:
        return False
    if not head or head.startswith(OTHERS):
        return False
    return any(byte < 9 or 13 < byte < 27 or 27 < byte < 32 for byte in head)  # a text has no such byte


def named_as_video(path: Path) -> bool:
    """Whether the name says that it is a video: then one that cannot be decoded is broken."""
    kind = mimetypes.guess_type(path.name)[0] or ""
    return kind.startswith("video/") or path.suffix.lower() in {".mkv", ".ts", ".m2ts", ".mts", ".wmv", ".flv", ".vob"}
