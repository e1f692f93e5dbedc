"""Names that are the same to a reader and not to the file system: other case, other composition, another folder."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath


def folded(name: str) -> str:
    """A name without what the eye or another file system takes for the same: case, and composed letters (NFC, NFD)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def spellings(names: Iterable[str]) -> list[list[str]]:
    """The names that differ only so, together."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(folded(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def files_below(folder: Path) -> set[str]:
    """The files in a folder and in those below it, as paths relative to it; hidden ones do not count."""
    found: set[str] = set()
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found |= {Path(place, file).relative_to(folder).as_posix() for file in files if not file.startswith(".")}
    return found


class Files:
    """The files below a folder, found by names that are written a little differently."""

    def __init__(self, folder: Path):
        self._by_name: dict[str, str] = {}
        self._by_last: dict[str, list[str]] = {}
        for place, _, files in os.walk(folder):
            for file in files:
                name = Path(place, file).relative_to(folder).as_posix()
                self._by_name.setdefault(folded(name), name)
                self._by_last.setdefault(folded(file), []).append(name)

    def meant(self, name: str) -> str | None:
        """The file that a missing name may mean: but for case or composition, else the only one of its last part."""
        found = self._by_name.get(folded(name))
        alike = self._by_last.get(folded(PurePosixPath(name).name), [])
        return found or (alike[0] if len(alike) == 1 else None)
