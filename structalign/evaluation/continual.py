"""Metrics over time: learning and forgetting.

An accuracy matrix is a mapping `acc[t][i]` in order of time: R@1 (percent) of task i's queries after task t.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from structalign.evaluation.metrics import METRICS

Accuracy = Mapping[str, Mapping[str, float]]


def backward_forgetting(acc: Accuracy, categories: Mapping[str, int], after: str) -> float:
    """BWF_t = Σ_{i<t} c_i (Acc(i,i) − Acc(i,t)) / Σ_{i<t} c_i, c_i = categories of task i.

    Positive values are forgetting. After the first task it is 0. Tasks without queries, for example with an empty
    validation split, do not count.

    >>> acc = {"t01": {"t01": 50.0}, "t02": {"t01": 40.0, "t02": 60.0}}
    >>> backward_forgetting(acc, {"t01": 4, "t02": 4}, after="t02")
    10.0
    """
    times = list(acc)
    past = [i for i in times[: times.index(after)] if i in acc[i] and i in acc[after]]
    weight = sum(categories[i] for i in past)
    return sum(categories[i] * (acc[i][i] - acc[after][i]) for i in past) / weight if weight else 0.0


def over_time(evaluations: Sequence[Mapping[str, Any]], categories: Mapping[str, int]) -> dict[str, Any]:
    """Turn the evaluations after t01, t02, … into matrices over time, per split and system.

    Result `[split][system]`, systems `method` and `zero_shot`: `t2v` and `v2t` (metrics over all seen videos, per
    time), `t2v_interval` (95 % of R@1, per time), `t2v_per_task`, `v2t_per_task`, `acc_seen`, `acc_task` (`[t][i]`),
    `bwf_seen`, `bwf_task` (per time).
    """
    table: dict[str, Any] = {}
    for split in ("test", "val"):
        for system in ("method", "zero_shot"):
            times: dict[str, Any] = {e["task"]: e["splits"][split][system] for e in evaluations}
            entry: dict[str, Any] = {
                name: {after: measures[name] for after, measures in times.items()}
                for name in ("t2v", "v2t", "t2v_per_task", "v2t_per_task", "acc_seen", "acc_task")
            }
            entry["t2v_interval"] = {after: measures.get("t2v_interval") for after, measures in times.items()}
            for gallery in ("seen", "task"):
                acc = entry[f"acc_{gallery}"]
                entry[f"bwf_{gallery}"] = {after: backward_forgetting(acc, categories, after) for after in times}
            table.setdefault(split, {})[system] = entry
    return table


def headline(table: Mapping[str, Any]) -> dict[str, float | None]:
    """The numbers of reports/metrics.json: test split, text to video, all seen videos, after the last task.

    Metrics of a split without queries are null.
    """
    test, zero_shot, val = table["test"]["method"], table["test"]["zero_shot"], table["val"]["method"]
    last = list(test["t2v"])[-1]
    recalls = [measures["R@1"] for measures in test["t2v"].values() if measures]
    numbers = {key: test["t2v"][last].get(key) for key in METRICS}
    numbers |= {
        "R@1_avg": sum(recalls) / len(recalls) if recalls else None,
        "v2t_R@1": test["v2t"][last].get("R@1"),
        "BWF_seen": test["bwf_seen"][last],
        "BWF_task": test["bwf_task"][last],
        "zero_shot_R@1": zero_shot["t2v"][last].get("R@1"),
        "zero_shot_BWF_seen": zero_shot["bwf_seen"][last],
        "val_R@1": val["t2v"][last].get("R@1"),
        "val_BWF_seen": val["bwf_seen"][last] if val["t2v"][last] else None,
    }
    return {key: None if value is None else round(value, 4) for key, value in numbers.items()}


def head_categories(shots: Mapping[int, int]) -> set[int]:
    """The categories with more training videos (`shots`) than the geometric mean of the largest and smallest number.

    Empty if all categories have equally many. The others are the tail.

    >>> head_categories({0: 100, 1: 10, 2: 4})
    {0}
    """
    bound = max(shots.values()) * min(shots.values())
    return {category for category, count in shots.items() if count**2 > bound}


def head_and_tail(per_category: Mapping[str, Mapping[str, float]], shots: Mapping[int, int]) -> dict[str, float]:
    """R@1 (percent) of the queries of head and of tail categories. Empty if all categories have equally many videos.

    `per_category`: `queries` and `R@1` by category id. `shots`: training videos of each category.

    >>> rows = {"0": {"queries": 2, "R@1": 50.0}, "1": {"queries": 4, "R@1": 25.0}, "2": {"queries": 4, "R@1": 0.0}}
    >>> head_and_tail(rows, {0: 100, 1: 10, 2: 4})
    {'head': 50.0, 'tail': 12.5}
    """
    head = head_categories(shots)
    if not head:
        return {}
    parts: dict[str, list[Mapping[str, float]]] = {"head": [], "tail": []}
    for category, row in per_category.items():
        parts["head" if int(category) in head else "tail"].append(row)
    return {
        name: sum(row["R@1"] * row["queries"] for row in rows) / sum(row["queries"] for row in rows)
        for name, rows in parts.items()
        if rows
    }
