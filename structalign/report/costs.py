"""What a run cost: every stage's own measurements, gathered from work/costs into one record."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from structalign.paths import COSTS
from structalign.store import read_json

STAGES = ("frames", "features", "train", "embed")


def gather_costs(tasks: Iterable[str], folder: Path = COSTS) -> dict[str, Any]:
    """Costs of every stage and task, and what `structalign compare` prints.

    `trained_parameters` (of the last task) and `stored_bytes_per_video` are null where no stage said them.
    """
    names = list(tasks)
    stages: dict[str, Any] = {}
    for stage in STAGES:
        rows = {task: read_json(folder / stage / f"{task}.json") for task in names}
        stages[stage] = {
            "seconds": round(sum(row["seconds"] for row in rows.values()), 3),
            "peak_memory_bytes": max(row["peak_memory_bytes"] for row in rows.values()),
            "written_bytes": sum(
                value for row in rows.values() for key, value in row.items() if key.startswith("bytes")
            ),
            "tasks": rows,
        }
    last = names[-1]
    return {
        "seconds": round(sum(stage["seconds"] for stage in stages.values()), 3),
        "trained_parameters": stages["train"]["tasks"][last].get("trained_parameters"),
        "stored_bytes_per_video": stages["embed"]["tasks"][last].get("stored_bytes_per_video"),
        "stages": stages,
    }
