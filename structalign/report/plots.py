"""Data for `dvc plots`: flat JSON lists with numeric x, drawn by the templates in .dvc/plots."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from structalign.store import write_json

NO_LOSS = ("step", "epoch", "lr", "grad_norm")  # fields of a training log's row that describe no loss
GRADIENTS = ("share_", "angle_")  # start of the fields that describe a loss's gradient (`learning.gradients`)
POINTS = 600  # per loss over all tasks; more steps are averaged in equal windows


def write_plots(folder: Path, table: Mapping[str, Any], losses: Sequence[Mapping[str, Any]]) -> None:
    """Write recall.json, heatmap.json and losses.json. `table` is one split and system over time."""
    times = list(table["acc_seen"])
    recall = [
        {"after": number, "task": "all seen", "R@1": table["t2v"][after].get("R@1")}
        for number, after in enumerate(times, start=1)
    ]
    heatmap = []
    for number, after in enumerate(times, start=1):
        for task, value in table["acc_seen"][after].items():
            recall.append({"after": number, "task": task, "R@1": value})
            heatmap.append({"after": number, "task": task, "R@1": value})
    write_json(folder / "recall.json", [row for row in recall if row["R@1"] is not None])
    write_json(folder / "heatmap.json", heatmap)
    write_json(folder / "losses.json", list(losses))


def read_losses(paths: Mapping[str, Path]) -> list[dict[str, Any]]:
    """All losses of all tasks over one running count of steps, thinned: step, task, loss, value."""
    return [row for row in read_logs(paths, digits=4) if not row["loss"].startswith(GRADIENTS)]


def read_gradients(paths: Mapping[str, Path]) -> list[dict[str, Any]]:
    """`read_losses` for the shares and angles of the losses' gradients. `loss` begins with one of `GRADIENTS`."""
    return [row for row in read_logs(paths, digits=2) if row["loss"].startswith(GRADIENTS)]


def read_logs(paths: Mapping[str, Path], digits: int) -> list[dict[str, Any]]:
    """Every number of all tasks' logs, with `digits` significant digits, since further ones differ between processors.

    Steps are counted over all tasks.
    """
    records: list[dict[str, Any]] = []
    begin, most = 0, max(12, POINTS // max(len(paths), 1))
    for task, path in paths.items():
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for name in dict.fromkeys(name for line in lines for name in line if name not in NO_LOSS):
            points = [(begin + i, row[name]) for i, row in enumerate(lines) if name in row]
            for step, value in thin(points, most):
                records.append({"step": step, "task": task, "loss": name, "value": float(f"{value:.{digits}g}")})
        begin += len(lines)
    return records


def thin(points: Sequence[tuple[int, float]], most: int) -> Iterable[tuple[int, float]]:
    """At most `most` points: the mean of each window, at the window's last step.

    >>> list(thin([(0, 4.0), (1, 2.0), (2, 1.0)], most=2))
    [(1, 3.0), (2, 1.0)]
    """
    width = max(1, -(-len(points) // most))
    for start in range(0, len(points), width):
        window = points[start : start + width]
        yield window[-1][0], sum(value for _, value in window) / len(window)
