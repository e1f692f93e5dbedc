"""File names that look the same to a reader, but differ in case, in composed or invisible letters or in the folder."""

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath


def folded(name: str) -> str:
    """A name in lower case, with composed letters and no invisible ones, to compare names that look the same."""
    seen = "".join(letter for letter in name if unicodedata.category(letter) != "Cf")
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", seen).casefold())


def spellings(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that differ only in case, composition or invisible letters."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault(folded(name), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def files_below(folder: Path) -> set[str]:
    """The files in a folder and its subfolders, as relative paths, without hidden ones."""
    found: set[str] = set()
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found |= {Path(place, file).relative_to(folder).as_posix() for file in files if not file.startswith(".")}
    return found


class Files:
    """The files in a folder, found also by slightly different names."""

    def __init__(self, folder: Path):
        self._by_name: dict[str, str] = {}
        self._by_last: dict[str, list[str]] = {}
        for place, _, files in os.walk(folder):
            for file in files:
                name = Path(place, file).relative_to(folder).as_posix()
                self._by_name.setdefault(folded(name), name)
                self._by_last.setdefault(folded(file), []).append(name)

    def meant(self, name: str) -> str | None:
        """The file that a missing name probably means.

        It differs only in case or composition. Otherwise it is the only file with this last part.
        """
        found = self._by_name.get(folded(name))
        alike = self._by_last.get(folded(PurePosixPath(name).name), [])
        return found or (alike[0] if len(alike) == 1 else None)
