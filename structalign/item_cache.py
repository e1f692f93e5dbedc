"""Items of a stage that was interrupted: a file each, made once, and made again where it is only half there.

`store.whole` writes a file whole or not at all as long as the machine runs. One that loses power may leave half.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError

from structalign.store import whole

DAMAGE = (SafetensorError, TypeError, KeyError, ValueError)  # what reading raises of half a file, or of zeros in it

T = TypeVar("T")


def load_or_make(file: Path, make: Callable[[], T], save: Callable[[T, Path], None], load: Callable[[Path], T]) -> T:
    """The item that `file` holds, or that `make` gives, which `save` then writes there.

    save and load: to and from a safetensors file, so that half a file is known as such.
    """
    item = load_whole(file, load)
    if item is None:
        item = make()
        with whole(file) as part:
            save(item, part)
    return item


def load_whole(file: Path, load: Callable[[Path], T]) -> T | None:
    """The item that `file` holds, or None where there is no file or half of one."""
    if not file.exists():
        return None
    try:
        return load(file)
    except DAMAGE:
        return None
