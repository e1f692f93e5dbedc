"""Read the runs of branches, commits, experiments and the workspace without checking them out.

Everything is read through DVC's API, which only this module uses.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from structalign.errors import UserError
from structalign.fingerprint import outputs_of
from structalign.params.former import as_of_now
from structalign.params.schema import defaults
from structalign.params.section import leaves
from structalign.paths import MANIFEST
from structalign.report.compare import Run
from structalign.report.costs import JOINT, joint_costs, learning_costs
from structalign.report.staleness import made_of_other, outdated, recorded, task_of_other_losses
from structalign.strict_yaml import parse_yaml

WORKSPACE = "workspace"
HEAD = "HEAD"
FORMER_COSTS, JOINT_COSTS = "reports/costs.json", "reports/joint/costs.json"


class NoResults(UserError):
    """The pipeline did not run at a revision."""


def read_runs(revisions: Sequence[str]) -> tuple[list[Run], list[str]]:
    """The runs of the revisions (branches, commits, experiments). Default: HEAD, its experiments and the workspace.

    Raises `UserError` if a named revision has no results. Others are left out with a note. HEAD without results gets no
    note, since results need not be committed.
    """
    runs, notes = [], []
    for revision in revisions or [*_experiments(), WORKSPACE, HEAD]:
        try:
            runs += _runs_of(open_revision(revision))
        except UserError as error:
            if revisions:
                raise
            if revision != HEAD or not isinstance(error, NoResults):
                notes.append(f"{error} Left out.")
    if not runs:
        raise UserError(" ".join(["there is nothing to compare: run `dvc repro` or `dvc exp run` first.", *notes]))
    return _without_repeated_joint(runs), notes


@dataclass(frozen=True)
class Revision:
    """The files of a commit or of the workspace. A missing file is None."""

    name: str
    files: Any

    def content(self, path: str) -> bytes | None:
        """A file's bytes, also if only DVC's cache has it."""
        from dvc.exceptions import DvcException

        try:
            return bytes(self.files.read_bytes(path))
        except FileNotFoundError:  # also for an output of dvc.yaml that no run has made
            return None
        except DvcException as error:
            raise UserError(
                f"{self.name} can't be read ({error}): correct its dvc.yaml, or leave this revision out."
            ) from None

    def record(self, path: str) -> Any:
        """JSON that a stage wrote."""
        found = self.content(path)
        return json.loads(found) if found else None

    def written(self, path: str) -> Any:
        """YAML that a user wrote."""
        found = self.content(path)
        return parse_yaml(found, f"{self.name}:{path}") if found else None

    def recorded_by_dvc(self, path: str) -> Any:
        """YAML that DVC wrote, which may have values that `parse_yaml` refuses."""
        from dvc.utils.serialize import YAMLFileCorruptedError
        from dvc.utils.serialize import parse_yaml as parse_dvc_file

        found = self.content(path)
        try:
            return parse_dvc_file(found, path) if found else None
        except YAMLFileCorruptedError:
            raise UserError(f"{self.name}:{path} is damaged: restore it with `git checkout {path}`.") from None

    def tasks(self) -> Mapping[str, Any]:
        """The rows of tasks.yaml."""
        return (self.written("tasks.yaml") or {}).get("tasks", {})  # type: ignore[no-any-return]


def open_revision(name: str) -> Revision:
    """A branch, commit or experiment by its name, or the workspace."""
    from dvc.api import DVCFileSystem
    from dvc.scm import RevError, resolve_rev

    with _repository() as repository:
        try:
            commit = None if name == WORKSPACE else resolve_rev(repository.scm, name)
        except RevError:
            raise UserError(
                f"there is no revision {name!r}: see `dvc exp list` and `git branch` for their names."
            ) from None
    return Revision(name, DVCFileSystem(rev=commit))


@contextmanager
def _repository() -> Iterator[Any]:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repository = Repo()
    except DvcException as error:
        raise UserError(
            f"{error}: run this in a project's folder, or make a project with `structalign new DIR`."
        ) from None
    with repository:
        yield repository


def _experiments() -> list[str]:
    with _repository() as repository:
        found = repository.experiments.ls()
    return sorted(name for experiments in found.values() for name, _ in experiments)


def _runs_of(revision: Revision) -> list[Run]:
    """The pipeline's run at a revision, and the run of stage `joint` if there is one."""
    params, metrics = revision.written("params.yaml"), revision.record("reports/metrics.json")
    if not params or not metrics:
        raise NoResults(f"{revision.name} has no reports/metrics.json: run `dvc repro` there.")
    tasks, lock = revision.tasks(), revision.recorded_by_dvc("dvc.lock")
    data = (revision.recorded_by_dvc("data.dvc") or {}).get("outs", [{}])[0].get("md5", "none")
    _refuse_stale(revision, params, lock, list(tasks), data)
    flat = dict(leaves(params))
    seed = int(flat.pop("seed"))
    common = defaults() | {"tasks": task_list([task["categories"] for task in tasks.values()]), "data": data[:6]}
    sizes = (revision.record("reports/per_task.json") or {}).get("sizes", {})
    costs = _costs_before(revision, lock) | sizes | learning_costs(lock, list(tasks))
    runs = [Run(revision.name, seed, common | as_of_now(flat), metrics, costs)]

    joint, its_lock = revision.record("reports/joint/metrics.json"), revision.recorded_by_dvc("joint/dvc.lock")
    manifest = {str(MANIFEST): recorded(lock, "report", str(MANIFEST))}
    stale = [outdated(params, its_lock, list(tasks)), task_of_other_losses(params, its_lock, list(tasks))]
    if joint and not any([*stale, *(made_of_other(manifest, its_lock, name) for name in JOINT)]):
        before = revision.record(JOINT_COSTS) or {} if JOINT_COSTS in outputs_of(its_lock) else {}
        costs = before | joint.pop("sizes", {}) | joint_costs(its_lock, lock)
        row, numbers = common | as_of_now(flat | {"method.name": "joint"}), joint | {"partial": metrics.get("partial")}
        runs.append(Run(f"{revision.name} (joint)", seed, row, numbers, costs))
    return runs


def _refuse_stale(revision: Revision, params: Mapping[str, Any], lock: Any, tasks: Sequence[str], data: str) -> None:
    """Raise a `UserError` if the results do not belong to the revision's data, tasks and parameters."""
    listed = hashlib.md5(revision.content("tasks.yaml") or b"", usedforsecurity=False).hexdigest()
    if changed := made_of_other({"tasks.yaml": listed, "data": data}, lock, "prepare"):
        raise UserError(f"{revision.name} has another {changed} than its results: run `dvc repro`.")
    where, way_out = "in params.yaml than in its results", "run `dvc repro`"
    if other := outdated(params, lock, tasks):
        raise UserError(f"{revision.name} has another `{other}` {where}: {way_out}.")
    if task := task_of_other_losses(params, lock, tasks):
        raise UserError(f"{revision.name} has other losses for {task} {where}: {way_out}.")


def _costs_before(revision: Revision, lock: Mapping[str, Any] | None) -> dict[str, Any]:
    """The costs that an older version stored in the reports, if it made the results."""
    costs = revision.record(FORMER_COSTS) or {} if FORMER_COSTS in outputs_of(lock) else {}
    stages = [costs["stages"][name] for name in ("train", "embed") if name in costs.get("stages", {})]
    return costs | {"seconds": sum(stage["seconds"] for stage in stages) or None}


def task_list(categories: Sequence[Sequence[str]]) -> str:
    """The number of tasks, and a short hash of each task's categories."""
    return f"{len(categories)} ({hashlib.sha256(json.dumps(categories).encode()).hexdigest()[:6]})"


def _without_repeated_joint(runs: Sequence[Run]) -> list[Run]:
    """Keep one of several equal joint runs.

    Joint training reads few parameters, so other parameters give equal runs.
    """
    kept: dict[Any, Run] = {}
    for run in runs:
        numbers = json.dumps(run.metrics, sort_keys=True)
        kept.setdefault((run.seed, run.collection, numbers) if run.method == "joint" else (run.name,), run)
    return list(kept.values())
