"""The place of an index of folders: in the user's data folder, never among the videos."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_data_path

from structalign.errors import UserError
from structalign.library.segments import FRAMES, LONGEST, SAME_SHOT, SHORTEST

SAMPLING = {"frames_a_second": 1, "frames": FRAMES, "longest": LONGEST, "shortest": SHORTEST, "same_shot": SAME_SHOT}


def place_of(folders: Sequence[Path], backbone: str) -> Path:
    """The index of these real folders for the backbone with this hash and the current sampling."""
    key = "\0".join([*map(str, folders), backbone, repr(sorted(SAMPLING.items()))])
    name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return user_data_path("structalign") / "indexes" / name


def refuse_among_videos(index: Path, folders: Sequence[Path]) -> None:
    """Raise a `UserError` if an index is inside one of its folders."""
    real = index.resolve()
    for folder in folders:
        if real == folder or folder in real.parents:
            raise UserError(f"{index} is inside {folder}, which is to be indexed: choose a place outside it.")
