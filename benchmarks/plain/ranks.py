"""Ranks by sorting whole rows. Letters: Q queries, V videos."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]


def fused(words: Floats, sentence: Floats, beta: float) -> Floats:
    """The ranking score [Q, V]: the weighted sum of both similarities, standardised by row."""

    def standardised(scores: Floats) -> Floats:
        deviation = np.maximum(scores.std(axis=1, keepdims=True), 1e-6)
        found: Floats = (scores - scores.mean(axis=1, keepdims=True)) / deviation
        return found

    return beta * standardised(words) + (1 - beta) * standardised(sentence)


def places(scores: Floats, own: Integers) -> Integers:
    """[Q] the rank, from 1, of column `own` in each row, by sorting the whole row."""
    order = np.argsort(-scores, axis=1)
    found: Integers = np.argmax(order == own[:, None], axis=1) + 1
    return found


def rank(scores: dict[str, Floats], own: Integers, task: Integers, beta: float) -> dict[str, Integers]:
    """Ranks of the method and of zero-shot CLIP, by sorting.

    They are text to video among all videos, text to video among the own task's videos, and video to text. `own`: [Q]
    the video of each query, which has no other query. task: [V]. Scores [Q, V] are named `<system>.<similarity>`.
    """
    found = {"zero_shot_sentence": places(scores["zero_shot.sentence"], own)}
    for system in ("method", "zero_shot"):
        words, sentence = scores[f"{system}.words"], scores[f"{system}.sentence"]
        both = fused(words, sentence, beta)
        found[f"{system}_text"] = places(both, own)
        found[f"{system}_video"] = places(both[:, own].T, np.arange(len(own)))
        found[f"{system}_task"] = np.zeros(len(own), dtype=np.int64)
        for number in np.unique(task[own]):
            rows, columns = np.flatnonzero(task[own] == number), np.flatnonzero(task == number)
            here = fused(words[rows][:, columns], sentence[rows][:, columns], beta)
            found[f"{system}_task"][rows] = places(here, np.searchsorted(columns, own[rows]))
    return found
