"""`python -m benchmarks ...`: this implementation against a plain one of the released computation, in one run."""

import typer

from benchmarks.decoding import decoding
from benchmarks.gpu import gpu
from benchmarks.head_only import head_only
from benchmarks.loading import loading
from benchmarks.operations import operations
from benchmarks.paper import paper
from benchmarks.queries import queries
from benchmarks.scale import scale
from benchmarks.similarity import similarity
from benchmarks.step import step
from benchmarks.suffix import suffix
from structalign.console import run

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
for measure in (step, similarity, queries, loading, decoding, suffix, head_only, scale, paper, operations, gpu):
    app.command()(measure)

if __name__ == "__main__":
    run(app)
