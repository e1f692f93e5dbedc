"""The output of commands: progress bars, and one sentence for an error."""

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar

import typer

from structalign.collector import own_process
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
    """Iterate with a progress bar on standard error: count, time and time left. Only on a terminal."""
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

    label_column = TextColumn("{task.description}", markup=False)  # a file name may have brackets
    columns = label_column, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description=label)


def say(text: str, err: bool = False) -> None:
    """Print lines. Control characters in names are shown as escapes and not executed."""
    typer.echo(visible(text, keep="\n"), err=err)


def command(function: Callable[..., Any]) -> None:
    """Run a stage's function as a Typer command and record its cost. Errors are handled as in `run`."""
    from structalign.costs import measured

    gc.freeze()  # what was imported lives until the end
    gc.enable()  # `stages` paused it for the imports
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(measured()(function))
    run(app)


def run(app: typer.Typer) -> None:
    """Run a Typer app. These errors become one sentence and exit code 1:

    a `UserError`, a lack of memory, a missing module of an extra, and any error caused by a file that DVC did not
    record.
    """
    own_process()
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
        gc.freeze()  # the process ends: the collector need not visit all that was imported


def _end(error: UserError) -> NoReturn:
    typer.secho(f"error: {visible(str(error))}", err=True, fg="red")
    raise SystemExit(1) from None


def _is_lack_of_memory(error: Exception) -> bool:
    """Whether Python or torch ran out of memory, on a CPU or a GPU."""
    names = {type(error).__name__, *(kind.__name__ for kind in type(error).__mro__)}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(error)
