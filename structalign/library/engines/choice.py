"""Which engine finds an index's candidates: Qdrant if its URL is in the environment, otherwise `Scan`."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from structalign.errors import UserError
from structalign.extras import require
from structalign.library.engines.protocol import Engine
from structalign.library.engines.scan import Block, Scan
from structalign.library.entries import Entries

if TYPE_CHECKING:
    from structalign.library.engines.qdrant import Qdrant

URL, KEY, COLLECTION = "STRUCTALIGN_QDRANT", "STRUCTALIGN_QDRANT_KEY", "STRUCTALIGN_QDRANT_COLLECTION"


def uses_qdrant() -> bool:
    """Whether Qdrant's URL is in the environment."""
    return bool(os.environ.get(URL))


def engine_of(path: Path | None, entries: Entries, blocks: Sequence[Block], tasks: Sequence[int]) -> Engine:
    """The engine of the index at `path`, or `Scan` without a path. tasks: the numbers of its tasks.

    Raises `UserError` if Qdrant is asked for, but is not installed, does not answer, or has no such collection.
    """
    if path is None or not uses_qdrant():
        return Scan(entries, blocks)
    found = qdrant_of(path, tasks)
    if not found.exists():
        raise UserError(f"Qdrant has no collection {found.collection}: run `structalign index push`, or unset {URL}.")
    return found


def note_of(engine: Engine, count: int) -> str | None:
    """A note if the engine holds fewer than `count` segments."""
    if isinstance(engine, Scan) or (held := cast("Qdrant", engine).count()) >= count:
        return None
    return f"Qdrant has {held:,} of {count:,} segments: run `structalign index push`."


def qdrant_of(path: Path, tasks: Sequence[int]) -> "Qdrant":
    """The Qdrant collection of the index at `path`. Raises `UserError` if no URL is set, or if the extra is missing."""
    url = os.environ.get(URL)
    if not url:
        raise UserError(f"{URL} is not set: set it to Qdrant's address, for example http://127.0.0.1:6333.")
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{URL}={url} is not an address: set it to one such as http://127.0.0.1:6333.")
    require("qdrant_client")
    from structalign.library.engines.qdrant import connected

    return connected(url, os.environ.get(KEY), os.environ.get(COLLECTION) or collection_of(path), tasks)


def collection_of(path: Path) -> str:
    """The name of an index's collection, from its real path."""
    return f"structalign-{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
