"""Benchmarks: this library and a plain implementation of the released computation, in one run."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.decoding import decoding
from benchmarks.gpu import gpu
from benchmarks.graph import graph
from benchmarks.head_only import head_only
from benchmarks.loading import loading
from benchmarks.measuring import Row, one_thread
from benchmarks.operations import operations
from benchmarks.paper import paper
from benchmarks.queries import many_queries, queries
from benchmarks.ranking import ranking
from benchmarks.scale import scale
from benchmarks.search import search
from benchmarks.searching import gallery, search_command
from benchmarks.similarity import evaluation, similarity
from benchmarks.step import step
from benchmarks.suffix import suffix
from benchmarks.table import as_comparison, as_table, keep, read
from structalign.console import run as run_app
from structalign.errors import UserError

Benchmark = Callable[[bool], Iterator[Row]]
BENCHMARKS: dict[str, Benchmark] = {
    "similarity": similarity,
    "evaluation": evaluation,
    "ranking": ranking,
    "loading": loading,
    "decoding": decoding,
    "search-command": search_command,
    "gallery": gallery,
    "queries": queries,
    "step": step,
    "many-queries": many_queries,
}

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
FILE = Annotated[Path, typer.Option("--json", help="file for the rows, written one by one")]


@app.command(epilog="Benchmarks: " + ", ".join(BENCHMARKS))
def run(
    names: Annotated[list[str] | None, typer.Argument(help="benchmarks to run (default: all)")] = None,
    json: FILE = Path("benchmarks.json"),
    toy: Annotated[bool, typer.Option("--toy", help="tiny sizes, to try the command")] = False,
) -> None:
    """CPU seconds of ours and a plain implementation, in turn, on one thread."""
    for name in names or []:
        if name not in BENCHMARKS:
            raise UserError(f"there is no benchmark {name}: choose from {', '.join(BENCHMARKS)}.")
    one_thread()
    json = json.resolve()  # a benchmark may change the working folder
    for name in names or BENCHMARKS:
        for row in BENCHMARKS[name](toy):
            keep(json, row)
            typer.echo(as_table([row]) + "\n")


@app.command()
def table(
    file: Annotated[Path, typer.Argument(help="a file that `run` wrote")],
    after: Annotated[Path | None, typer.Argument(help="such a file of a later revision, to compare")] = None,
) -> None:
    """Print a file of `run` as a Markdown table."""
    typer.echo(as_table(read(file)) if after is None else as_comparison(read(file), read(after)))


for alone in (search, graph, suffix, head_only, scale, paper, operations, gpu):
    app.command()(alone)

if __name__ == "__main__":
    run_app(app)
