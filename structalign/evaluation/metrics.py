"""Retrieval metrics of one score matrix: what went in, what rank came out. NumPy alone, so that evaluation
starts without torch.

Q queries are rows, V videos are columns; `ground_truth[q]` is the column of the video that query q describes.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from structalign.errors import UserError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AT_ONCE = 1 << 23  # scores of videos that are looked at together: 64 MiB of float64


def text_to_video_ranks(scores: NDArray[np.floating], ground_truth: Ints, first: int = 0) -> Ints:
    """Rank (Q,) of each query's own video; a tie counts against us, so a collapsed model comes last.

    `first` is the number of the first row, where the rows are some of all queries.

    >>> scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.1]])
    >>> text_to_video_ranks(scores, ground_truth=np.array([2, 0])).tolist()
    [2, 2]
    """
    _refuse_nan(scores, first)
    own = scores[np.arange(len(ground_truth)), ground_truth]
    # The own video ties with itself: its own count is the 1 of "1 + negatives at least as good".
    ranks: Ints = np.count_nonzero(scores >= own[:, None], axis=1).astype(np.int64)
    return ranks


def video_to_text_ranks(scores: NDArray[np.floating], ground_truth: Ints) -> tuple[Ints, Ints]:
    """Columns of the videos that have a caption, and the rank of each one's best own caption.

    The video's other captions are no negatives; a tie with a foreign caption counts against us.

    >>> scores = np.array([[0.9, 0.8], [0.1, 0.2], [0.5, 0.7]])
    >>> videos, ranks = video_to_text_ranks(scores, ground_truth=np.array([0, 0, 1]))
    >>> videos.tolist(), ranks.tolist()
    ([0, 1], [1, 2])
    """
    videos = np.unique(ground_truth)
    ranks = [np.zeros(0, dtype=np.int64)]
    for part in np.array_split(videos, max(1, len(ground_truth) * len(videos) // AT_ONCE)):
        columns = scores[:, part]
        _refuse_nan(columns)
        own_columns = ground_truth[:, None] == part[None, :]
        best = np.where(own_columns, columns, -np.inf).max(axis=0, initial=-np.inf)
        ranks.append(1 + np.count_nonzero((columns >= best) & ~own_columns, axis=0))
    return videos, np.concatenate(ranks)


def recall(k: int) -> Callable[[Ints], float]:
    """R@k: the share of ranks up to k, in percent."""
    return lambda ranks: 100.0 * int(np.count_nonzero(ranks <= k)) / len(ranks)


def median_rank(ranks: Ints) -> float:
    """MedR of ranks [Q]."""
    return float(np.median(ranks))


def mean_rank(ranks: Ints) -> float:
    """MeanR of ranks [Q]."""
    return float(ranks.mean())


# Every metric of a list of ranks [Q], by the name that metrics.json, tables and page give it.
METRICS: dict[str, Callable[[Ints], float]] = {
    "R@1": recall(1),
    "R@5": recall(5),
    "R@10": recall(10),
    "MedR": median_rank,
    "MeanR": mean_rank,
}


def summarise(ranks: Ints) -> dict[str, float]:
    """All of `METRICS`; an empty list of ranks has none.

    >>> summarise(np.array([1, 2, 7, 30]))
    {'R@1': 25.0, 'R@5': 50.0, 'R@10': 75.0, 'MedR': 4.5, 'MeanR': 10.0}
    """
    return {name: metric(ranks) for name, metric in METRICS.items()} if len(ranks) else {}


def recall_per_category(ranks: Ints, category: Ints) -> dict[str, dict[str, float]]:
    """Number of queries, and R@1 in percent, of every category that has queries.

    >>> recall_per_category(np.array([1, 3, 1]), np.array([0, 0, 4]))
    {'0': {'queries': 2, 'R@1': 50.0}, '4': {'queries': 1, 'R@1': 100.0}}
    """
    rows = {}
    for c in np.unique(category).tolist():
        own = ranks[category == c]
        rows[str(c)] = {"queries": len(own), "R@1": METRICS["R@1"](own)}
    return rows


def _refuse_nan(scores: NDArray[np.floating], first: int = 0) -> None:
    bad = np.argwhere(np.isnan(scores))
    if len(bad):
        query, video = bad[0]
        raise UserError(
            f"the score of query {first + query} and video {video} is not a number: the model has diverged; "
            "lower its learning rates (`optim.first.lr`, `optim.later.lr`) and train again."
        )
