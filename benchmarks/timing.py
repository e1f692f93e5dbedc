"""Both sides of a benchmark in turn, so that what else the machine does hits both; time, peak memory, the report."""

import ctypes
import gc
import os
import platform
import statistics
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import typer

from structalign.store import write_json

Work = Callable[[], object]
MIB = 2**20


class Memory:
    """Samples what the process holds itself (`own`) and of mapped files (`mapped`): the most of each, in bytes."""

    def __enter__(self) -> "Memory":
        self.own = self.mapped = 0
        self._done = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self._look()

    def _look(self) -> None:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        told = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith("Rss")}
        self.own = max(self.own, told["RssAnon"])
        self.mapped = max(self.mapped, told["RssFile"] + told["RssShmem"])

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()


@dataclass(frozen=True)
class Row:
    """One comparison. ours, plain: median seconds; ratio: plain / ours; a goal is the least ratio that will do.

    Peaks are MiB that a side took beyond what was held before it began.
    """

    name: str
    ours: float
    plain: float
    ratio: float
    goal: float
    ours_peak_mib: int
    plain_peak_mib: int
    more: dict[str, Any] = field(default_factory=dict)


def timed(work: Work, device: torch.device) -> float:
    """Seconds of one call."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def peaked(work: Work, device: torch.device) -> tuple[float, int]:
    """Seconds of one call, and the bytes that it took at most beyond what was held before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held, seconds = torch.cuda.memory_allocated(device), timed(work, device)
        return seconds, torch.cuda.max_memory_allocated(device) - held
    gc.collect()
    with suppress(OSError, AttributeError):  # else a side would reuse what the other one freed, and seem to take none
        ctypes.CDLL(None).malloc_trim(0)
    with Memory() as before:
        pass
    with Memory() as memory:
        seconds = timed(work, device)
    return seconds, max(0, memory.own - before.own)


def compare(
    name: str, ours: Work, plain: Work, goal: float, repeats: int, device: torch.device, warm: bool = True, **more: Any
) -> Row:
    """Both sides `repeats` times in turn; with `warm`, after one call each whose time does not count.

    Memory is watched in the first call alone; without `warm` that call counts, watched as it is on both sides.
    """
    first = [peaked(ours, device), peaked(plain, device)]
    counted = [[] if warm else [seconds] for seconds, _ in first]
    for _ in range(repeats if warm else repeats - 1):
        counted[0].append(timed(ours, device))
        counted[1].append(timed(plain, device))
    a, b = (statistics.median(side) for side in counted)
    peaks = [peak // MIB for _, peak in first]
    told = {
        f"{side}_seconds": [round(x, 5) for x in found] for side, found in zip(("ours", "plain"), counted, strict=True)
    }
    return Row(name, a, b, b / a, goal, peaks[0], peaks[1], told | more)


def median_of(work: Work, repeats: int, device: torch.device) -> tuple[float, int]:
    """Median seconds of a call, and the peak in bytes of the call before, whose time does not count."""
    _, peak = peaked(work, device)
    return statistics.median(timed(work, device) for _ in range(repeats)), peak


def show(rows: list[Row]) -> None:
    """Print a line a comparison."""
    typer.echo(f"{'':40}{'ours':>10}{'plain':>10}{'ratio':>8}{'goal':>6}   peak MiB, ours / plain")
    for row in rows:
        verdict = "" if row.ratio >= row.goal else "  below its goal"
        typer.echo(
            f"{row.name:40}{row.ours:9.4f}s{row.plain:9.4f}s{row.ratio:8.2f}{row.goal:6g}"
            f"   {row.ours_peak_mib} / {row.plain_peak_mib}{verdict}"
        )


def keep(out: Path, name: str, device: torch.device, options: dict[str, Any], rows: list[Row], **more: Any) -> None:
    """Write <out>/<name>.json: the rows, what was asked for, and the machine."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / f"{name}.json"
    found = {"benchmark": name, "options": options, "rows": [asdict(row) for row in rows]}
    write_json(file, found | more | {"machine": machine(device)})
    typer.echo(f"-> {file}")


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers depend on beside the code, and the code's revision."""
    chip = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        chip = next((line.split(": ")[1] for line in lines if line.startswith("model name")), chip)
    return {
        "processor": chip,
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "revision": _git("rev-parse", "HEAD"),
        "changed_since": bool(_git("status", "--porcelain", "--untracked-files=no")),
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
