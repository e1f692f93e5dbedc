"""Cache the items of a stage in one file each, so that an interrupted run can resume. Damaged files are made again.

`store.whole` writes all or nothing as long as the machine runs. A power failure may still leave half a file.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError

from structalign.store import whole

DAMAGE = (SafetensorError, TypeError, KeyError, ValueError)  # raised when reading half a file, or one with zeros

T = TypeVar("T")


def load_or_make(file: Path, make: Callable[[], T], save: Callable[[T, Path], None], load: Callable[[Path], T]) -> T:
    """Load the item from `file`. If that fails, make it with `make` and write it with `save`.

    `save` and `load` use a safetensors file, in which half a file is detected.
    """
    item = load_whole(file, load)
    if item is None:
        item = make()
        with whole(file) as part:
            save(item, part)
    return item


def load_whole(file: Path, load: Callable[[Path], T]) -> T | None:
    """The item in `file`, or None if the file is missing or incomplete."""
    if not file.exists():
        return None
    try:
        return load(file)
    except DAMAGE:
        return None
