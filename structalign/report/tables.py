"""The numbers as tables: a CSV with all metrics per task, and the table that the report prints."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from structalign.evaluation.metrics import METRICS
from structalign.store import whole

COLUMNS = ("split", "row", "gallery", "direction", "after", "task", "metric", "value", "partial")
INTERVAL = "95 % of R@1"
ZERO_SHOT = "zero-shot CLIP"


def per_task_rows(table: Mapping[str, Any]) -> Iterator[tuple[str | float, ...]]:
    """Rows of per_task.csv with all `COLUMNS` but the last. Metric R@1 by (task, after) is the matrix Acc(i, t)."""
    for split, rows in table.items():
        for row, found in rows.items():
            for direction in ("t2v", "v2t"):
                for after, tasks in found[f"{direction}_per_task"].items():
                    for task, metrics in tasks.items():
                        for metric, value in metrics.items():
                            yield split, row, "seen", direction, after, task, metric, value
            for after, tasks in found["acc_task"].items():
                for task, value in tasks.items():
                    yield split, row, "task", "t2v", after, task, "R@1", value


def write_csv(path: Path, table: Mapping[str, Any], partial: bool) -> None:
    """Write reports/per_task.csv. Each row says whether the run was partial (0 or 1)."""
    with whole(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((*row, int(partial)) for row in per_task_rows(table))


def headline_rows(method: str, table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the method and of zero-shot CLIP on the test split after the last task, with the same keys."""
    rows = []
    for name, key in ((method, "method"), (ZERO_SHOT, "zero_shot")):
        found = table["test"][key]
        last = list(found["t2v"])[-1]
        rows.append(
            {"row": name, "R@1": found["t2v"][last].get("R@1"), INTERVAL: interval_text(found["t2v_interval"][last])}
            | {metric: found["t2v"][last].get(metric) for metric in METRICS}
            | {"v2t_R@1": found["v2t"][last].get("R@1")}
            | {"BWF_seen": found["bwf_seen"][last], "BWF_task": found["bwf_task"][last]}
        )
    return rows


def interval_text(interval: Sequence[float] | None) -> str | None:
    """The bounds of an interval in percent.

    >>> interval_text((28.12, 36.9))
    '28.1–36.9'
    """
    return None if interval is None else f"{interval[0]:.1f}–{interval[1]:.1f}"


def headline_table(rows: list[dict[str, Any]], partial: str) -> Table:
    """The same two rows for a terminal. `partial` is from `coverage.partial_label`."""
    title = "Test split after the last task: text to video, all seen videos"
    table = Table(title=f"{title}\n{partial}" if partial else title, box=SIMPLE)
    table.add_column("", no_wrap=True)
    for key in list(rows[0])[1:]:
        table.add_column(key.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(*(f"{value:.1f}" if isinstance(value, float) else str(value or "-") for value in row.values()))
    return table
