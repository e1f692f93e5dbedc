"""`structalign data check`: count what is in data/, and find what would stop a run."""

import re
from contextlib import suppress
from pathlib import Path

import typer

from structalign.data.captions import categories, read_table
from structalign.data.inspection import Findings, inspect
from structalign.data.manifest import SPLITS
from structalign.data.pretrained import of_option, too_small
from structalign.data.tasks import Task, read_tasks, split_categories
from structalign.errors import UserError
from structalign.params.data import DataParams
from structalign.params.reading import read
from structalign.paths import DATA
from structalign.text import visible

ALIKE = 10  # sentences of one kind that are printed
NAMES = re.compile(r"'[^']*'|`[^`]*`|\"[^\"]*\"|rows? [\d, and,more]+|row \d+: [^:]*|\d+")

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def data() -> None:
    """Check the data before a run."""


@app.command()
def check(
    folder: Path = typer.Argument(DATA, help="The folder to check. Another folder than data/ counts as one task."),
    backbone: str = typer.Option("", help="The CLIP that you will pass to `structalign init`. Default: the folder's."),
) -> None:
    """Count and decode all videos in the captions table. Exit with 1 if something would stop a run."""
    tasks = read_tasks() if folder == DATA else one_task(folder)
    clip = backbone or clip_of(folder)
    called = of_option(backbone) if backbone else None
    found = inspect(tasks, read("data", DataParams), clip, folder, read("frames.per_video", int), called)
    if folder == DATA and clip is not None:
        size = read("frames.size", int)
        with suppress(UserError):  # of a CLIP that `inspect` has refused
            if problem := too_small(size, clip):
                found.notes.append(problem)
    show(found, [*tasks, "none"])
    if found.stops:
        raise typer.Exit(1)


def clip_of(folder: Path) -> str | None:
    """The CLIP that a run would use for this folder. None if `structalign init` has yet to choose one."""
    name, own = read("backbone.name", str), folder / "clip"  # init copies clip/ to data/clip
    if name != "data/clip":
        return name
    return str(own) if own.is_dir() or folder == DATA else None


def one_task(folder: Path) -> dict[str, Task]:
    """One task with all categories of a folder's table."""
    names = categories(read_table(folder)[0])
    return split_categories(names, 1) if names else {}


def listed(sentences: list[str]) -> list[str]:
    """The sentences, but only the first few of those that differ only in names and numbers."""
    kinds: dict[str, list[str]] = {}
    for sentence in sentences:
        kinds.setdefault(NAMES.sub("", sentence), []).append(sentence)
    lines: list[str] = []
    for alike in kinds.values():
        lines += alike[:ALIKE]
        if len(alike) > ALIKE:
            lines.append(f"and {len(alike) - ALIKE:,} more like the last one")
    return lines


def show(found: Findings, tasks: list[str]) -> None:
    """Print the counts by task and split, then the problems, then the notes."""
    from rich.table import Table

    from structalign.report.terminal import terminal

    screen = terminal()
    table = Table("task", "split", box=None, pad_edge=False, header_style="bold")
    for column in ("videos", "captions", "seconds"):
        table.add_column(column, justify="right")
    cells = [(task, split) for task in tasks for split in SPLITS if found.captions[task, split]]
    for cell in cells:
        seconds = f"{found.seconds.get(cell, 0):.1f}"
        table.add_row(*cell, str(found.videos[cell]), str(found.captions[cell]), seconds)
    table.add_section()
    totals = (str(found.videos.total()), str(found.captions.total()), f"{sum(found.seconds.values()):.1f}")
    table.add_row("all", "", *totals)
    screen.print(table)
    for title, sentences, style in (("stops a run", found.stops, "red"), ("note", found.notes, "yellow")):
        for sentence in listed(sentences):
            screen.print(visible(f"{title}: {sentence}"), style=style, soft_wrap=True)
    screen.print(
        "Nothing stops a run." if not found.stops else f"{len(found.stops)} to fix. Then check again.", style="bold"
    )
