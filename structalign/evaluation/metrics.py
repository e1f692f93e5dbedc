"""Retrieval metrics from ranks. Only NumPy, so that evaluation starts without torch.

Only `evaluate` and `report` import this. So a new metric re-runs neither training nor embedding.

Q queries are rows, V videos are columns. `ground_truth[q]` is the column of the video of query q.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structalign.seeds import seed_of

Ints = NDArray[np.int64]


def recall(k: int) -> Callable[[Ints], float]:
    """R@k: the share of ranks up to k, in percent."""
    return lambda ranks: 100.0 * int(np.count_nonzero(ranks <= k)) / len(ranks)


def median_rank(ranks: Ints) -> float:
    """MedR of ranks [Q]."""
    return float(np.median(ranks))


def mean_rank(ranks: Ints) -> float:
    """MeanR of ranks [Q]."""
    return float(ranks.mean())


# Every metric of a list of ranks [Q], by its name in metrics.json, tables and page.
METRICS: dict[str, Callable[[Ints], float]] = {
    "R@1": recall(1),
    "R@5": recall(5),
    "R@10": recall(10),
    "MedR": median_rank,
    "MeanR": mean_rank,
}


def summarise(ranks: Ints) -> dict[str, float]:
    """All of `METRICS`. Empty for an empty list of ranks.

    >>> summarise(np.array([1, 2, 7, 30]))
    {'R@1': 25.0, 'R@5': 50.0, 'R@10': 75.0, 'MedR': 4.5, 'MeanR': 10.0}
    """
    return {name: metric(ranks) for name, metric in METRICS.items()} if len(ranks) else {}


def recall_interval(ranks: Ints, ground_truth: Ints, draws: int = 1000) -> tuple[float, float] | None:
    """The 95 % interval of R@1 in percent, by a bootstrap over videos. None without ranks, or for a single video.

    All captions of a video are drawn together, since they are not independent. The draws are always the same.

    >>> recall_interval(np.array([1, 1, 2, 2]), np.array([0, 0, 1, 1]))
    (0.0, 100.0)
    """
    videos, of_query = np.unique(ground_truth, return_inverse=True)
    if len(videos) < 2:
        return None
    captions = np.bincount(of_query)
    found = np.bincount(of_query, weights=ranks <= 1)
    source = np.random.default_rng(seed_of("bootstrap", "videos"))
    share = np.full(len(videos), 1 / len(videos))
    # one draw at a time, since all together would take gigabytes for a large gallery
    drawn = (source.multinomial(len(videos), share) for _ in range(draws))
    recalls = [100 * float(times @ found) / int(times @ captions) for times in drawn]
    low, high = np.percentile(recalls, [2.5, 97.5]).tolist()
    return round(low, 4), round(high, 4)


def recall_per_category(ranks: Ints, category: Ints) -> dict[str, dict[str, float]]:
    """The number of queries, and R@1 in percent, of each category with queries.

    >>> recall_per_category(np.array([1, 3, 1]), np.array([0, 0, 4]))
    {'0': {'queries': 2, 'R@1': 50.0}, '4': {'queries': 1, 'R@1': 100.0}}
    """
    rows = {}
    for c in np.unique(category).tolist():
        own = ranks[category == c]
        rows[str(c)] = {"queries": len(own), "R@1": METRICS["R@1"](own)}
    return rows


def measure(
    ranks: Mapping[str, NDArray[Any]],
    system: str,
    ground_truth: Ints,
    video_tasks: Sequence[str],
    tasks: Sequence[str],
) -> dict[str, dict[str, object]]:
    """All metrics of one system and split after the last of `tasks`, from the result of `ranks.rank`.

    In gallery `seen` all videos are candidates, in gallery `task` only those of the query's task. Tasks without queries
    have no entry. All recalls are in percent.
    """
    task_of_video = np.array(video_tasks)
    of_query, of_asked = task_of_video[ground_truth], task_of_video[np.unique(ground_truth)]
    nothing = np.zeros(0, dtype=np.int64)
    text, own, video = (ranks.get(f"{system}_{kind}", nothing) for kind in ("text", "task", "video"))
    text_per_task = {task: summarise(text[of_query == task]) for task in tasks}
    video_per_task = {task: summarise(video[of_asked == task]) for task in tasks}
    own_per_task = {task: summarise(own[of_query == task]) for task in tasks}
    return {
        "t2v": dict(summarise(text)),
        "v2t": dict(summarise(video)),
        "t2v_per_task": {task: found for task, found in text_per_task.items() if found},
        "v2t_per_task": {task: found for task, found in video_per_task.items() if found},
        "acc_seen": {task: found["R@1"] for task, found in text_per_task.items() if found},
        "acc_task": {task: found["R@1"] for task, found in own_per_task.items() if found},
    }
