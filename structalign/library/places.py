"""Where the index of raw folders lies: in the user's data folder, never among the videos."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_data_path

from structalign.errors import UserError
from structalign.library.segments import FRAMES, LONGEST, SAME_SHOT, SHORTEST

SAMPLING = {"frames_a_second": 1, "frames": FRAMES, "longest": LONGEST, "shortest": SHORTEST, "same_shot": SAME_SHOT}


def place_of(folders: Sequence[Path], backbone: str) -> Path:
    """The index of these real folders by the backbone of this hash, sampled as now."""
    key = "\0".join([*map(str, folders), backbone, repr(sorted(SAMPLING.items()))])
    name = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return user_data_path("structalign") / "indexes" / name


def refuse_among_videos(index: Path, folders: Sequence[Path]) -> None:
    """`UserError` for an index inside of a folder that it is of."""
    real = index.resolve()
    for folder in folders:
        if real == folder or folder in real.parents:
            raise UserError(f"{index} lies in {folder}, which is to be indexed: name a place outside of it.")
