"""The engine `Scan`: every key is computed. Exact, needs nothing to install, for up to about a million segments.

Letters: T tasks, V stored segments, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from structalign.library.entries import Entries, Filters

ROWS = 65_536  # rows at a time, so that keys stay in the cache
FEW = 8  # copying this share of the rows is quicker than multiplying all


@dataclass(frozen=True)
class Block:
    """Vectors [V, D] of neighbouring segments that one task stored. task: its position among the index's tasks."""

    task: int
    vectors: NDArray[np.floating]


@dataclass(frozen=True)
class Scan:
    """All segments of an index, as blocks in the order of its entries."""

    entries: Entries
    blocks: Sequence[Block]

    def find(self, vectors: NDArray[np.float32], bonus: Sequence[float], k: int, filters: Filters) -> list[str]:
        """As of `Engine`. Of equal keys, the earlier segment comes first."""
        admitted = self.entries.admitted(filters)
        keys, places, first = [np.zeros(0, np.float32)], [np.zeros(0, np.int64)], 0
        for block in self.blocks:
            for start in range(0, len(block.vectors), ROWS):
                rows = block.vectors[start : start + ROWS]
                begin = first + start
                chosen = None if admitted is None else np.flatnonzero(admitted[begin : begin + len(rows)])
                if chosen is not None and FEW * len(chosen) < len(rows):
                    found = rows[chosen] @ vectors[block.task]
                else:
                    found = rows @ vectors[block.task]
                    found = found if chosen is None else found[chosen]
                found += np.float32(bonus[block.task])
                best = _best(found, k)
                keys.append(found[best])
                places.append(begin + (best if chosen is None else chosen[best]))
            first += len(block.vectors)
        all_keys, all_places = np.concatenate(keys), np.concatenate(places)
        order = np.lexsort((all_places, -all_keys))[:k]
        return self.entries.ids(all_places[order].tolist())


def _best(keys: NDArray[np.floating], k: int) -> NDArray[np.int64]:
    """The positions of the `k` largest keys, in no order. Of equal ones at the limit, the earlier ones."""
    if len(keys) <= k:
        return np.arange(len(keys))
    limit = np.partition(keys, len(keys) - k)[len(keys) - k]
    above, equal = np.flatnonzero(keys > limit), np.flatnonzero(keys == limit)
    return np.concatenate([above, equal[: k - len(above)]])
