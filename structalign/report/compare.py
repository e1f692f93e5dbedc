"""Compare experiments: mean ± std over seeds, paired differences to a baseline, and costs.

`revisions` reads the runs.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from statistics import mean, stdev
from typing import Any

from structalign.errors import UserError
from structalign.evaluation.metrics import METRICS
from structalign.params.ranking import ADDED

COLUMNS = (*METRICS, "R@1_avg", "v2t_R@1", "BWF_seen", "BWF_task")
PAIRED = ("R@1", "BWF_seen", "BWF_task")
FURTHER = tuple(f"ranking.{name}" for name in ADDED)
COST_COLUMNS = ("trained_parameters", "stored_bytes_per_video", "seconds", "peak_memory_bytes")


@dataclass(frozen=True)
class Run:
    """The numbers of one revision.

    `params` are flat, with dotted keys in this version's names, and without the seed. They include `tasks` (from
    `task_list`) and `data`, the beginning of data.dvc's hash.
    """

    name: str
    seed: int
    params: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    costs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The method that was trained."""
        return str(self.params["method.name"])

    @property
    def collection(self) -> tuple[Any, ...]:
        """The tasks and the data. Only runs with equal ones can be compared."""
        return self.params.get("tasks"), self.params.get("data")

    @property
    def partial(self) -> bool:
        """Whether videos of the captions table were missing or broken."""
        return bool(self.metrics.get("partial"))


@dataclass(frozen=True)
class Difference:
    """Mean of (group − baseline), paired over shared seeds, with its 95 % t interval. A single seed has no interval."""

    seeds: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Group:
    """Runs that differ only in the seed."""

    label: str
    runs: Sequence[Run]

    @property
    def name(self) -> str:
        """The label for tables, with `(partial)` if a run lacked videos."""
        return self.label + " (partial)" * any(run.partial for run in self.runs)

    def spread(self, key: str) -> tuple[float, float | None] | None:
        """Mean and sample standard deviation of a metric. One run has no deviation. None if no run has the metric."""
        values = [run.metrics[key] for run in self.runs if run.metrics.get(key) is not None]
        numbers = [float(value) for value in values if value is not None]
        return (mean(numbers), stdev(numbers) if len(numbers) > 1 else None) if numbers else None

    def cost(self, key: str) -> float | None:
        """Mean of a cost over the runs that have it."""
        values = [float(run.costs[key]) for run in self.runs if run.costs.get(key) is not None]
        return mean(values) if values else None


def difference(group: Group, baseline: Group, key: str) -> Difference | None:
    """Paired difference in a metric over shared seeds. None without shared seeds, or if tasks or data differ."""
    if group.runs[0].collection != baseline.runs[0].collection:
        return None
    theirs = {run.seed: run.metrics.get(key) for run in baseline.runs}
    pairs = [(run.metrics.get(key), theirs.get(run.seed)) for run in group.runs]
    gaps = [a - b for a, b in pairs if a is not None and b is not None]
    if not gaps:
        return None
    centre, n = mean(gaps), len(gaps)
    if n == 1:
        return Difference(1, centre, None, None)
    half = student_t(n - 1) * stdev(gaps) / sqrt(n)
    return Difference(n, centre, centre - half, centre + half)


def student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's t distribution."""
    from mpmath import betainc, findroot

    def too_much(t: Any) -> Any:
        return betainc(freedom / 2, 0.5, 0, freedom / (freedom + t * t), regularized=True) - 0.05

    return float(
        findroot(too_much, (1.9, 13), solver="anderson")
    )  # between the quantiles for infinite and for 1 degree of freedom


def group_runs(runs: Iterable[Run]) -> tuple[list[Group], list[str]]:
    """Group runs by tasks, data and all parameters except the seed, in order of appearance. Returns also notes.

    A run that repeats another one (same parameters, seed and numbers) counts once, for example the workspace after
    `dvc exp run`. A run with the same parameters and seed but other numbers is left out with a note. A group's label is
    its method, with the parameters that differ from most groups of that method.
    """
    found: dict[str, dict[int, Run]] = {}
    notes = []
    for run in runs:
        seeds = found.setdefault(json.dumps(run.params, sort_keys=True), {})
        kept = seeds.setdefault(run.seed, run)
        if kept.metrics != run.metrics:
            notes.append(
                f"{run.name} has the parameters and seed of {kept.name}, but other numbers (its code or data "
                "differ): left out."
            )
    groups = [list(seeds.values()) for seeds in found.values()]
    if len({runs[0].collection for runs in groups}) > 1:
        notes.append(
            "the rows use different videos or tasks, so only rows with equal `data` and `tasks` are compared. "
            "`data` is the beginning of data.dvc's hash, `tasks` the number of tasks and a short hash of their list."
        )
    return [Group(_label(runs[0], groups), runs) for runs in groups], notes


def _label(run: Run, groups: Sequence[Sequence[Run]]) -> str:
    same = [runs[0].params for runs in groups if runs[0].method == run.method]
    shown = []
    for key in sorted({key for params in same for key in params}):
        values = [json.dumps(params.get(key)) for params in same]
        # labels leave out what most groups share, so that each ablation names only its change
        shared = 2 * values.count(json.dumps(run.params.get(key))) > len(values)
        # but a method with a further signal must not look like the published method
        if not shared or (key in FURTHER and run.params.get(key)):
            shown.append(f"{key}={run.params.get(key)}")
    return ", ".join([run.method, *shown])


def choose_baseline(groups: Sequence[Group], name: str | None) -> Group:
    """The group with the label or method `name`. Without a name: `finetune`, else the first group."""
    wanted = name or "finetune"
    matching = [g for g in groups if g.label == wanted] or [g for g in groups if g.runs[0].method == wanted]
    if matching:
        return matching[0]
    if name:
        raise UserError(f"no group is named {name!r}: choose one of {'; '.join(g.label for g in groups)}.")
    return groups[0]
