"""The split files of the CTVR benchmark: pickles of {train, val} -> task 1..K -> category -> video ids.

A pickle can run any code when it is read. These files only need dictionaries, lists, numbers and texts, some in a
`collections.defaultdict(list)`. So everything else is refused. Their `val` is our test split.
"""

import pickle
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from structalign.data.manifest import Split
from structalign.errors import UserError
from structalign.store import refuse_pipe
from structalign.text import shortened

ADMITTED = {
    ("collections", "defaultdict"): defaultdict,
    ("builtins", "list"): list,
    ("__builtin__", "list"): list,  # its name in pickles of protocol 2 and older
}
PARTS: dict[str, Split] = {"train": "train", "val": "test"}  # name of a split in the file -> our name


@dataclass(frozen=True)
class Cell:
    """The video ids of one category, task and split. `category` is the file's name for it."""

    task: int
    category: Hashable
    split: Split
    ids: list[str]


class _Foreign(Exception):
    """The pickle asks for something else than these files need."""


class _Reader(pickle._Unpickler):
    """Python's own unpickler. The one in C allocates as much memory as a few bytes of the file demand."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise _Foreign(f"it asks for {shortened(f'{module}.{name}')}")
        return ADMITTED[module, name]


def read_split(path: Path) -> list[Cell]:
    """All cells, by task, training before test. Raises `UserError` if the file is no split file, or repeats a video."""
    cells = [
        Cell(task, category, split, list(ids))
        for task, categories in enumerate(_categories(path), start=1)
        for category, splits in categories.items()
        for split, ids in splits.items()
    ]
    where: dict[str, Cell] = {}
    for cell in cells:
        for video in cell.ids:
            first = where.setdefault(video, cell)
            if first is not cell:
                places = " and ".join(f"category {c.category} of task {c.task}, {c.split}" for c in (first, cell))
                raise UserError(f"{path}: {video} is in {places}: use the original file, which has each video once.")
    return cells


def _categories(path: Path) -> list[dict[Hashable, dict[Split, list[str]]]]:
    """Per task: category -> our split -> ids, in the file's order."""
    tree = _load(path)
    if not isinstance(tree, dict) or set(tree) != set(PARTS):
        raise _unfit(path, "it does not have exactly the keys train and val")
    count = len(tree["train"]) if isinstance(tree["train"], dict) else 0
    for part in PARTS:
        if not isinstance(tree[part], dict) or list(tree[part]) != list(range(1, count + 1)) or not count:
            raise _unfit(path, f"the tasks of {part} are not numbered 1, 2, ... like those of train")
        for task, categories in tree[part].items():
            if not isinstance(categories, dict) or categories.keys() != tree["train"][task].keys() or not categories:
                raise _unfit(path, f"task {task} has other categories in {part} than in train")
            for category, ids in categories.items():
                if not isinstance(ids, list) or not ids or not all(isinstance(video, str) for video in ids):
                    raise _unfit(path, f"category {category} of task {task}, {part}, is not a list of video ids")
    return [
        {category: {ours: tree[part][task][category] for part, ours in PARTS.items()} for category in categories}
        for task, categories in tree["train"].items()
    ]


def _load(path: Path) -> Any:
    try:
        refuse_pipe(path)
        return _Reader(BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name a CTVR split file.") from None
    except _Foreign as error:
        raise _unfit(path, str(error)) from None
    except Exception:  # a broken pickle may raise any error
        raise _unfit(path, "it is not a pickle, or a damaged one") from None


def _unfit(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is not a CTVR split file ({reason}): name one, for example MSRVTT_10_dataset.pkl.")
