"""Experiments side by side: mean ± std over seeds, paired differences to a baseline, and what each one cost.

The only door to DVC: revisions and experiments are read through its API, whatever is checked out.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import sqrt
from statistics import mean, stdev
from typing import Any

from pydantic import ValidationError

from structalign.errors import UserError
from structalign.evaluation.metrics import METRICS
from structalign.params.former import GONE, as_of_now, name_now
from structalign.params.losses import Losses, acting, sections
from structalign.params.schema import defaults
from structalign.params.section import leaves
from structalign.paths import LOSSES, MANIFEST
from structalign.store import json_text
from structalign.strict_yaml import parse_yaml

COLUMNS = (*METRICS, "R@1_avg", "v2t_R@1", "BWF_seen", "BWF_task")
PAIRED = ("R@1", "BWF_seen", "BWF_task")
COST_COLUMNS = ("trained_parameters", "stored_bytes_per_video", "seconds")
WORKSPACE = "workspace"
HEAD = "HEAD"


@dataclass(frozen=True)
class Run:
    """One revision's numbers; `params` are flat with dotted keys, without the seed, under the names of this version
    whatever the revision's; with `tasks` from `task_list`, and `data`, the beginning of data.dvc's hash."""

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
        """The tasks and the data: what two runs must share to be compared."""
        return self.params.get("tasks"), self.params.get("data")

    @property
    def partial(self) -> bool:
        """Whether videos of the captions table were missing or broken."""
        return bool(self.metrics.get("partial"))


@dataclass(frozen=True)
class Difference:
    """Paired over shared seeds: mean of (group − baseline) with its 95 % t interval; none for a single seed."""

    seeds: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Group:
    """Runs of the same tasks and data that differ in nothing but the seed."""

    label: str
    runs: Sequence[Run]

    @property
    def name(self) -> str:
        """The label, with `(partial)` where a run lacked videos: for tables."""
        return self.label + " (partial)" * any(run.partial for run in self.runs)

    def spread(self, key: str) -> tuple[float, float | None] | None:
        """Mean and sample standard deviation (one run has none) of a metric; None where no run has it."""
        values = [run.metrics[key] for run in self.runs if run.metrics.get(key) is not None]
        numbers = [float(value) for value in values if value is not None]
        return (mean(numbers), stdev(numbers) if len(numbers) > 1 else None) if numbers else None

    def cost(self, key: str) -> float | None:
        """Mean of a cost over the runs that know it."""
        values = [float(run.costs[key]) for run in self.runs if run.costs.get(key) is not None]
        return mean(values) if values else None


def difference(group: Group, baseline: Group, key: str) -> Difference | None:
    """Paired difference in a metric over the seeds that both have; None without any, or where tasks or data differ."""
    from scipy.special import stdtrit

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
    half = float(stdtrit(n - 1, 0.975)) * stdev(gaps) / sqrt(n)
    return Difference(n, centre, centre - half, centre + half)


def group_runs(runs: Iterable[Run]) -> tuple[list[Group], list[str]]:
    """Group by the tasks, the data and every parameter but the seed, in order of appearance; also notes.

    A run that repeats another (same parameters, seed and numbers: the workspace after `dvc exp run`, say) counts
    once. One with the same parameters and seed but other numbers can't be told apart: it is left out with a note.
    A group is called by its method and those parameters in which it is not as most groups of that method.
    """
    found: dict[str, dict[int, Run]] = {}
    notes = []
    for run in runs:
        seeds = found.setdefault(json.dumps(run.params, sort_keys=True), {})
        kept = seeds.setdefault(run.seed, run)
        if kept.metrics != run.metrics:
            notes.append(
                f"{run.name} has the parameters and seed of {kept.name} but other numbers (its code or data "
                "differ): left out."
            )
    groups = [list(seeds.values()) for seeds in found.values()]
    if len({runs[0].collection for runs in groups}) > 1:
        notes.append(
            "not all rows are of the same videos: `data` is the beginning of data.dvc's hash, `tasks` the number of "
            "tasks and letters that tell their lists apart; differences are taken among rows that share both."
        )
    return [Group(_label(runs[0], groups), runs) for runs in groups], notes


def _label(run: Run, groups: Sequence[Sequence[Run]]) -> str:
    same = [runs[0].params for runs in groups if runs[0].method == run.method]
    shown = []
    for key in sorted({key for params in same for key in params}):
        values = [json.dumps(params.get(key)) for params in same]
        # what most of them share goes without saying: of many ablations each row names its own
        shared = 2 * values.count(json.dumps(run.params.get(key))) > len(values)
        # but a method that ranks with the task prior is never taken for the method as published
        if not shared or (key == "ranking.task_prior" and run.params.get(key)):
            shown.append(f"{key}={run.params.get(key)}")
    return ", ".join([run.method, *shown])


def choose_baseline(groups: Sequence[Group], name: str | None) -> Group:
    """The group called `name` (its label, or its method); without a name `finetune`, else the first."""
    wanted = name or "finetune"
    matching = [g for g in groups if g.label == wanted] or [g for g in groups if g.runs[0].method == wanted]
    if matching:
        return matching[0]
    if name:
        raise UserError(f"no group is called {name!r}: choose from {'; '.join(g.label for g in groups)}.")
    return groups[0]


# Reading through DVC


def read_runs(revisions: Sequence[str]) -> tuple[list[Run], list[str]]:
    """The runs of the revisions (branches, commits, experiments), or of HEAD, its experiments and the workspace.

    A named revision without results is a `UserError`; an unnamed one is left out with a note, HEAD without one.
    """
    runs, notes = [], []
    for revision in revisions or [*_experiments(), WORKSPACE, HEAD]:
        try:
            runs += _read(revision)
        except UserError as error:
            if revisions:
                raise
            if revision != HEAD:  # nobody has to commit results
                notes.append(f"{error} Left out.")
    if not runs:
        raise UserError("there is nothing to compare: `dvc repro` or `dvc exp run` makes results.")
    return _without_repeated_joint(runs), notes


@contextmanager
def _repository() -> Iterator[Any]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repository = Repo()
    except DvcException as error:
        raise UserError(f"{error}: run from the project's root.") from None
    with repository:
        yield repository


def _experiments() -> list[str]:
    with _repository() as repository:
        found = repository.experiments.ls()
    return sorted(name for experiments in found.values() for name, _ in experiments)


def _read(revision: str) -> list[Run]:
    """The pipeline's run at a revision and, where one was made, the joint lane's."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import RevError, resolve_rev
    from dvc.utils.serialize import YAMLFileCorruptedError
    from dvc.utils.serialize import parse_yaml as parse_dvc_file

    with _repository() as repository:
        try:
            commit = None if revision == WORKSPACE else resolve_rev(repository.scm, revision)
        except RevError:
            raise UserError(f"no revision {revision!r}: `dvc exp list` and `git branch` name them.") from None
    files = DVCFileSystem(rev=commit)

    def content(path: str) -> bytes | None:
        try:
            return bytes(files.read_bytes(path))
        except FileNotFoundError:  # also for an output that dvc.yaml names and no run has made
            return None
        except DvcException as error:
            raise UserError(f"{revision} can't be read ({error}): mend its dvc.yaml, or leave it out.") from None

    def record(path: str) -> Any:
        found = content(path)
        return json.loads(found) if found else None

    def written(path: str) -> Any:
        """What a user wrote."""
        found = content(path)
        return parse_yaml(found, f"{revision}:{path}") if found else None

    def recorded_by_dvc(path: str) -> Any:
        """What DVC wrote, which may hold what `parse_yaml` wants in quotes."""
        found = content(path)
        try:
            return parse_dvc_file(found, path) if found else None
        except YAMLFileCorruptedError:
            raise UserError(f"{revision}:{path} is damaged: `git checkout {path}` puts the file back.") from None

    params = written("params.yaml")
    metrics = record("reports/metrics.json")
    if not params or not metrics:
        raise UserError(f"{revision} has no reports/metrics.json: `dvc repro` makes it.")
    listed = content("tasks.yaml")
    tasks, lock = (written("tasks.yaml") or {}).get("tasks", {}), recorded_by_dvc("dvc.lock")
    kept = (recorded_by_dvc("data.dvc") or {}).get("outs", [{}])[0].get("md5", "none")
    now = {"tasks.yaml": hashlib.md5(listed or b"", usedforsecurity=False).hexdigest(), "data": kept}
    if changed := made_of_other(now, lock, "prepare"):
        raise UserError(f"{revision} has another {changed} than its results are of: `dvc repro` mends it.")
    other = outdated(params, lock, list(tasks))
    if other:
        raise UserError(f"{revision} has another `{other}` in params.yaml than in its results: `dvc repro` mends it.")
    if task := task_of_other_losses(params, lock, list(tasks)):
        raise UserError(
            f"{revision} has other losses of {task} in params.yaml than in its results: `dvc repro` mends it."
        )
    common = defaults() | {"tasks": task_list([task["categories"] for task in tasks.values()]), "data": kept[:6]}
    flat = dict(leaves(params))
    seed = int(flat.pop("seed"))
    runs = [Run(revision, seed, common | as_of_now(flat), metrics, spent(record("reports/costs.json") or {}))]
    joint, its_lock = record("reports/joint/metrics.json"), recorded_by_dvc("joint/dvc.lock")
    manifest = {str(MANIFEST): recorded(lock, "report", str(MANIFEST))}
    stale = [outdated(params, its_lock, list(tasks)), task_of_other_losses(params, its_lock, list(tasks))]
    if joint and not any([*stale, made_of_other(manifest, its_lock, "joint")]):
        row, joint = (
            common | as_of_now(flat | {"method.name": "joint"}),
            joint | {"partial": metrics.get("partial")},
        )
        runs.append(Run(f"{revision} (joint)", seed, row, joint, record("reports/joint/costs.json") or {}))
    return runs


def spent(costs: Mapping[str, Any]) -> dict[str, Any]:
    """The costs of a run with the `seconds` of learning and embedding alone: frames and features serve all rows."""
    stages = costs.get("stages", {})
    return {**costs, "seconds": sum(stages[name]["seconds"] for name in ("train", "embed") if name in stages) or None}


def task_list(categories: Sequence[Sequence[str]]) -> str:
    """The number of tasks, and letters that tell their list from another as long, by each task's categories."""
    return f"{len(categories)} ({hashlib.sha256(json.dumps(categories).encode()).hexdigest()[:6]})"


def made_of_other(now: Mapping[str, str | None], lock: Mapping[str, Any] | None, stage: str) -> str | None:
    """The first file or folder whose hash, as it is now, is not the one that the lock has of that stage's input."""
    return next((path for path, md5 in now.items() if recorded(lock, stage, path) not in (None, md5)), None)


def recorded(lock: Mapping[str, Any] | None, stage: str, path: str) -> str | None:
    """The hash of a stage's input in a lock file; None where it has none."""
    deps = (((lock or {}).get("stages") or {}).get(stage) or {}).get("deps", [])
    return next((dep.get("md5") for dep in deps if dep["path"] == path), None)


def outdated(params: Mapping[str, Any], lock: Mapping[str, Any] | None, tasks: Sequence[str]) -> str | None:
    """The first key whose value in params.yaml is not the one that dvc.lock says the results were made with.

    Stages of tasks that are no longer in tasks.yaml stay in the lock file and don't count. Either may be of an older
    version.
    """
    written = dict(leaves(params))
    now = {name_now(key): value for key, value in written.items()}
    for name, stage in ((lock or {}).get("stages") or {}).items():
        if "@" in name and name.split("@")[1] not in tasks:
            continue
        for used in (stage.get("params") or {}).values():
            for key, value in leaves(used):
                if key not in GONE and now.get(name_now(key)) != value:
                    return key if key in written else name_now(key)
    return None


def task_of_other_losses(params: Mapping[str, Any], lock: Mapping[str, Any] | None, tasks: Sequence[str]) -> str | None:
    """The first task whose losses in params.yaml are not those that dvc.lock says its results were made with.

    The lock has the hash of what `check` wrote for the task; params.yaml of another version tells nothing.
    """
    try:
        losses = Losses.model_validate({name: params[name] for name in sections()})
    except (KeyError, ValidationError):
        return None
    for number, task in enumerate(tasks, start=1):
        now = hashlib.md5(json_text(acting(losses, number)).encode(), usedforsecurity=False).hexdigest()
        for stage in (lock or {}).get("stages") or {}:
            if made_of_other({str(LOSSES / f"{task}.json"): now}, lock, stage):
                return task
    return None


def _without_repeated_joint(runs: Sequence[Run]) -> list[Run]:
    """Joint training reads few parameters: equal results under parameters it never read are one run."""
    kept: dict[Any, Run] = {}
    for run in runs:
        numbers = json.dumps(run.metrics, sort_keys=True)
        kept.setdefault((run.seed, run.collection, numbers) if run.method == "joint" else (run.name,), run)
    return list(kept.values())
