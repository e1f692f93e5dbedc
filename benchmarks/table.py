"""Rows of measurements: as a JSON file with a description of the machine, and as a table."""

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from benchmarks.measuring import Row, Way
from structalign.store import read_json, write_json

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")  # processor flags that make matrix products fast


def keep(file: Path, row: Row) -> None:
    """Add a row to a file, or replace the row of that name. Makes the file if it is missing."""
    rows = [other for other in read(file) if other.name != row.name] if file.exists() else []
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"machine": machine(), "rows": [asdict(kept) for kept in [*rows, row]]})


def read(file: Path) -> list[Row]:
    """The rows of a file."""
    return TypeAdapter(list[Row]).validate_python(read_json(file)["rows"])


def machine() -> dict[str, Any]:
    """The machine and versions that the numbers depend on, and the code's revision."""
    told: dict[str, str] = {}
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        told = dict(tuple(map(str.strip, line.split(":", 1))) for line in lines if ":" in line)  # type: ignore[misc]
    return {
        "processor": told.get("model name") or platform.processor() or platform.machine(),
        "family": " ".join(f"{name} {told[name]}" for name in ("cpu family", "model") if name in told),
        "flags": [flag for flag in FLAGS if flag in told.get("flags", "").split()],
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "revision": _git("rev-parse", "--short", "HEAD"),
        "changed_since": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def as_table(rows: Sequence[Row]) -> str:
    """A line for each way: median CPU seconds, speed relative to the first, floor and its share, peak memory."""
    lines = ["| work | way | CPU s | ratio | floor, s | share | peak, MiB |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        for name, way in _lines(row):
            numbers = [*_seconds(way), times(row.ways[0], way), *_floor(row, way), str(way.peak_mib or "–")]
            lines.append(f"| {name} | {way.name} | {' | '.join(numbers)} |")
        if not row.ways:
            lines.append(f"| {row.name} | {row.remark} | | | | | |")
    return "\n".join([*lines, "", *remarks(rows)])


def as_comparison(before: Sequence[Row], after: Sequence[Row]) -> str:
    """A table of two revisions, with the rows and ways that both have."""
    lines = ["| work | way | before, s | after, s | before / after | first way / after | share after |"]
    lines.append("|---|---|---|---|---|---|---|")
    former = {(row.name, way.name): way for row in before for way in row.ways}
    for row in after:
        for name, way in _lines(row):
            if (was := former.get((row.name, way.name))) is not None:
                numbers = [*_seconds(was), *_seconds(way), f"{was.median / way.median:.2f}", times(row.ways[0], way)]
                lines.append(f"| {name} | {way.name} | {' | '.join(numbers)} | {_floor(row, way)[1]} |")
    return "\n".join([*lines, "", *remarks(after)])


def _lines(row: Row) -> Iterator[tuple[str, Way]]:
    """The ways of a row. Only the first has the row's name."""
    yield from ((row.name if number == 0 else "", way) for number, way in enumerate(row.ways))


def _seconds(way: Way) -> list[str]:
    return [f"{way.median:.3g}"]


def times(first: Way, way: Way) -> str:
    """Speed relative to the first way. Parts of one work are not compared."""
    return "–" if first.name.startswith("ours, ") and first is not way else f"{first.median / way.median:.2f}"


def _floor(row: Row, way: Way) -> list[str]:
    floor = way.floor(row.rates)
    share = floor / way.median
    return [f"{floor:.3g}", f"{share:.0%}"] if share >= 0.01 else ["–", "–"]


def remarks(rows: Sequence[Row]) -> list[str]:
    """Matrix rates during the measurement, the number of calls, and the rows' remarks."""
    run = [row for row in rows if row.ways]
    if not run:
        return []
    rates = [
        f"{precision} {min(found):.0f} to {max(found):.0f}"
        for precision in run[0].rates
        for found in [[row.rates[precision] for row in run]]
    ]
    repeats = [len(way.seconds) for row in run for way in row.ways]
    told = [
        f"Matrix rates of one thread, GFLOP/s: {', '.join(rates)}. Medians of {min(repeats)} to {max(repeats)} calls."
    ]
    return [*told, *(f"{row.name}: {row.remark}." for row in run if row.remark)]
