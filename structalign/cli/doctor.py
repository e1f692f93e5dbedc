"""`structalign doctor`: what is wrong with a project, and with `--fix` its remedies.

The questions are asked in an order: each may rely on what those before have found whole, or mended.
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
from structalign.doctor.results import changed_outputs, damaged_objects, half_written, of_former_tasks
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
    changed_outputs,
    data,
    experiments,
    answer,
)

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Carry each remedy out, after a question.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --fix: do not ask.")] = False,
) -> None:
    """Find what is wrong with the project, and say what mends it; exit 1 if something is left."""
    if not (Path("dvc.yaml").is_file() and Path(".dvc").is_dir()):
        way = "run `structalign doctor` where dvc.yaml and .dvc are, or make one with `structalign new DIR`"
        raise UserError(f"this folder is no project: {way}.")
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
    """Carry a remedy out if that is wanted and can be done; whether it was."""
    if finding.mend is None or not (yes or typer.confirm("Carry this out?")):
        return False
    try:
        finding.mend()
    except (UserError, OSError) as error:
        say(f"not mended: {error}")
        return False
    say("mended.")
    return True


def summary(left: int, mended: int, fix: bool) -> str:
    """The last line."""
    if not left:
        return "Nothing is wrong." if not mended else f"{mended} mended: `dvc repro` goes on."
    return f"{left} left." if fix else f"{left} found: `structalign doctor --fix` asks before each remedy."
