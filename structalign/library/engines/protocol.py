"""What an engine does: find the videos with the largest keys. All else is the same for every engine.

Letters: T tasks, V stored segments, D embedding.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from structalign.library.entries import Filters


class Engine(Protocol):
    """Holds one unit vector x per stored segment, and the task p that stored it."""

    def find(self, vectors: NDArray[np.float32], bonus: Sequence[float], k: int, filters: Filters) -> list[str]:
        """The ids of the `k` segments with the largest <vectors_p, x> + bonus_p, best first, among those admitted.

        vectors: [T, D] and bonus: [T], by task in the order of the index's tasks.
        """
        ...
