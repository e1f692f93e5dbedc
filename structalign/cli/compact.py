"""`structalign compact`: erase the vectors of removed and missing videos."""

from pathlib import Path
from typing import Annotated

import typer

from structalign.data.tasks import refuse_no_project
from structalign.errors import UserError
from structalign.report.terminal import terminal

app = typer.Typer(add_completion=False)


@app.command()
def compact(
    index: Annotated[Path | None, typer.Option(help="An index that `structalign index` made.")] = None,
    project: Annotated[Path, typer.Option(help="The project's folder. Default: the current folder.")] = Path(),
) -> None:
    """Erase the vectors of removed and missing videos, and merge small index files."""
    from structalign.library.compacting import compact as erase
    from structalign.library.store import exists, read, writing
    from structalign.paths import ADDED

    if index is None:
        refuse_no_project(project)
    path = project / ADDED if index is None else index
    if index is None and not exists(path):
        raise UserError(f"{path} has no videos: `structalign add PATHS` adds some.")
    with writing(path, read(path).about) as writer:
        gained = erase(writer)
    terminal().print(f"{gained / 1e6:.1f} MB erased.")
