"""`structalign compare`: compare experiments side by side."""

from typing import Annotated

import typer

from structalign.errors import UserError

app = typer.Typer(add_completion=False)


@app.command()
def compare(
    revisions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REV]...",
            help="Branches, commits or experiments. Default: HEAD, its experiments and the workspace.",
        ),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The group to compare with. Default: finetune, else the first group.")
    ] = None,
    md: Annotated[bool, typer.Option("--md", help="Print a Markdown table.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV with unformatted numbers.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Print an HTML page.")] = False,
) -> None:
    """Compare experiments: mean ± std over seeds, paired differences and cost."""
    from structalign.report import compare_tables
    from structalign.report.compare import choose_baseline, group_runs
    from structalign.report.revisions import read_runs
    from structalign.report.terminal import terminal
    from structalign.report.text_table import markdown, rich_table

    if md + csv + html > 1:
        raise UserError("more than one of --md, --csv and --html was given: choose one.")
    runs, unread = read_runs(revisions or [])
    groups, doubled = group_runs(runs)
    chosen = choose_baseline(groups, baseline)
    tables = compare_tables.compare_tables(groups, chosen)
    if csv:
        typer.echo(compare_tables.csv_text(groups, chosen), nl=False)
    elif html:
        typer.echo(compare_tables.html(tables), nl=False)
    elif md:
        typer.echo("\n".join(map(markdown, tables)), nl=False)
    else:
        for table in tables:
            terminal().print(rich_table(table))
    for note in [*unread, *doubled]:
        typer.secho(f"note: {note}", err=True, fg="yellow")
