"""Write metrics over time, plots and the report page from the outputs of other stages, without model and torch."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from structalign.console import command
from structalign.data.manifest import training_videos
from structalign.data.tasks import category_ids, read_tasks
from structalign.data.thumbnails import Thumbs
from structalign.evaluation.continual import head_and_tail, headline, over_time
from structalign.evaluation.geometry import geometry_over_time, rounded
from structalign.params.frames import FramesParams
from structalign.params.method import MethodName
from structalign.params.ranking import Ranking
from structalign.params.reading import read
from structalign.paths import GEOMETRY, LOGS, MANIFEST, QUARANTINE, REPORTS, THUMBNAILS
from structalign.report.coverage import coverage, partial_label
from structalign.report.page import PageContent, render
from structalign.report.plots import read_gradients, read_losses, write_plots
from structalign.report.tables import headline_rows, headline_table, write_csv
from structalign.report.terminal import terminal
from structalign.store import read_json, read_rows, reading, whole, write_json
from structalign.text import plural

FEW = 200  # test captions; with fewer, one caption weighs more than half a point of R@1


def main() -> None:
    """Write metrics, tables, plots and the page to reports/. Print the main results."""
    tasks, method = read_tasks(), read("method", MethodName).name
    evaluations = [read_evaluation(task) for task in tasks]
    table = over_time(evaluations, {task: len(row.categories) for task, row in tasks.items()})
    shots = training_videos(tasks)
    for evaluation in evaluations:
        for split, systems in evaluation["splits"].items():
            for system in ("method", "zero_shot"):
                found = head_and_tail(systems[system]["t2v_per_category"], shots)
                table[split][system].setdefault("head_tail", {})[evaluation["task"]] = found
    ids = category_ids(tasks)
    geometry = read_geometry(list(tasks), {ids[name]: task for task, row in tasks.items() for name in row.categories})
    logs = {task: LOGS / f"{task}.jsonl" for task in tasks}
    losses = read_losses(logs)
    sizes = evaluations[-1]["sizes"]
    decoded = {task: QUARANTINE / f"{task}.json" for task in tasks}
    quarantine = {task: read_rows(path, "videos", "id", "split", "reason") for task, path in decoded.items()}
    damaged = [row for path in decoded.values() for row in read_json(path).get("damaged", [])]
    with reading(MANIFEST / "report.json"):
        manifest = read_json(MANIFEST / "report.json")
        videos = coverage(manifest["named"], manifest["there"], quarantine)
        missing = left_out(manifest["skipped"], quarantine)
    thumbs = cache(lambda task: Thumbs(THUMBNAILS / task))

    write_json(REPORTS / "metrics.json", headline(table) | ({"partial": True} if videos["partial"] else {}))
    write_json(REPORTS / "per_task.json", table | {"videos": videos, "sizes": sizes})
    write_csv(REPORTS / "per_task.csv", table, videos["partial"])
    write_json(REPORTS / "geometry.json", geometry)
    write_plots(REPORTS / "plots", table["test"]["method"], losses)
    page = PageContent(
        method=method,
        categories={task: row.categories for task, row in tasks.items()},
        table=table,
        last=evaluations[-1],
        geometry=geometry["test"],
        losses=losses,
        gradients=read_gradients(logs),
        sizes=sizes,
        left_out=missing,
        damaged=damaged,
        videos=videos,
        settings=settings(),
        picture=lambda task, video, frame: thumbs(task).jpeg(video, frame),
    )
    with whole(REPORTS / "index.html") as temporary:
        temporary.write_text(render(page), encoding="utf-8")
    screen = terminal()
    screen.print(headline_table(headline_rows(method, table), partial_label(videos)))
    if 0 < (captions := evaluations[-1]["splits"]["test"]["queries"]) < FEW:
        screen.print(
            f"{plural(captions, 'test caption')}: one more caption found adds {100 / captions:.1f} points of R@1."
        )
    if len(tasks) == 1:
        screen.print("With one task nothing can be forgotten yet, so BWF is 0.")
    screen.print(f"All results: {REPORTS / 'index.html'}")


def settings() -> dict[str, Any]:
    """The settings on the page: the backbone, its frames, and the weight of each ranking signal."""
    frames, weights = read("frames", FramesParams), read("ranking", Ranking).weights()
    return {
        "backbone": read("backbone.name", str),
        "frames": frames.per_video,
        "size": frames.size,
        "weights": {name: weight for name, weight in weights.items() if weight},
    }


def left_out(missing: list[dict[str, Any]], broken: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, str]]:
    """The videos that were not used, with place and reason: missing ones, then broken ones by task."""
    rows = [(row["file"], f"captions.csv, rows {', '.join(map(str, row['rows']))}", row["reason"]) for row in missing]
    rows += [(row["id"], row["split"], row["reason"]) for task in broken.values() for row in task]
    return [{"video": video, "where": where, "reason": reason} for video, where, reason in rows]


def read_geometry(tasks: list[str], task_of: Mapping[int, str]) -> dict[str, Any]:
    """Both splits' geometry after each task, rounded, from the outputs of `embed`.

    Times without queries are left out.
    """
    found = {}
    for split in ("test", "val"):
        collapse = {task: read_json(GEOMETRY / task / "collapse.json").get(split) for task in tasks}
        there = [task for task in tasks if collapse[task] is not None]
        stored = {task: read_tensors(GEOMETRY / task / f"{split}.safetensors") for task in there}
        found[split] = rounded(geometry_over_time(stored, collapse, task_of))
    return found


def read_tensors(path: Path) -> dict[str, Any]:
    """The arrays of a safetensors file."""
    with reading(path):
        return dict(load_file(path))


def read_evaluation(task: str) -> dict[str, Any]:
    """The output of stage `evaluate` for a task."""
    path = REPORTS / "eval" / f"{task}.json"
    with reading(path):
        found: dict[str, Any] = read_json(path)
        for name in ("task", "tasks", "examples", "sanity_check", "sizes"):
            found[name]
        for split in ("test", "val"):
            for system in ("method", "zero_shot"):
                found["splits"][split][system]["t2v_per_category"]
        return found


if __name__ == "__main__":
    command(main)
