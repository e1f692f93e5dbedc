"""Which engine finds an index's candidates: `Scan`."""

from collections.abc import Sequence
from pathlib import Path

from structalign.library.engines.protocol import Engine
from structalign.library.engines.scan import Block, Scan
from structalign.library.ranking import Entries


def engine_of(path: Path, entries: Entries, blocks: Sequence[Block]) -> Engine:
    """The engine of the index at `path`."""
    return Scan(entries, blocks)
