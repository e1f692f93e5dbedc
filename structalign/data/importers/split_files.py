"""The split files of the CTVR benchmark: pickles of {train, val} -> task 1..K -> category -> video ids.

A pickle can run any code while it is read. These hold nothing but dictionaries, lists, numbers and texts, some
in a `collections.defaultdict(list)`; so nothing else is admitted. Their `val` is the test split.
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
from structalign.text import shortened

ADMITTED = {
    ("collections", "defaultdict"): defaultdict,
    ("builtins", "list"): list,
    ("__builtin__", "list"): list,  # its name in pickles of protocol 2 and older
}
PARTS: dict[str, Split] = {"train": "train", "val": "test"}  # a split file's name of a split -> ours


@dataclass(frozen=True)
class Cell:
    """The video ids of one category of one task in one split; `category` as the file names it."""

    task: int
    category: Hashable
    split: Split
    ids: list[str]


class _Reader(pickle._Unpickler):
    """The reader written in Python: the one in C gives as much memory as a few bytes of the file ask for."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return ADMITTED[module, name]


def read_split(path: Path) -> list[Cell]:
    """All cells, tasks in order and training before test; `UserError` if the file is no split, or an unfair one."""
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
                raise UserError(
                    f"{path}: {video} is in {places}: a benchmark has a video once, take the original file."
                )
    return cells


def _categories(path: Path) -> list[dict[Hashable, dict[Split, list[str]]]]:
    """Per task: category -> our split -> ids, in the file's order."""
    tree = _load(path)
    if not isinstance(tree, dict) or set(tree) != set(PARTS):
        raise _unfit(path, "it has not just the two keys train and val")
    count = len(tree["train"]) if isinstance(tree["train"], dict) else 0
    for part in PARTS:
        if not isinstance(tree[part], dict) or list(tree[part]) != list(range(1, count + 1)) or not count:
            raise _unfit(path, f"the tasks of {part} are not numbered 1, 2, ... as those of train")
        for task, categories in tree[part].items():
            if not isinstance(categories, dict) or categories.keys() != tree["train"][task].keys() or not categories:
                raise _unfit(path, f"task {task} has other categories in {part} than in train")
            for category, ids in categories.items():
                if not isinstance(ids, list) or not ids or not all(isinstance(video, str) for video in ids):
                    raise _unfit(path, f"category {category} of task {task}, {part}, is no list of video ids")
    return [
        {category: {ours: tree[part][task][category] for part, ours in PARTS.items()} for category in categories}
        for task, categories in tree["train"].items()
    ]


def _load(path: Path) -> Any:
    try:
        return _Reader(BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name a CTVR split file.") from None
    except Exception as error:  # a broken pickle raises whatever its bytes lead to
        raise _unfit(path, shortened(" ".join(str(error).split())) or type(error).__name__) from None


def _unfit(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is no CTVR split file ({reason}): name one, as MSRVTT_10_dataset.pkl.")
