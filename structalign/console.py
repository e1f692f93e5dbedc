"""What a command shows: progress, and one clear sentence for an error."""

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar

import typer

from structalign.dvc_files import changed_outputs
from structalign.errors import UserError
from structalign.extras import lacking
from structalign.store import damaged
from structalign.text import visible

T = TypeVar("T")

LACK_OF_MEMORY = (
    "there is not enough memory for this run: lower `optim.shared.batch`, `etf.dim` or `adapters.rank`, or set "
    "STRUCTALIGN_RECOMPUTE=1."
)


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar on standard error: count, time and time left; none where that is no terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    label_column = TextColumn("{task.description}", markup=False)  # a file's name may hold brackets
    columns = label_column, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description=label)


def say(text: str, err: bool = False) -> None:
    """Print lines; what a name in them would have the terminal do is shown in place of it."""
    typer.echo(visible(text, keep="\n"), err=err)


def command(function: Callable[..., Any]) -> None:
    """Run a stage's function as a Typer command, and note its cost; a `UserError` becomes one sentence and exit code
    1."""
    from structalign.costs import measured

    gc.enable()  # `stages` has paused it for the imports
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(measured()(function))
    run(app)


def run(app: typer.Typer) -> None:
    """Run a Typer app; a `UserError` becomes one sentence and exit code 1, and so does a lack of memory, and what a
    file leads to that is not what DVC recorded. A module that an extra brings is named with it."""
    try:
        app()
    except UserError as error:
        _end(error)
    except ModuleNotFoundError as error:
        if (lack := lacking(error.name or "")) is None:
            raise
        _end(lack)
    except Exception as error:
        if _is_lack_of_memory(error):
            _end(UserError(LACK_OF_MEMORY))
        changed = next(changed_outputs(), None)
        if changed is None:
            raise
        _end(damaged(changed, "it is not what DVC recorded"))
    finally:
        gc.freeze()  # the process ends: Python would look for garbage among all that was imported


def _end(error: UserError) -> NoReturn:
    typer.secho(f"error: {visible(str(error))}", err=True, fg="red")
    raise SystemExit(1) from None


def _is_lack_of_memory(error: Exception) -> bool:
    """Whether Python, or torch on a CPU or a GPU, was refused memory."""
    names = {type(error).__name__, *(kind.__name__ for kind in type(error).__mro__)}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(error)
