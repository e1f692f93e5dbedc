"""Word-frame similarity s (method, section 3)."""

from torch import Tensor

from structalign.search.signal import Comparison, Signal
from structalign.search.similarity import mean_of_best


def score(comparison: Comparison, state: None) -> Tensor | None:
    """s [R, V]. None if the head ranks by a single cosine."""
    if not comparison.head.words:
        return None
    return mean_of_best(comparison.cosines, comparison.best_words, comparison.text.mask, exact=True)


SIGNAL = Signal(score)
