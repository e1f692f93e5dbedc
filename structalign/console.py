"""What a command shows: progress, and one clear sentence for an error."""

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import typer

from structalign.errors import UserError

T = TypeVar("T")
INTERRUPTED = 130  # how Typer ends after Ctrl-C


def track(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar on standard error: rate and time left where it is a terminal."""
    from tqdm import tqdm

    yield from tqdm(items, desc=label, total=total, disable=None, leave=False, file=sys.stderr)


def command(function: Callable[..., Any]) -> None:
    """Run a stage's function as a Typer command; a `UserError` becomes one sentence and exit code 1."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    run(app)


def run(app: typer.Typer) -> None:
    """Run a Typer app; a `UserError` becomes one sentence and exit code 1, Ctrl-C one that says what is kept."""
    try:
        app()
    except SystemExit as end:
        if end.code == INTERRUPTED:
            typer.echo("interrupted: the same command goes on from what was done.", err=True)
        raise
    except UserError as error:
        typer.secho(f"error: {error}", err=True, fg="red")
        raise SystemExit(1) from None
