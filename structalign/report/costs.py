"""The costs of the results in a lock file, as far as this machine measured them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from structalign.costs import read_cost
from structalign.fingerprint import fingerprint_of_entry, outputs_of
from structalign.report.text_table import TextTable
from structalign.text import duration, size

LEARNING = ("train", "embed")  # all methods share frames and features
JOINT = ("joint", "joint@all")  # its names before and since joint/on.yaml
HEADER = ("", "measured", "time", "processor time", "peak memory", "written")

Cost = Mapping[str, Any] | None


def learning_costs(lock: Mapping[str, Any] | None, tasks: Sequence[str]) -> dict[str, Any]:
    """`seconds` and `peak_memory_bytes` of training and embedding all tasks. Null if a stage was not measured."""
    names = [f"{stage}@{task}" for stage in LEARNING for task in tasks]
    found = costs_of(lock, [name for name in names if name in stages_of(lock)])
    return _sum(list(found.values()))


def joint_costs(joint_lock: Mapping[str, Any] | None, lock: Mapping[str, Any] | None) -> dict[str, Any]:
    """The same for the joint stage, whose inputs are outputs of other stages."""
    names = [name for name in stages_of(joint_lock) if name in JOINT]
    return _sum(list(costs_of(joint_lock, names, outputs_of(lock)).values()))


def costs_of(
    lock: Mapping[str, Any] | None, names: Sequence[str], outputs: Mapping[str, str] | None = None
) -> dict[str, Cost]:
    """The costs of stages in a lock file. None for a stage that was not measured on this machine.

    `outputs`: those of dvc.lock, if this is another lock file.
    """
    stages, known = stages_of(lock), outputs_of(lock) if outputs is None else outputs
    return {name: read_cost(name, fingerprint_of_entry(name, stages[name], known)) for name in names}


def stages_of(lock: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The entries of a lock file, by stage."""
    return (lock or {}).get("stages") or {}


def costs_table(lock: Mapping[str, Any] | None, tasks: Sequence[str], title: str) -> TextTable:
    """One row per kind of stage, over its tasks. Stages of removed tasks do not count."""
    names = [name for name in stages_of(lock) if "@" not in name or name.partition("@")[2] in tasks]
    return TextTable(title, HEADER, [*_rows(lock, names)])


def _rows(lock: Mapping[str, Any] | None, names: Sequence[str]) -> Iterator[list[str]]:
    for kind in dict.fromkeys(name.partition("@")[0] for name in names):
        mine = [name for name in names if name.partition("@")[0] == kind]
        found = [cost for cost in costs_of(lock, mine).values() if cost is not None]
        if kind == "check":  # it reads all code and has no fingerprint
            continue
        written = sum(int(out.get("size") or 0) for name in mine for out in stages_of(lock)[name].get("outs", []))
        yield [
            kind,
            f"{len(found)} of {len(mine)}",
            *(duration(sum(c[key] for c in found)) if found else "–" for key in ("seconds", "processor_seconds")),
            size(max(cost["peak_memory_bytes"] for cost in found)) if found else "–",
            size(written),
        ]


def _sum(costs: Sequence[Cost]) -> dict[str, Any]:
    known = [cost for cost in costs if cost is not None]
    if not known or len(known) < len(costs):
        return {}
    return {
        "seconds": sum(cost["seconds"] for cost in known),
        "peak_memory_bytes": max(cost["peak_memory_bytes"] for cost in known),
    }
