"""`structalign remove PATHS`: hide videos that were added to a project."""

from pathlib import Path
from typing import Annotated

import typer

from structalign.data.tasks import refuse_no_project
from structalign.report.terminal import terminal

app = typer.Typer(add_completion=False)


@app.command()
def remove(
    names: Annotated[list[str], typer.Argument(help="Added files or folders, or ids of search results.")],
    project: Annotated[Path, typer.Option(help="The project's folder. Default: the current folder.")] = Path(),
) -> None:
    """Hide added videos from search. The files stay. `structalign compact` erases their vectors."""
    from structalign.library.added import remove as hide

    refuse_no_project(project)
    hidden = hide(project, names)
    for path in hidden:
        terminal().print(f"hidden: {path}")
    terminal().print("The files stay. `structalign compact` erases their vectors.")
