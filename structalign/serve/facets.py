"""The filters of results, with readable names, and example queries."""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from weakref import WeakKeyDictionary

from structalign.errors import UserError
from structalign.library.video_index import VideoIndex
from structalign.text import visible

FOLDERS = 500  # shown at most


@dataclass(frozen=True)
class Facets:
    """The filters and examples of an index. folders: the index's name of each folder, by its shown name."""

    categories: list[str]
    tasks: list[str]
    folders: Mapping[str, str]
    examples: list[str]

    def shown(self) -> dict[str, list[str]]:
        """As the API lists them."""
        return {
            "categories": self.categories,
            "tasks": self.tasks,
            "folders": list(self.folders)[:FOLDERS],
            "examples": self.examples,
        }

    def folder(self, shown: str | None) -> str | None:
        """The index's name of a folder. Raises `UserError` for an unknown folder."""
        if shown is None:
            return None
        if shown not in self.folders:
            raise UserError(f"there is no folder {shown!r}: /api/index lists the folders.")
        return self.folders[shown]


_known: "WeakKeyDictionary[VideoIndex, Facets]" = WeakKeyDictionary()


def facets(index: VideoIndex) -> Facets:
    """The facets of an index, computed once."""
    if (found := _known.get(index)) is None:
        found = _known[index] = _facets(index)
    return found


def _facets(index: VideoIndex) -> Facets:
    entries = index.entries
    called: dict[str, str] = {}  # the shown name, by the index's name
    for file in set(entries.names()):
        shown, real = PurePath(index.shown(file)), PurePath(file)
        for above, folder in zip(shown.parents, real.parents, strict=False):
            if str(above) != ".":
                called[str(folder)] = visible(str(above))
    folders: dict[str, str] = {}
    alike, numbers = set[str](), Counter[str]()  # equal names, also if one has composed and one decomposed letters
    for place, seen in sorted(called.items(), key=lambda pair: (pair[1], pair[0])):
        name = seen
        while (key := unicodedata.normalize("NFC", name)) in alike:
            numbers[seen] += 1
            name = f"{seen} ({numbers[seen] + 1})"
        alike.add(key)
        folders[name] = place
    return Facets(
        sorted(entries.values("category")),
        sorted(entries.values("task")),
        folders,
        [visible(text) for text in index.examples()],
    )
