"""The results of a sweep as tables and as CSV: every setting, and the rows that are compared."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

from structalign.report.text_table import TextTable
from structalign.store import whole
from structalign.sweep.measures import IN_TASK, MEASURES, PARTS, Floats, draws, interval, over_seeds
from structalign.sweep.rounds import Done
from structalign.sweep.rows import TRUE_TASK, row_of

PAIRED = ("R@1", *PARTS, "BWF seen", "BWF task")
Cells = Mapping[str, Any]  # by column, as the CSV has them


@dataclass(frozen=True)
class Row:
    """A row of a table: runs that differ only in the seed. kind: the row's name in the runs' files."""

    name: str
    kind: str
    runs: Sequence[Mapping[str, Any]]
    values: Mapping[str, Floats]

    def cells(self, baselines: "Sequence[Row]") -> Cells:
        """Numbers by column: means with intervals over videos and std over seeds, and differences to the baselines."""
        found: dict[str, Any] = {"method": self.name, "n": len(self.runs)}
        for name in (*MEASURES, *(part for part in PARTS if part in self.values)):
            found |= self.spread(name, name)
        for name in ("stored_bytes_per_video", "trained_parameters"):
            found[name] = self.runs[0][name]
        found["seconds"] = sum(run["seconds"] for run in self.runs) / len(self.runs)
        for other in baselines:
            for name in PAIRED if other is not self else ():
                if name in self.values and name in other.values:
                    found |= bounded(f"{_to(name, other)}_difference", self.values[name] - other.values[name])
        return found

    def spread(self, name: str, column: str) -> Cells:
        """The cells of one metric: mean, interval over videos and std over seeds."""
        each = [run["measures"][self.kind].get(name) for run in self.runs]
        known = name in self.values
        bounds = bounded(column, self.values[name]) if known else dict.fromkeys(_names(column))
        return {**bounds, f"{column}_std": stdev(each) if len(each) > 1 and known else None}


def rows_of(done: Sequence[Done]) -> list[Row]:
    """The rows of all settings with a run, without further rankings. Zero-shot CLIP has two."""
    return [
        row_by(one, kind, label(one, done) + kind.removeprefix(one.setting.method))
        for one in done
        if one.runs
        for kind in one.runs[0]["rows"]
        if kind not in [row_of(one.setting.method, name) for name in one.setting.rankings]
    ]


def row_by(one: Done, kind: str, name: str) -> Row:
    """The row `kind` of a setting's runs, under a name."""
    return Row(name, kind, one.runs, over_seeds(one.runs, kind, draws(len(one.runs[0]["videos"]))))


def ranking_cells(done: Sequence[Done], rankings: Sequence[str]) -> list[Cells]:
    """The rows of prior.csv: R@1 of each setting by the plain ranking, by further ones, and by the true task.

    Differences to the plain ranking are paired.
    """
    rows: list[Cells] = []
    for one in done:
        if not one.runs:
            continue
        plain = row_by(one, one.setting.method, label(one, done))
        cells: dict[str, Any] = {"method": plain.name, "n": len(plain.runs), **plain.spread("R@1", "R@1")}
        for name in rankings:
            row = row_by(one, row_of(one.setting.method, name), name)
            cells |= row.spread("R@1", f"R@1 {name}")
            cells |= bounded(f"{name}_difference", row.values["R@1"] - plain.values["R@1"])
        rows.append(cells | dict(plain.spread(IN_TASK, f"R@1 {TRUE_TASK}")))
    return rows


def ranking_table(cells: Sequence[Cells], rankings: Sequence[str]) -> TextTable:
    """R@1 by each ranking."""
    names = [*rankings, TRUE_TASK]
    rows = [
        [row["method"], str(row["n"]), *(_spread(row, name) for name in ("R@1", *(f"R@1 {name}" for name in names)))]
        for row in cells
    ]
    title = "R@1 by ranking, mean over seeds [95 % interval over videos] ± std over seeds"
    return TextTable(title, ["", "n", "R@1", *names], rows)


def label(one: Done, among: Sequence[Done]) -> str:
    """The method, with the setting's own values if several settings of the method are shown."""
    same = [other for other in among if other.setting.method == one.setting.method]
    own = [f"{key}={value}" for key, value in one.setting.own.items()] if len(same) > 1 else []
    return ", ".join([one.setting.method, *own])


def settings_table(done: Sequence[Done], chosen: Sequence[Done], split: str) -> TextTable:
    """Every setting with its R@1, and the chosen ones."""
    rows = []
    for one in done:
        values = [run["measures"][one.setting.method]["R@1"] for run in one.runs]
        spread = f"{one.recall:.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "") if values else "failed"
        rows.append([label(one, done), str(len(values)), spread, "chosen" if one in chosen else ""])
    return TextTable(f"R@1 ({split}), mean ± std over seeds", ["", "n", "R@1", ""], rows)


def result_table(cells: Sequence[Cells]) -> TextTable:
    """Mean [95 % interval over videos] ± std over seeds of R@1, and means of the others."""
    names = [*MEASURES[1:-2], *(part for part in PARTS if part in cells[0])] if cells else []
    rows = []
    for row in cells:
        others = [_number(row[name]) for name in names]
        own = "–" if row["learned"] is None else f"{_number(row['learned'])} → {_number(row['final'])}"
        sizes = [f"{row[name]:,}" for name in ("stored_bytes_per_video", "trained_parameters")]
        rows.append([row["method"], str(row["n"]), _spread(row, "R@1"), *others, own, *sizes, f"{row['seconds']:.0f}"])
    header = ["", "n", "R@1", *names, "own task, learned → final", "bytes a past video", "trained parameters"]
    return TextTable("Mean over seeds [95 % interval over videos] ± std over seeds", [*header, "CPU seconds"], rows)


def difference_table(cells: Sequence[Cells], baseline: Row) -> TextTable:
    """Paired differences to a baseline."""
    columns = {name: f"{_to(name, baseline)}_difference" for name in PAIRED}
    others = [row for row in cells if columns[PAIRED[0]] in row]
    names = [name for name in PAIRED if name not in PARTS or any(columns[name] in row for row in others)]
    rows = [[row["method"], *(_difference(row, columns[name]) for name in names)] for row in others]
    title = f"Paired difference to {baseline.name}, mean over seeds [95 % interval over videos]"
    return TextTable(title, ["", *(f"Δ {name}" for name in names)], rows)


def bounded(column: str, values: Floats) -> dict[str, float]:
    """The cells of a number and its 95 % interval, from `measures.resampled`."""
    return dict(zip(_names(column), interval(values), strict=True))


def write_csv(path: Path, rows: Sequence[Cells]) -> None:
    """Write the rows with unrounded numbers. An empty cell is a number that a row does not have."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def settings_cells(done: Sequence[Done], chosen: Sequence[Done]) -> list[Cells]:
    """The rows of settings.csv, one per run."""
    return [
        {
            "setting": label(one, done),
            "seed": run["seed"],
            "chosen": one in chosen,
            **run["measures"][one.setting.method],
        }
        for one in done
        for run in one.runs
    ]


def _to(name: str, baseline: Row) -> str:
    """A column for the differences of a metric to a baseline."""
    return f"{name} to {baseline.kind}"


def _names(column: str) -> tuple[str, str, str]:
    return column, f"{column}_low", f"{column}_high"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _spread(row: Cells, name: str) -> str:
    std = "" if row[f"{name}_std"] is None else f" ± {row[f'{name}_std']:.1f}"
    return f"{row[name]:.1f} [{row[f'{name}_low']:.1f}, {row[f'{name}_high']:.1f}]{std}"


def _difference(row: Cells, name: str) -> str:
    if name not in row:
        return "–"
    return f"{row[name]:+.1f} [{row[f'{name}_low']:+.1f}, {row[f'{name}_high']:+.1f}]"
