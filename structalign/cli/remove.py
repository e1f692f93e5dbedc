"""`structalign remove PATHS`: hide what was added to a project."""

from pathlib import Path
from typing import Annotated

import typer

from structalign.data.tasks import refuse_no_project
from structalign.report.terminal import terminal

app = typer.Typer(add_completion=False)


@app.command()
def remove(
    names: Annotated[list[str], typer.Argument(help="Files or folders that were added, or ids of hits.")],
    project: Annotated[Path, typer.Option(help="A project's folder; this one if not given.")] = Path(),
) -> None:
    """Hide what was added, at once; the files stay, and `structalign compact` erases their vectors."""
    from structalign.library.added import remove as hide

    refuse_no_project(project)
    hidden = hide(project, names)
    for path in hidden:
        terminal().print(f"hidden: {path}")
    terminal().print("`structalign compact` erases the vectors; the files stay where they are.")
