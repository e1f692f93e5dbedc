"""R@1 of a sweep by kind of caption: objects that no training caption names, and all others.

    python -m sample.held_out sweeps/results.yaml docs/results/held-out.csv

It runs in the sweep's project. Missing runs are made first.
A method that only looks up the words of its training captions loses on the first kind.
"""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from structalign.cli.sweep import refuse_stale
from structalign.console import say
from structalign.errors import UserError
from structalign.report.text_table import TextTable, markdown
from structalign.sweep.file import read_plan
from structalign.sweep.measures import draws, over_seeds
from structalign.sweep.queue import Queue
from structalign.sweep.rounds import play
from structalign.sweep.tables import Cells, Row, bounded, rows_of, write_csv
from structalign.text import plural

KINDS = ("held-out objects", "other objects")


def main(
    file: Annotated[Path, typer.Argument(help="The file of the sweep. Its kept runs are not repeated.")],
    out: Annotated[Path, typer.Argument(help="The CSV to write.")],
    runs: Annotated[Path | None, typer.Option(help="Folder of the runs; default: sweeps/<name of FILE>.")] = None,
) -> None:
    """Write the CSV and print it as a table."""
    plan = read_plan(file)
    refuse_stale()
    done = play(plan, Queue(runs or Path("sweeps", file.stem), plan.split, 2))
    if failed := [sentence for one in done for sentence in one.failed]:
        raise UserError(f"{plural(len(failed), 'run')} failed, the first with: {failed[0]}")
    with Path("data/held-out.csv").open(encoding="utf-8", newline="") as stream:
        held_out = [row["video"] for row in csv.DictReader(stream)]
    cells = [by_kind(row, held_out) for row in rows_of(done)]
    write_csv(out, cells)
    body = [[row["method"], *(shown(row, kind) for kind in KINDS)] for row in cells]
    say(markdown(TextTable("R@1 by kind of caption, mean over seeds [95 % interval over videos]", ["", *KINDS], body)))


def by_kind(row: Row, held_out: Iterable[str]) -> Cells:
    """R@1 of the captions of held-out videos and of the others, each among all videos, with intervals over videos."""
    found: dict[str, Any] = {"method": row.name, "n": len(row.runs)}
    mask = np.isin(row.runs[0]["videos"], [*held_out])
    if not mask.any():
        raise UserError("data/held-out.csv names no video of the sweep: run this in the sweep's project.")
    times = draws(len(mask))
    for kind, part in zip(KINDS, (mask, ~mask), strict=True):
        with np.errstate(invalid="ignore"):  # a draw may have no video of a kind
            found |= bounded(kind, over_seeds(row.runs, row.kind, times * part)["R@1"])
    return found


def shown(row: Cells, kind: str) -> str:
    """R@1 with its interval."""
    return f"{row[kind]:.1f} [{row[f'{kind}_low']:.1f}, {row[f'{kind}_high']:.1f}]"


if __name__ == "__main__":
    typer.run(main)
