"""Format numbers of files that outlive a version, so that a reader knows which version wrote a file.

A file without a number has format 1. This module does not import torch, since `prepare` uses it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from structalign.errors import UserError
from structalign.text import shortened

CHECKPOINT_FORMAT = 2  # config.json of a checkpoint; `model.checkpoint` also reads format 1
INDEX_FORMAT = 3  # work/index/<task>.json
LIBRARY_FORMAT = 1  # manifest.json of an index that `structalign index` or `structalign add` writes


def format_of(path: Path, values: Mapping[str, Any], newest: int) -> int:
    """The format of a file with these `values`. Raises `UserError` if it is not a number, or above `newest`."""
    found = values.get("format", 1)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise UserError(
            f"{path}: `format` = {shortened(repr(found))} must be a number from 1: "
            f"restore the file with `dvc checkout {path.parent}`."
        )
    if found > newest:
        raise UserError(
            f"{path} has format {shortened(str(found))}, but this version of structalign reads up to {newest}: "
            "update structalign."
        )
    return found
