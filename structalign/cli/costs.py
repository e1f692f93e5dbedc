"""`structalign costs`: what each stage cost on this machine."""

from typing import Annotated

import typer

from structalign.errors import UserError
from structalign.machine import machine

app = typer.Typer(add_completion=False)


@app.command()
def costs(
    revision: Annotated[
        str, typer.Argument(metavar="[REV]", help="Branch, commit or experiment. Default: the workspace.")
    ] = "workspace",
) -> None:
    """Show the time, memory and bytes written of each stage."""
    from structalign.report.costs import costs_table
    from structalign.report.revisions import open_revision
    from structalign.report.terminal import terminal
    from structalign.report.text_table import rich_table

    found = open_revision(revision)
    lock = found.recorded_by_dvc("dvc.lock")
    if not lock:
        raise UserError(f"{revision} has no dvc.lock: run `dvc repro`, which writes it.")
    terminal().print(rich_table(costs_table(lock, list(found.tasks()), f"Costs on this machine ({machine()})")))
