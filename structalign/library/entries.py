"""What can be found: the stored segments with what is known of their files, and filters.

Letters: V segments, D embedding.
"""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain
from pathlib import PurePath
from typing import overload

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Entry:
    """A stored segment, or a clip of a project. group: the key for grouping results. times: of its frames, seconds."""

    id: str
    group: str
    file: str
    start: float
    end: float
    times: Sequence[float]
    duration: float
    playing: str = "direct"
    category: str | None = None
    task: str | None = None
    split: str | None = None
    also: Sequence[str] = ()


@dataclass(frozen=True)
class Filters:
    """Restrictions on the candidates. None means all. Filters change no score."""

    category: str | None = None
    task: str | None = None
    folder: str | None = None

    def admits(self, entry: Entry) -> bool:
        """Whether the entry is a candidate."""
        return (
            self.category in (None, entry.category)
            and self.task in (None, entry.task)
            and (self.folder is None or any(_below(file, self.folder) for file in (entry.file, *entry.also)))
        )


def _below(file: str, folder: str) -> bool:
    return PurePath(folder) in PurePath(file).parents


@dataclass(frozen=True)
class Stack:
    """Mapped arrays [V_i, D], one below the other, that are not copied."""

    parts: Sequence[Floats]

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(part) for part in self.parts))

    @property
    def size(self) -> int:
        """The number of numbers."""
        return sum(part.size for part in self.parts)

    def __getitem__(self, places: int | Sequence[int]) -> Floats:
        if isinstance(places, Sequence):
            return np.stack([self[place] for place in places])
        number = bisect_right(self._ends, places)
        row: Floats = self.parts[number][places - (self._ends[number - 1] if number else 0)]
        return row

    def __matmul__(self, vector: Floats) -> Floats:
        return np.concatenate([part @ vector for part in self.parts])


@dataclass
class Entries:
    """All entries that can be found, in a fixed order. means: [V, D] unit vectors by zero-shot CLIP."""

    rows: Sequence[Entry]
    means: Floats | Stack
    _places: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._places = {entry.id: place for place, entry in enumerate(self.rows)}

    @cached_property
    def groups(self) -> dict[str, list[int]]:
        """The positions of each group, sorted by start."""
        found: dict[str, list[int]] = {}
        for place in sorted(range(len(self.rows)), key=lambda place: self.rows[place].start):
            found.setdefault(self.rows[place].group, []).append(place)
        return found

    def admitted(self, filters: Filters) -> NDArray[np.bool_] | None:
        """Whether each entry passes the filters [V]. None if they admit all."""
        if filters == Filters():
            return None
        return np.array([filters.admits(entry) for entry in self.rows], dtype=bool)

    @property
    def files(self) -> int:
        """The number of groups."""
        return len(self.groups)

    def values(self, name: str) -> set[str]:
        """The values of `category` or `task`."""
        return {value for entry in self.rows if (value := getattr(entry, name)) is not None}

    def names(self) -> Iterable[str]:
        """The names of all files."""
        return (name for entry in self.rows for name in (entry.file, *entry.also))

    def ids(self, places: Sequence[int]) -> list[str]:
        """The ids of the entries at some positions."""
        return [self.rows[place].id for place in places]

    def place(self, id: str) -> int | None:
        """The position of the entry with this id."""
        return self._places.get(id)

    def of_group(self, group: str) -> list[int]:
        """The positions of a group's entries, sorted by start."""
        return self.groups.get(group, [])

    def of_file(self, file: str) -> list[int]:
        """The positions of a file's entries, sorted by start."""
        return [place for places in self.groups.values() for place in places if self._is(place, file)]

    def _is(self, place: int, file: str) -> bool:
        entry = self.rows[place]
        return file == entry.file or file in entry.also


class LazyRows(Sequence[Entry]):
    """Entries that are made when they are asked for."""

    @abstractmethod
    def at(self, place: int) -> Entry:
        """The entry at a position."""

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> list[Entry]: ...
    def __getitem__(self, place: int | slice) -> Entry | list[Entry]:
        if isinstance(place, slice):
            return [self.at(i) for i in range(*place.indices(len(self)))]
        return self.at(place)


class _Chain(LazyRows):
    """Sequences of entries, one after the other."""

    def __init__(self, parts: Sequence[Sequence[Entry]]):
        self.parts = parts
        self.ends = list(accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self.ends[-1]

    def at(self, place: int) -> Entry:
        number = bisect_right(self.ends, place)
        return self.parts[number][place - (self.ends[number - 1] if number else 0)]

    def __iter__(self) -> Iterator[Entry]:
        return chain.from_iterable(self.parts)


class Joined(Entries):
    """The entries of several sources, one after the other."""

    def __init__(self, parts: Sequence[Entries]):
        self.parts = parts
        self.rows = _Chain([part.rows for part in parts])
        means = [part.means for part in parts]
        self.means = Stack([one for mean in means for one in (mean.parts if isinstance(mean, Stack) else [mean])])
        self.firsts = [0, *accumulate(len(part.rows) for part in parts)][:-1]

    def _all(self, found: Iterable[Iterable[int]]) -> list[int]:
        return [first + place for first, places in zip(self.firsts, found, strict=True) for place in places]

    @property
    def files(self) -> int:
        return sum(part.files for part in self.parts)

    def admitted(self, filters: Filters) -> NDArray[np.bool_] | None:
        found = [one for part in self.parts if (one := part.admitted(filters)) is not None]
        return np.concatenate(found) if found else None

    def values(self, name: str) -> set[str]:
        return {value for part in self.parts for value in part.values(name)}

    def names(self) -> Iterable[str]:
        return chain.from_iterable(part.names() for part in self.parts)

    def place(self, id: str) -> int | None:
        found = self._all([] if (place := part.place(id)) is None else [place] for part in self.parts)
        return found[0] if found else None

    def ids(self, places: Sequence[int]) -> list[str]:
        found: dict[int, str] = {}
        for first, part in zip(self.firsts, self.parts, strict=True):
            here = [place for place in places if first <= place < first + len(part.rows)]
            found |= zip(here, part.ids([place - first for place in here]), strict=True)
        return [found[place] for place in places]

    def of_group(self, group: str) -> list[int]:
        return self._all(part.of_group(group) for part in self.parts)

    def of_file(self, file: str) -> list[int]:
        return self._all(part.of_file(file) for part in self.parts)
