"""Sentence-video similarity g (method, section 3), or the one cosine that a method ranks by."""

from torch import Tensor

from structalign.search.signal import Comparison, Signal


def score(comparison: Comparison, state: None) -> Tensor:
    """g [R, V]."""
    return comparison.head.sentence(comparison.model, comparison.text.sentence, comparison.videos)


SIGNAL = Signal(score)
