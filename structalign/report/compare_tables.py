"""The comparison as tables: for a terminal, as Markdown, CSV or HTML."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader
from rich.table import Table

from structalign.report.compare import COLUMNS, COST_COLUMNS, PAIRED, Difference, Group, difference


@dataclass(frozen=True)
class TextTable:
    """A table of text; the first column names the rows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def compare_tables(groups: Sequence[Group], baseline: Group) -> list[TextTable]:
    """Two tables: metrics (mean ± std), and paired differences to the baseline beside costs."""
    metrics = [[group.name, str(len(group.runs)), *(_spread(group.spread(key)) for key in COLUMNS)] for group in groups]
    others = []
    for group in groups:
        gaps = [None if group is baseline else difference(group, baseline, key) for key in PAIRED]
        shared = next((str(gap.seeds) for gap in gaps if gap), "–")
        costs = [_cost(group.cost(key)) for key in COST_COLUMNS]
        others.append([group.name, shared, *map(_difference, gaps), *costs])
    return [
        TextTable("Mean ± std over seeds", ["", "n", *(_words(key) for key in COLUMNS)], metrics),
        TextTable(
            f"Paired difference to {baseline.name} [95 % interval], and cost",
            [
                "",
                "seeds",
                *(f"Δ {_words(key)}" for key in PAIRED),
                "trained parameters",
                "bytes a past video",
                "seconds",
            ],
            others,
        ),
    ]


def rich_table(sheet: TextTable) -> Table:
    """The sheet for a terminal."""
    table = Table(title=sheet.title, title_justify="left")
    for index, name in enumerate(sheet.header):
        table.add_column(name, justify="right" if index else "left", overflow="fold")
    for row in sheet.rows:
        table.add_row(*row)
    return table


def markdown(sheet: TextTable) -> str:
    """The sheet as a Markdown table under its title."""
    lines = [sheet.header, ["---", *["---:"] * (len(sheet.header) - 1)], *sheet.rows]
    return f"**{sheet.title}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def html(tables: Sequence[TextTable]) -> str:
    """One self-contained page."""
    environment = Environment(loader=PackageLoader("structalign.report", ""), autoescape=True, trim_blocks=True)
    return environment.get_template("compare.html.j2").render(tables=tables)


def csv_text(groups: Sequence[Group], baseline: Group) -> str:
    """One line a group with plain numbers: mean, std, and for some metrics difference, low and high."""
    header = ["group", "method", "n"]
    header += [f"{key}_{part}" for key in COLUMNS for part in ("mean", "std")]
    header += [f"{key}_{part}" for key in PAIRED for part in ("difference", "low", "high")]
    with io.StringIO() as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*header, *COST_COLUMNS])
        for group in groups:
            row: list[object] = [group.name, group.runs[0].method, len(group.runs)]
            for key in COLUMNS:
                row += group.spread(key) or (None, None)
            for key in PAIRED:
                gap = None if group is baseline else difference(group, baseline, key)
                row += [gap.mean, gap.low, gap.high] if gap else [None, None, None]
            writer.writerow([*row, *(group.cost(key) for key in COST_COLUMNS)])
        return stream.getvalue()


def _words(key: str) -> str:
    return key.replace("_", " ")


def _spread(found: tuple[float, float | None] | None) -> str:
    if found is None:
        return "–"
    return f"{found[0]:.1f}" if found[1] is None else f"{found[0]:.1f} ± {found[1]:.1f}"


def _difference(gap: Difference | None) -> str:
    if gap is None:
        return "–"
    if gap.low is None or gap.high is None:
        return f"{gap.mean:+.1f}"
    return f"{gap.mean:+.1f} [{gap.low:+.1f}, {gap.high:+.1f}]"


def _cost(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"
