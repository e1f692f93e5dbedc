"""Line charts as inline SVG that follow the page's colours, light and dark.

matplotlib draws with placeholder colours. Each is then replaced by a CSS colour, and the fonts by the page's fonts.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

TEXT, GRID = "#fe0001", "#fe0002"
SERIES = 0xFE0100
STEPS = [1, 2, 2.5, 5, 10]  # of the ticks: 0, 20, 40, and never 0, 12, 24
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
}


@dataclass(frozen=True)
class Line:
    """One curve: its points, its name, a CSS colour (`var(--accent)`), and a dash pattern of matplotlib."""

    label: str
    colour: str
    points: Sequence[tuple[float, float]]
    dash: str = "-"


def line_chart(
    series: Sequence[Line],
    x_label: str,
    title: str,
    whole_x: bool = True,
    boundaries: Sequence[float] = (),
    percent: bool = False,
    least: float = 0,
) -> str:
    """One chart as an `<svg>` element whose ids cannot clash on a page.

    `title` is for screen readers and salts the ids. `whole_x` only ticks whole numbers. `boundaries` are faint vertical
    lines at the ends of tasks. `percent` draws from 0 to at most 100. `least` is the smallest range of the y axis, so
    that a small change does not look large.
    """
    with mpl.rc_context(STYLE | {"svg.hashsalt": title}):
        figure = Figure(figsize=(4.5, 2.6), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        few = max((len(line.points) for line in series), default=0) <= 12
        for index, line in enumerate(series):
            x, y = [p[0] for p in line.points], [p[1] for p in line.points]
            marker = "o" if few or len(x) == 1 else ""  # a single point has no visible line
            axes.plot(
                x, y, line.dash, color=_sentinel(index), linewidth=1.8, marker=marker, markersize=3.5, clip_on=False
            )
        for boundary in boundaries:
            axes.axvline(boundary, color=GRID, linewidth=0.8, zorder=0)
        axes.grid(axis="y", color=GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0, pad=6)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=whole_x, min_n_ticks=1))
        axes.set_xlabel(x_label)
        axes.margins(x=0.03, y=0.1)
        _range(axes, percent, least)
        stream = io.StringIO()
        FigureCanvasSVG(figure).print_svg(stream, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    return _inline(stream.getvalue(), [line.colour for line in series], title)


def _range(axes: Any, percent: bool, least: float) -> None:
    """Widen the y axis to a meaningful range."""
    low, high = axes.get_ylim()
    if percent:
        axes.set_ylim(0, min(100, max(high, 10)))
    elif high - low < least:
        middle = (low + high) / 2
        axes.set_ylim(middle - least / 2, middle + least / 2)


def _sentinel(index: int) -> str:
    return f"#{SERIES + index:06x}"


def _inline(svg: str, colours: Sequence[str], title: str) -> str:
    """Remove the XML prologue and the fixed size, insert CSS colours, and add a title."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    viewbox = re.search(r'viewBox="[^"]*"', svg)
    assert viewbox, "matplotlib always writes a viewBox"
    head = f'<svg {viewbox[0]} role="img" aria-label="{escape(title)}">'
    svg = re.sub(r"<svg[^>]*>", lambda _: head, svg, count=1)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 var(--sans)", svg)
    svg = svg.replace(TEXT, "var(--muted)").replace(GRID, "var(--line)")
    for index, colour in enumerate(colours):
        svg = svg.replace(_sentinel(index), colour)
    return svg.replace("xlink:href", "href")
