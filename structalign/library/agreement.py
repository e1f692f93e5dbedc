"""The self-test of candidates: how often they give the results of exact ranking."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from structalign.console import track
from structalign.library.limits import FIRST
from structalign.library.video_index import VideoIndex

TOP = 10
LEAST_TOP, LEAST_FIRST = 0.99, 0.98  # below these, candidates are not good enough


@dataclass(frozen=True)
class Agreement:
    """top: the share of exact ranking's first 10 files among those of the candidates. first: of equal first files.

    Both are means over some sentences about videos of `task`, None for all.
    """

    task: str | None
    sentences: int
    top: float
    first: float

    @property
    def good(self) -> bool:
        return self.top >= LEAST_TOP and self.first >= LEAST_FIRST


def agreement(
    index: VideoIndex,
    sentences: Sequence[tuple[str, str | None]],
    candidates: int = FIRST,
    seconds: float = math.inf,
) -> list[Agreement]:
    """How well candidates agree with exact ranking, by the task of the sentence, and last for all sentences.

    sentences: pairs of a sentence and its task or None. After `seconds`, no further one is compared. Raises `UserError`
    if the method has no candidates.
    """
    index.mode("candidates")
    found, end = [], time.monotonic() + seconds
    for sentence, task in track(sentences, "comparing with exact ranking"):
        found.append((task, *_compared(index, sentence, candidates)))
        if time.monotonic() > end:
            break
    groups = sorted({task for task, _, _ in found if task is not None})
    return [_mean(task, [pair for own, *pair in found if own == task]) for task in groups] + [
        _mean(None, [pair for _, *pair in found])
    ]


def _compared(index: VideoIndex, sentence: str, candidates: int) -> tuple[float, float]:
    if not len(index):
        return 1.0, 1.0
    exact = [hit.id for hit in index.results(sentence, TOP, mode="exact").hits]
    among = [hit.id for hit in index.results(sentence, TOP, mode="candidates", candidates=candidates).hits]
    return len(set(exact) & set(among)) / max(len(exact), 1), float(exact[:1] == among[:1])


def _mean(task: str | None, pairs: Sequence[Sequence[float]]) -> Agreement:
    top, first = np.mean(pairs, axis=0).tolist() if pairs else (1.0, 1.0)
    return Agreement(task, len(pairs), top, first)
