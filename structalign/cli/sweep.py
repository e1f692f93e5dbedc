"""`structalign sweep`: run the settings of a file, resume interrupted sweeps, and print the tables."""

import json
from pathlib import Path
from typing import Annotated

import typer

from structalign.console import say
from structalign.dvc_command import run_dvc
from structalign.errors import UserError
from structalign.text import plural, some

app = typer.Typer(add_completion=False)


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="What to run: see docs/operations.md.")],
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Runs in parallel, each with one thread.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; default: sweeps/<name of FILE>.")] = None,
    write_presets: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the chosen settings to DIR/<method>.yaml.")
    ] = None,
    md: Annotated[bool, typer.Option("--md", help="Print Markdown.")] = False,
) -> None:
    """Run every setting of FILE, choose one per method, and print tables. Kept runs are not repeated."""
    from structalign.report.terminal import terminal
    from structalign.report.text_table import markdown, rich_table
    from structalign.sweep.file import read_plan
    from structalign.sweep.presets import write
    from structalign.sweep.queue import Queue
    from structalign.sweep.rounds import play, rule, winners
    from structalign.sweep.tables import (
        difference_table,
        ranking_cells,
        ranking_table,
        result_table,
        rows_of,
        settings_cells,
        settings_table,
        write_csv,
    )

    plan = read_plan(file)
    if write_presets and plan.split == "test":
        raise UserError(f"{file}: `split: test` chooses nothing, so no preset can be written: drop --write-presets.")
    refuse_stale()
    folder = out or Path("sweeps", file.stem)
    done = play(plan, Queue(folder, plan.split, jobs))
    chosen = [*winners(done).values()]
    shown = done if plan.finalists is None else chosen
    rows = rows_of(shown)
    first_of = {row.kind: row for row in reversed(rows)}
    for name in plan.baselines:
        if name not in first_of:
            say(f"no run of the baseline {name} ended, so no difference to it is shown.", err=True)
    baselines = [first_of[name] for name in plan.baselines if name in first_of]
    cells = [row.cells(baselines) for row in rows]
    tables = [] if plan.split == "test" else [settings_table(done, chosen, plan.split)]
    tables += [result_table(cells), *(difference_table(cells, baseline) for baseline in baselines)]
    write_csv(folder / "settings.csv", settings_cells(done, chosen))
    write_csv(folder / "results.csv", cells)
    if plan.rankings:
        by_ranking = ranking_cells(shown, plan.rankings)
        write_csv(folder / "prior.csv", by_ranking)
        tables.append(ranking_table(by_ranking, plan.rankings))
    for table in tables:
        say(markdown(table)) if md else terminal().print(rich_table(table))
    if plan.split != "test":
        say(rule(plan))
    if write_presets:
        write(write_presets, chosen)
    if failed := [sentence for one in done for sentence in one.failed]:
        for sentence in failed:
            say(sentence, err=True)
        raise UserError(f"{plural(len(failed), 'run')} failed, see above: remove a run's file to try it again.")


def refuse_stale() -> None:
    """Raise a `UserError` if DVC says that frames or features do not belong to the current data and parameters.

    A folder without DVC is not checked.
    """
    if Path(".dvc").is_dir():
        stale = {*json.loads(run_dvc("status", "--json", "--with-deps", "features"))} - {"check"}
        if stale:
            raise UserError(f"{some(sorted(stale))} changed since they ran: run `structalign repro`, then sweep again.")
