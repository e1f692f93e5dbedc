"""`structalign list`: the videos that were added to a project."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from structalign.data.tasks import refuse_no_project
from structalign.report.terminal import terminal
from structalign.text import plural

app = typer.Typer(add_completion=False)


@app.command("list")
def list_added(
    project: Annotated[Path, typer.Option(help="The project's folder. Default: the current folder.")] = Path(),
) -> None:
    """List the added videos: file, category, seconds, and the task whose model encoded them."""
    from structalign.library.added import listing

    rows = Table(box=None, pad_edge=False)
    for column in ("file", "category", "seconds", "segments", "task"):
        rows.add_column(column, justify="left" if column in ("file", "category") else "right", overflow="fold")
    refuse_no_project(project)
    found = listing(project)
    for row in found:
        rows.add_row(row.file, row.category or "", f"{row.seconds:.1f}", str(row.segments), f"t{row.task:02d}")
    out = terminal()
    if found:
        out.print(rows)
    out.print(f"{plural(len(found), 'file')} added.")
