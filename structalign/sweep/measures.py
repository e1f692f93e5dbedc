"""The metrics of a run, from the ranks in its file. Their intervals resample videos. Only NumPy is used.

Letters: D draws of W videos, Q queries.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structalign.evaluation.continual import head_categories
from structalign.seeds import seed_of

Floats = NDArray[np.float64]

DRAWS = 1000
# by their names in tables, in that order
MEASURES = ("R@1", "R@5", "R@10", "v2t R@1", "BWF seen", "BWF task", "learned", "final")
IN_TASK = "R@1 task"
PARTS = ("head R@1", "tail R@1")  # only if categories differ in their number of training videos


def draws(videos: int) -> Floats:
    """How often each of W videos is drawn, [1 + D, W]. Row 0 has every video once, the others are bootstrap draws."""
    source = np.random.default_rng(seed_of("bootstrap", "videos"))
    drawn = source.multinomial(videos, np.full(videos, 1 / videos), size=DRAWS)
    return np.vstack([np.ones(videos), drawn])


def measures(run: Mapping[str, Any], row: str) -> dict[str, float]:
    """The metrics of a row, in percent."""
    return {name: float(values[0]) for name, values in resampled(run, row, np.ones((1, len(run["videos"])))).items()}


def resampled(run: Mapping[str, Any], row: str, times: Floats) -> dict[str, Floats]:
    """Each metric of a row [D], in percent. A video and its captions count `times` [D, W] times.

    `learned` and `final` are R@1 among the videos of the query's task, averaged over tasks. `learned` is measured just
    after the task, `final` after the last one. BWF is weighted by the tasks' categories. `joint` has none of these,
    since it learns no task by itself. `R@1 task` is R@1 of all queries among the videos of their own task, as by a
    ranking that knows it. Head and tail are those of `evaluation.continual.head_categories`.
    """
    ranks = {kind: np.array(values) for kind, values in run["rows"][row].items()}
    of_query, of_video = np.array(run["queries"]), np.array(run["tasks"])
    captions = np.bincount(of_query, minlength=len(of_video))
    asked = times @ captions

    def found(kind: str, k: int = 1) -> Floats:
        """How many captions of each video were found [W]."""
        return np.bincount(of_query, weights=ranks[kind] <= k, minlength=len(of_video)).astype(float)

    numbers = {f"R@{k}": 100 * (times @ found("rank", k)) / asked for k in (1, 5, 10)}
    numbers["v2t R@1"] = 100 * (times @ (ranks["v2t rank"] <= 1)) / times.sum(axis=1)
    numbers[IN_TASK] = 100 * (times @ found("rank in task")) / asked
    if head := head_categories({int(category): count for category, count in run["training videos"].items()}):
        in_head = np.isin(run["category"], [*head])
        for name, part in zip(PARTS, (times * in_head, times * ~in_head), strict=True):
            with np.errstate(invalid="ignore"):  # a draw may have no video of a part
                numbers[name] = 100 * (part @ found("rank")) / (part @ captions)
    if "learned rank" in ranks:
        tasks = [task for task in run["categories"] if task in run["tasks"]]
        member = np.array([of_video == task for task in tasks], dtype=float).T

        def accuracy(kind: str) -> Floats:
            """R@1 of each task's queries [D, T]; NaN where a draw has no video of a task."""
            with np.errstate(invalid="ignore"):
                shares: Floats = ((times * found(kind)) @ member) / ((times * captions) @ member)
                return 100 * shares

        weights = np.array([run["categories"][task] for task in tasks[:-1]], dtype=float)
        for name, kind in (("BWF seen", "rank"), ("BWF task", "rank in task")):
            lost = (accuracy(f"learned {kind}") - accuracy(kind))[:, :-1]
            there = ~np.isnan(lost)
            numbers[name] = np.nansum(lost * weights, axis=1) / np.maximum((there * weights).sum(axis=1), 1e-9)
        numbers["learned"] = np.nanmean(accuracy("learned rank in task"), axis=1)
        numbers["final"] = np.nanmean(accuracy("rank in task"), axis=1)
    return numbers


def over_seeds(runs: Sequence[Mapping[str, Any]], row: str, times: Floats) -> dict[str, Floats]:
    """The mean of `resampled` over runs that differ only in the seed."""
    each = [resampled(run, row, times) for run in runs]
    return {name: np.mean([values[name] for values in each], axis=0) for name in each[0]}


def interval(values: Floats) -> tuple[float, float, float]:
    """The value itself and its 95 % interval, from `resampled` with `draws`."""
    low, high = np.nanpercentile(values[1:], [2.5, 97.5])
    return float(values[0]), float(low), float(high)
