"""Sentence-video similarity g (method, section 3), or the single cosine by which a method ranks."""

from torch import Tensor

from structalign.search.signal import Comparison, Signal
from structalign.search.similarity import sentence_cosines


def score(comparison: Comparison, state: None) -> Tensor:
    """g [R, V]."""
    if comparison.vectors is not None:
        return sentence_cosines(comparison.text.sentence, comparison.vectors)
    return comparison.head.sentence(comparison.model, comparison.text.sentence, comparison.videos)


SIGNAL = Signal(score)
