"""Draw docs/mechanism.svg: what each loss asks of the embeddings, and how far captions drift, for two finished runs.

    python -m sample.mechanism NAIVE OURS docs/mechanism.svg

NAIVE and OURS are folders of projects after `structalign repro`, with `method.name: finetune` and `structalign`.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import matplotlib as mpl
import typer
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from structalign.data.tasks import read_tasks
from structalign.report.plots import read_gradients

SHARE = "share_"
NAMES = {"contrastive": "L_con", "crp": "L_CRP", "etf": "L_ETF", "pseudo": "L_pseudo"}
STYLE: dict[Any, Any] = {"svg.hashsalt": "mechanism", "svg.fonttype": "none", "font.size": 9}


def main(
    naive: Annotated[Path, typer.Argument(help="Project of a finished finetune run.")],
    ours: Annotated[Path, typer.Argument(help="Project of a finished structalign run.")],
    out: Annotated[Path, typer.Argument(help="The SVG to write.")],
) -> None:
    """Write the figure."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.9), layout="constrained")
        shares, drift, away = figure.subplots(1, 3)
        draw_shares(shares, ours)
        for folder, name, colour in ((naive, "finetune", "0.55"), (ours, "structalign", "C0")):
            found = json.loads((folder / "reports/geometry.json").read_text(encoding="utf-8"))["test"]
            draw_past(drift, found["text_drift"], name, colour)
            draw_past(away, found["misalignment"], name, colour)
        drift.set_title("Drift of past captions, °")
        away.set_title("Drift away from their videos, °")
        for axes in (drift, away):
            axes.set_xlabel("tasks learned")
        for axes in (shares, drift, away):
            axes.spines[["top", "right"]].set_visible(False)
        for axes in (shares, drift):  # the third has the colours of the second
            axes.legend(frameon=False)
        figure.savefig(out, metadata={"Date": None})


def draw_shares(axes: Axes, folder: Path) -> None:
    """Each loss's share of the gradient on the embeddings, averaged over each task."""
    tasks = [*read_tasks(folder / "tasks.yaml")]
    rows = read_gradients({task: folder / f"work/logs/{task}.jsonl" for task in tasks})
    for name, label in NAMES.items():
        share = {
            number: values
            for number, task in enumerate(tasks, start=1)
            if (values := [row["value"] for row in rows if (row["task"], row["loss"]) == (task, SHARE + name)])
        }
        axes.plot([*share], [mean(values) for values in share.values()], marker="o", markersize=3, label=label)
    axes.set_ylim(0, 1)
    axes.set_title("Share of the gradient, structalign")
    axes.set_xlabel("task")


def draw_past(axes: Axes, over_time: Mapping[str, Mapping[str, float]], name: str, colour: str) -> None:
    """The mean over past tasks, after each task from the second on."""
    values = [mean(value for task, value in row.items() if task != after) for after, row in [*over_time.items()][1:]]
    axes.plot(range(2, 2 + len(values)), values, color=colour, marker="o", markersize=3, label=name)


if __name__ == "__main__":
    typer.run(main)
