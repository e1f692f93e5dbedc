"""The comparison as tables, as CSV and as an HTML page."""

import csv
import io
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader

from structalign.report.compare import COLUMNS, COST_COLUMNS, PAIRED, Difference, Group, difference
from structalign.report.text_table import TextTable
from structalign.text import size

COST_HEADER = ("trained parameters", "bytes per past video", "seconds", "peak memory")


def compare_tables(groups: Sequence[Group], baseline: Group) -> list[TextTable]:
    """Two tables: metrics (mean ± std), and paired differences to the baseline with costs. One group: only costs."""
    metrics = [[group.name, str(len(group.runs)), *(_spread(group.spread(key)) for key in COLUMNS)] for group in groups]
    costs = [[COSTS[key](group.cost(key)) for key in COST_COLUMNS] for group in groups]
    tables = [TextTable("Mean ± std over seeds", ["", "n", *(_words(key) for key in COLUMNS)], metrics)]
    if len(groups) == 1:
        return [*tables, TextTable("Cost", ["", *COST_HEADER], [[groups[0].name, *costs[0]]])]
    others = []
    for group, cost in zip(groups, costs, strict=True):
        gaps = [None if group is baseline else difference(group, baseline, key) for key in PAIRED]
        shared = next((str(gap.seeds) for gap in gaps if gap), "–")
        others.append([group.name, shared, *map(_difference, gaps), *cost])
    header = ["", "seeds", *(f"Δ {_words(key)}" for key in PAIRED), *COST_HEADER]
    return [*tables, TextTable(f"Paired difference to {baseline.name} [95 % interval], and cost", header, others)]


def html(tables: Sequence[TextTable]) -> str:
    """One self-contained page."""
    environment = Environment(loader=PackageLoader("structalign.report", ""), autoescape=True, trim_blocks=True)
    return environment.get_template("compare.html.j2").render(tables=tables)


def csv_text(groups: Sequence[Group], baseline: Group) -> str:
    """One line per group with unformatted numbers: mean, std, and for some metrics difference, low and high."""
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


def _count(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


COSTS = {
    "trained_parameters": _count,
    "stored_bytes_per_video": _count,
    "seconds": _count,
    "peak_memory_bytes": size,
}
