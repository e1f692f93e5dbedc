"""Ranks of all queries from stored score matrices, as the evaluate stage computes them.

Ours: `evaluation.ranks.rank`, which also finds the videos that the report shows. Plain: each whole row is sorted.
"""

from collections.abc import Iterator

import numpy as np

from benchmarks import plain
from benchmarks.measuring import Row, in_turn
from structalign.evaluation.ranks import rank
from structalign.params.ranking import Ranking

TASKS = 10


def ranking(toy: bool) -> Iterator[Row]:
    """Queries ranked against a gallery."""
    videos, queries = (40, 20) if toy else (10_000, 1_000)
    scores, own, task = made_scores(videos, queries)
    names = [f"t{number:02d}" for number in task.tolist()]
    ways = {
        "plain": lambda: plain.rank(scores, own, task, 0.5),
        "ours": lambda: rank([scores], own, names, Ranking(beta=0.5, task_prior=0)),
    }
    yield in_turn(f"rank, {videos:,} videos × {queries:,} queries", ways, 1 if toy else 5)


def made_scores(videos: int, queries: int) -> tuple[dict[str, plain.Floats], plain.Integers, plain.Integers]:
    """Random matrices [Q, V] by the names of scoring, each query's video, and each video's task."""
    source = np.random.default_rng(0)
    names = [f"{system}.{kind}" for system in ("method", "zero_shot") for kind in ("words", "sentence")]
    scores: dict[str, plain.Floats] = {
        name: source.standard_normal((queries, videos), dtype=np.float32) for name in names
    }
    scores["best_frame"] = source.integers(0, 12, (queries, videos), dtype=np.uint8)  # type: ignore[assignment]
    return scores, np.arange(queries) * videos // queries, np.arange(videos) * TASKS // videos
