"""What the machine gives this process, and what it is called."""

import os
import platform
import re
from functools import cache
from pathlib import Path

GIB = 2**30


def cores() -> int:
    """Cores that this process may use: fewer than the machine's where it is pinned to some."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def machine() -> str:
    """The machine in words: its processor, cores and memory, and its GPUs where the driver names them."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB if hasattr(os, "sysconf") else 0
    parts = [_processor(), f"{os.cpu_count()} cores", f"{memory:.0f} GiB"]
    gpus = [_field("Model", file) for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    return ", ".join([*parts, *filter(None, gpus)])


def _processor() -> str:
    return _field("model name", Path("/proc/cpuinfo")) or platform.processor() or platform.machine()


def _field(name: str, file: Path) -> str:
    """The first value of `name : value` in a file of Linux's, or an empty string."""
    found = re.search(rf"^{name}\s*:\s*(.+)$", file.read_text(), re.M) if file.is_file() else None
    return found[1].strip() if found else ""
