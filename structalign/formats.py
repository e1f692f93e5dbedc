"""Format numbers of the files that outlive a version: a reader knows which version wrote what it reads.

A file without a number is of format 1, from before there were numbers. Torch-free, since `prepare` writes both kinds.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from structalign.errors import UserError

CHECKPOINT_FORMAT = 2  # config.json of a checkpoint; `model.checkpoint` reads format 1, too
INDEX_FORMAT = 2  # work/index/<task>.json
LIBRARY_FORMAT = 1  # manifest.json of an index that `structalign index` or `structalign add` writes


def format_of(path: Path, values: Mapping[str, Any], newest: int) -> int:
    """The format of a file at `path` that holds `values`; one above `newest`, or no number at all, is a `UserError`."""
    found = values.get("format", 1)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise UserError(f"{path}: `format` = {found!r} is no number from 1: `dvc checkout {path.parent}` restores it.")
    if found > newest:
        raise UserError(
            f"{path} has format {found}, and this version of structalign reads up to {newest}: update structalign."
        )
    return found
