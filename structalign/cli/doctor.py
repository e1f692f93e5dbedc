"""`structalign doctor`: find problems of a project, and fix them with `--fix`.

The order of the checks matters. Each may rely on what earlier checks found intact, or fixed.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from structalign.console import say
from structalign.doctor.experiments import experiments
from structalign.doctor.finding import Finding
from structalign.doctor.locks import locks
from structalign.doctor.processes import refusal
from structalign.doctor.results import (
    changed_outputs,
    damaged_objects,
    half_written,
    of_former_tasks,
    restored_from_damage,
)
from structalign.doctor.settings import answer, settings, state
from structalign.doctor.tracked import unreadable
from structalign.doctor.videos import data
from structalign.errors import UserError

QUESTIONS: tuple[Callable[[], Iterator[Finding]], ...] = (
    locks,
    unreadable,
    state,
    settings,
    half_written,
    of_former_tasks,
    damaged_objects,
    restored_from_damage,
    changed_outputs,
    data,
    experiments,
    answer,
)

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Fix each problem, after asking.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --fix: do not ask.")] = False,
) -> None:
    """Find problems of the project and print the remedy of each. Exit with 1 if a problem is left."""
    if not (Path("dvc.yaml").is_file() and Path(".dvc").is_dir()):
        way = "run `structalign doctor` in a project's folder, or make a project with `structalign new DIR`"
        raise UserError(f"this folder is not a project, since dvc.yaml or .dvc is missing: {way}.")
    if reason := refusal(Path.cwd()):
        raise UserError(reason)
    left, mended = 0, 0
    for question in QUESTIONS:
        for finding in question():
            say(f"found: {finding}")
            done = fix and mend(finding, yes)
            left, mended = left + (not done), mended + done
    say(summary(left, mended, fix))
    if left:
        raise typer.Exit(1)


def mend(finding: Finding, yes: bool) -> bool:
    """Apply a remedy if it exists and the user agrees. Return whether it was applied."""
    if finding.mend is None or not (yes or typer.confirm("Do this now?")):
        return False
    try:
        finding.mend()
    except (UserError, OSError) as error:
        say(f"not fixed: {error}")
        return False
    say("fixed.")
    return True


def summary(left: int, mended: int, fix: bool) -> str:
    """The last line of the output."""
    if not left:
        return "No problems found." if not mended else f"{mended} fixed. Run `dvc repro` next."
    return f"{left} left." if fix else f"{left} found. `structalign doctor --fix` asks before each remedy."
