"""reports/index.html: one self-contained page that works offline, in light and dark, and on a phone."""

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from structalign.paths import SEARCH_PAGE
from structalign.report.charts import Line, line_chart
from structalign.report.coverage import by_task, partial_label
from structalign.report.tables import INTERVAL, ZERO_SHOT, headline_rows
from structalign.text import size

LOOK = Path(__file__).parents[1] / "look.css"  # shared with the page of `structalign serve`
LOSS_TITLES = {
    "loss": "Total loss",
    "contrastive": "L_con, contrastive",
    "etf": "L_ETF, alignment with the simplex",
    "crp": "L_CRP, relation preservation",
    "pseudo": "L_pseudo, pseudo-features",
}

DASHES = ("-", "--", ":", "-.")
MANY = 8  # tasks; with more, numbers replace labels

Picture = Callable[[str, str, int], bytes]


@dataclass(frozen=True)
class PageContent:
    """The content of the page.

    categories: their names by task, in order. table: from `continual.over_time`. last: the evaluation after the last
    task.
    geometry: `geometry_over_time` of the test split. losses, gradients: rows of `plots.read_losses` and
    `plots.read_gradients`. sizes: `trained_parameters`
    of the last task and `stored_bytes_per_video`. left_out: `video`, `where` and `reason` of each video that was not
    used.
    damaged: `id`, `split` and `reason` of each video that was used despite errors. videos: from `coverage.coverage`.
    settings: `backbone`, `frames` per video, their `size` in pixels, and the `weights` of the active ranking signals.
    picture: (task, video, frame) -> JPEG bytes.
    """

    method: str
    categories: Mapping[str, Sequence[str]]
    table: Mapping[str, Any]
    last: Mapping[str, Any]
    geometry: Mapping[str, Any]
    losses: Sequence[Mapping[str, Any]]
    gradients: Sequence[Mapping[str, Any]]
    sizes: Mapping[str, Any]
    left_out: Sequence[Mapping[str, str]]
    damaged: Sequence[Mapping[str, str]]
    videos: Mapping[str, Any]
    settings: Mapping[str, Any]
    picture: Picture


def render(page: PageContent) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=PackageLoader("structalign.report", ""),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "size": size, "ordinal": ordinal, "last_part": last_part}
    environment.globals["picture"] = lambda row: _data_uri(page.picture(row["task"], row["video"], row["frame"]))
    method, test = page.method, page.table["test"]
    return environment.get_template("page.html.j2").render(
        search_page=SEARCH_PAGE,
        look=Markup(LOOK.read_text(encoding="utf-8")),
        method=method,
        frozen=ZERO_SHOT,
        settings=page.settings,
        interval=INTERVAL,
        categories=page.categories,
        names=[name for names in page.categories.values() for name in names],
        test=page.last["splits"]["test"],
        rows=headline_rows(method, page.table),
        over_time=_curves_over_time(method, test),
        per_task=_curves_per_task(test["method"]),
        heatmaps=_heatmaps(method, test),
        geometry=_geometry_curves(page.geometry),
        losses=_loss_curves(page.losses),
        gradients=_gradient_curves(page.gradients),
        sizes=page.sizes,
        examples=page.last["examples"],
        left_out=page.left_out,
        damaged=page.damaged,
        partial=partial_label(page.videos),
        lacking=by_task(page.videos),
        sanity_check=page.last["sanity_check"],
    )


def _curves_over_time(method: str, test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """R@1 over all seen videos and forgetting, after each task, for the method and zero-shot CLIP."""
    rows = (("method", method, "var(--accent)"), ("zero_shot", ZERO_SHOT, "var(--frozen)"))

    def chart(title: str, value: Callable[[Mapping[str, Any], str], float | None], **axis: Any) -> dict[str, Any]:
        series = []
        for key, label, colour in rows:
            points = enumerate((value(test[key], after) for after in test[key]["t2v"]), start=1)
            series.append(Line(label, colour, [(x, y) for x, y in points if y is not None]))
        return {"title": title, "svg": Markup(line_chart(series, "tasks learned", title, **axis)), "legend": series}

    return [
        chart("R@1 over all seen videos, %", lambda row, after: row["t2v"][after].get("R@1"), percent=True),
        chart("Forgetting, BWF over all seen videos", lambda row, after: row["bwf_seen"][after], least=20),
    ]


def _curves_per_task(row: Mapping[str, Any]) -> dict[str, Any]:
    """R@1 of each task's queries, from the task that brought them."""
    return _task_curves(row["acc_seen"], "R@1 of each task’s queries, %", percent=True)


def _task_curves(acc: Mapping[str, Mapping[str, float]], title: str, percent: bool = False) -> dict[str, Any]:
    """One curve per task of `acc[t][i]`.

    Neighbouring curves differ in hue, by the golden angle, and in their dashes.
    """
    times = list(acc)
    series = []
    for index, task in enumerate(times):
        colour = f"oklch(var(--tone) .13 {round(200 + 137.508 * index) % 360})"
        points = [(x, acc[after][task]) for x, after in enumerate(times, start=1) if task in acc[after]]
        series.append(Line(task, colour, points, DASHES[index % len(DASHES)]))
    svg = line_chart(series, "tasks learned", title, percent=percent)
    return {"title": title, "svg": Markup(svg), "legend": series}


COLLAPSE_TITLES = {
    "NC1": "NC1, spread within categories",
    "NC2_angles": "NC2, angles differing from the simplex",
    "NC3": "NC3, prototypes away from their vertices",
    "NC4": "NC4, disagreement of prototype and vertex",
}


def _geometry_curves(geometry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Charts of collapse, angles, gap and drift after each task. Charts without a value are left out."""
    times = list(geometry["collapse"])

    def chart(title: str, lines: Mapping[str, Mapping[str, float | None]]) -> dict[str, Any]:
        colours = ("var(--accent)", "var(--frozen)")
        series = [
            Line(label, colour, [(x, y) for x, t in enumerate(times, start=1) if (y := values[t]) is not None])
            for (label, values), colour in zip(lines.items(), colours, strict=False)
        ]
        legend = {"legend": series} if len(series) > 1 else {}
        return {"title": title, "svg": Markup(line_chart(series, "tasks learned", title)), "points": series} | legend

    def collapse(key: str, kind: str) -> dict[str, float | None]:
        return {t: (geometry["collapse"][t][kind] or {}).get(key) for t in times}

    def median(kind: str) -> dict[str, float | None]:
        return {t: spectra[kind][2] if (spectra := geometry["angles"][t]) else None for t in times}

    charts = [
        chart(title, {"captions": collapse(key, "text"), "videos": collapse(key, "video")})
        for key, title in COLLAPSE_TITLES.items()
    ]
    charts += [
        chart("Captions to videos, median °", {"one category": median("own"), "two": median("other")}),
        chart("Modality gap", {"gap": geometry["gap"]}),
    ]
    charts = [entry for entry in charts if any(line.points for line in entry["points"])]
    if times:
        charts.append(_task_curves(geometry["text_drift"], "Drift of each task’s captions, °"))
        charts.append(_task_curves(geometry["misalignment"], "Drift away from own videos, °"))
    return charts


def _heatmaps(method: str, test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Acc(i, t) with tasks as rows and times as columns, on a common colour scale."""
    maps: list[dict[str, Any]] = [
        {"title": f"{method}, all seen videos", "acc": test["method"]["acc_seen"]},
        {"title": f"{ZERO_SHOT}, all seen videos", "acc": test["zero_shot"]["acc_seen"]},
        {"title": f"{method}, the task’s own videos", "acc": test["method"]["acc_task"]},
    ]
    most = max((value for m in maps for row in m["acc"].values() for value in row.values()), default=0) or 1
    for entry in maps:
        times = list(entry["acc"])
        entry["many"] = len(times) > MANY
        entry["times"] = times
        entry["rows"] = [
            {
                "task": task,
                "cells": [
                    None
                    if task not in entry["acc"][after]
                    else {
                        "after": after,
                        "value": entry["acc"][after][task],
                        "ink": round(100 * entry["acc"][after][task] / most),
                    }
                    for after in times
                ],
            }
            for task in times
        ]
    return maps


GRADIENT_TITLES = {
    "share_": "Share of the gradient",
    "angle_": "Angle to the gradient of L_con, °",
}
GRADIENT_COLOURS = {"contrastive": "var(--frozen)", "crp": "oklch(var(--tone) .13 30)", "pseudo": "var(--muted)"}


def _gradient_curves(gradients: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The share of each loss in the gradient, and its angle to L_con's, over all steps."""
    charts = []
    for kind, title in GRADIENT_TITLES.items():
        points: dict[str, list[tuple[float, float]]] = {}
        for row in gradients:
            if row["loss"].startswith(kind):
                points.setdefault(row["loss"].removeprefix(kind), []).append((row["step"], row["value"]))
        series = [
            Line(LOSS_TITLES.get(name, name).partition(",")[0], GRADIENT_COLOURS.get(name, "var(--accent)"), each)
            for name, each in points.items()
        ]
        if series:
            svg = line_chart(series, "step", title)
            charts.append({"title": title, "svg": Markup(svg), "legend": series})
    return charts


def _loss_curves(losses: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One small chart per loss over all steps, with a faint line at the start of each task."""
    starts: dict[str, int] = {}
    for record in losses:
        starts.setdefault(record["task"], record["step"])
    charts = []
    for name in dict.fromkeys([*LOSS_TITLES, *(record["loss"] for record in losses)]):
        title = LOSS_TITLES.get(name, name)
        series = []
        for task in starts:
            rows = [record for record in losses if record["loss"] == name and record["task"] == task]
            if rows:
                series.append(Line(task, "var(--accent)", [(row["step"], row["value"]) for row in rows]))
        if series:
            svg = line_chart(series, "step", title, boundaries=list(starts.values())[1:])
            charts.append({"title": title, "svg": Markup(svg)})
    return charts


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + b64encode(jpeg).decode("ascii")


def number(value: float | str | None, digits: int = 1) -> str:
    """Format a number for a table. None becomes a dash, the minus sign is typographic, and a text stays."""
    if isinstance(value, str):
        return value
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def last_part(file: str) -> str:
    """A file's name without its folders.

    >>> last_part("birds/b012.mp4")
    'b012.mp4'
    """
    return file.rpartition("/")[2]


def ordinal(rank: int) -> str:
    """A rank in words.

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 22, 113)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd', '113th']
    """
    tail = "th" if 10 <= rank % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{tail}"
