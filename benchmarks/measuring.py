"""Compares ways to do the same work, in turn, in one process, on one thread: CPU seconds, peak memory and the floor.

CPU seconds include those of child processes. They depend little on other load of the machine. The floor is the time of
a way's matrix products alone, at this machine's matrix rate.
"""

import ctypes
import gc
import os
import resource
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

Work = Callable[[], object]
MIB = 2**20
LONG = 10  # CPU seconds
PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class Way:
    """One way to do a row's work.

    seconds: CPU seconds of each call. peak_mib: peak memory of a call above the memory before it. gflop: matrix
    products of a call, by precision.
    """

    name: str
    seconds: list[float]
    peak_mib: int
    gflop: dict[str, float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def floor(self, rates: Mapping[str, float]) -> float:
        """Seconds that the matrix products alone take, at `rates` in GFLOP/s."""
        return sum(work / rates[precision] for precision, work in self.gflop.items())


@dataclass(frozen=True)
class Row:
    """The ways of one piece of work. The others are compared with the first.

    rates: GFLOP/s of one thread at that time, by precision. remark: a caveat of the numbers, or why the row did not
    run.
    """

    name: str
    ways: list[Way] = field(default_factory=list)
    rates: dict[str, float] = field(default_factory=dict)
    remark: str = ""


class Memory:
    """Samples the process's own memory (`own`) and its pages of mapped files (`mapped`): the peak of each, in bytes."""

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


class MatrixWork(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the FLOPs of matrix products and convolutions by dtype. A multiplication and an addition
    are two FLOPs."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = Counter[torch.dtype]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if (count := flop_registry.get(func.overloadpacket)) is not None:
            self.flops[args[0].dtype] += count(*args, **(kwargs or {}), out_val=out)
        return out


def one_thread() -> None:
    """Limit this process and its future children to one CPU thread."""
    os.environ |= {"OMP_NUM_THREADS": "1", "STRUCTALIGN_THREADS": "1", "STRUCTALIGN_DEVICE": "cpu"}
    torch.set_num_threads(1)


def cpu_seconds(work: Work) -> float:
    """CPU seconds of one call, including child processes that it waits for."""
    gc.collect()
    before = _spent()
    work()
    return _spent() - before


def _spent() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def in_turn(name: str, ways: Mapping[str, Work], repeats: int, remark: str = "") -> Row:
    """Call every way `repeats` times, in turn.

    The first call also measures memory and matrix work, which takes less than a second. Its time only counts if calls
    are long, or if one call is enough.
    """
    rates = {precision: matrix_rate(dtype) / 1e9 for dtype, precision in PRECISIONS.items()}
    watched = {way: _watched(work) for way, work in ways.items()}
    seconds = {way: [found] if found > LONG or repeats == 1 else [] for way, (found, _, _) in watched.items()}
    while any(len(found) < repeats for found in seconds.values()):
        for way, work in ways.items():
            if len(seconds[way]) < repeats:
                seconds[way].append(cpu_seconds(work))
    return Row(name, [Way(way, seconds[way], *watched[way][1:]) for way in ways], rates, remark)


def _watched(work: Work) -> tuple[float, int, dict[str, float]]:
    """CPU seconds of a call, its peak MiB, and its matrix work in GFLOP by precision."""
    gc.collect()
    with suppress(
        OSError, AttributeError
    ):  # otherwise a way would reuse memory that another one freed, and seem to need none
        ctypes.CDLL(None).malloc_trim(0)
    with Memory() as before:
        pass
    with Memory() as memory, MatrixWork() as counted:
        seconds = cpu_seconds(work)
    peak = max(0, memory.own - before.own) // MIB
    return seconds, peak, {PRECISIONS[dtype]: flops / 1e9 for dtype, flops in counted.flops.items()}


def matrix_rate(dtype: torch.dtype, n: int = 1024) -> float:
    """FLOP/s of CPU time of a square matrix product."""
    a, b = (torch.randn(n, n).to(dtype) for _ in range(2))
    return 2 * n**3 / statistics.median(cpu_seconds(lambda: a @ b) for _ in range(9))
