"""Metrics over time, plots, costs and one page, from what other stages left. No model, no torch."""

from functools import cache
from pathlib import Path

from rich.console import Console

from structalign.console import command
from structalign.data.tasks import read_tasks
from structalign.data.thumbs import Thumbs
from structalign.params import read
from structalign.report.page import render
from structalign.report.plots import read_losses, write_plots
from structalign.report.spending import gather
from structalign.report.tables import headline_rows, headline_table, write_csv
from structalign.retrieval.forgetting import headline, over_time
from structalign.sections.method import MethodName
from structalign.store import read_json, whole, write_json

REPORTS = Path("reports")


def main() -> None:
    """Write metrics, tables, plots and the page below reports/; print the headline."""
    tasks, method = read_tasks(), read("method", MethodName).name
    evaluations = [read_json(REPORTS / "eval" / f"{task}.json") for task in tasks]
    table = over_time(evaluations, {task: len(row.categories) for task, row in tasks.items()})
    losses = read_losses({task: Path("work/logs") / f"{task}.jsonl" for task in tasks})
    costs = gather(tasks)
    quarantine = [row for task in tasks for row in read_json(Path("work/quarantine") / f"{task}.json")["videos"]]
    thumbs = cache(lambda task: Thumbs(Path("work/thumbs") / task))

    write_json(REPORTS / "metrics.json", headline(table))
    write_json(REPORTS / "per_task.json", table)
    write_csv(REPORTS / "per_task.csv", table)
    write_json(REPORTS / "costs.json", costs)
    write_plots(REPORTS / "plots", table["test"]["method"], losses)
    page = render(
        method=method,
        categories={task: row.categories for task, row in tasks.items()},
        table=table,
        last=evaluations[-1],
        losses=losses,
        costs=costs,
        quarantine=quarantine,
        picture=lambda task, video, frame: thumbs(task).jpeg(video, frame),
    )
    with whole(REPORTS / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    console = Console()
    console.print(headline_table(headline_rows(method, table)))
    if len(tasks) == 1:
        console.print("With one task nothing can be forgotten yet: BWF is 0.")
    console.print(f"Everything else: {REPORTS / 'index.html'}")


if __name__ == "__main__":
    command(main)
