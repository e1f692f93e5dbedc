"""Which videos of the captions table a run used. If some are missing or broken, its numbers are `partial`."""

from collections.abc import Mapping, Sequence
from typing import Any

from structalign.text import plural

Counts = Mapping[str, Mapping[str, int]]


def coverage(named: Counts, there: Counts, quarantine: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """The number of videos in the table, and by task and split the number that was not used.

    `named` and `there` come from work/manifest/report.json, [task][split]. `quarantine` has the broken videos by task.

    >>> coverage({"t01": {"train": 4}}, {"t01": {"train": 3}}, {"t01": []})
    {'named': 4, 'lost': 1, 'partial': True, 'tasks': {'t01': {'train': 1}}}
    """
    tasks = {
        task: {
            split: count - there[task][split] + sum(row["split"] == split for row in quarantine[task])
            for split, count in splits.items()
        }
        for task, splits in named.items()
    }
    lost = sum(sum(splits.values()) for splits in tasks.values())
    total = sum(sum(splits.values()) for splits in named.values())
    return {"named": total, "lost": lost, "partial": lost > 0, "tasks": tasks}


def partial_label(found: Mapping[str, Any]) -> str:
    """The label of a partial run's numbers. Empty if all videos were used."""
    if not found["partial"]:
        return ""
    verb = "is" if found["lost"] == 1 else "are"
    return f"partial: {found['lost']:,} of {plural(found['named'], 'video')} {verb} missing or broken"


def by_task(found: Mapping[str, Any]) -> str:
    """The tasks that lack videos, with counts by split: "t01 2 train, 1 test; t04 3 test"."""
    lines = []
    for task, splits in found["tasks"].items():
        lost = [f"{count} {split}" for split, count in splits.items() if count]
        if lost:
            lines.append(f"{task} {', '.join(lost)}")
    return "; ".join(lines)
