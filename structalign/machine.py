"""The machine's resources and its description, and settings of the machine from the environment."""

import os
import platform
import re
from functools import cache
from pathlib import Path

from structalign.errors import UserError
from structalign.text import shortened

GIB = 2**30


def cores() -> int:
    """The number of cores that this process may use, which pinning can limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def setting(name: str, default: int, unit: str, most: int) -> int:
    """The whole number from 1 to `most` in an environment variable. Raises `UserError` for any other value."""
    text = os.environ.get(name) or str(default)
    if not re.fullmatch("[0-9]{1,9}", text) or not 1 <= int(text) <= most:
        raise UserError(f"{name}={shortened(text)} is not a number of {unit}: set it to 1 to {most}, or unset it.")
    return int(text)


@cache
def machine() -> str:
    """A description of the machine: processor, cores, memory and the GPUs that the driver lists."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB if hasattr(os, "sysconf") else 0
    parts = [_processor(), f"{os.cpu_count()} cores", f"{memory:.0f} GiB"]
    gpus = [_field("Model", file) for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    return ", ".join([*parts, *filter(None, gpus)])


def _processor() -> str:
    return _field("model name", Path("/proc/cpuinfo")) or platform.processor() or platform.machine()


def _field(name: str, file: Path) -> str:
    """The first value of `name : value` in a Linux system file, or an empty string."""
    found = re.search(rf"^{name}\s*:\s*(.+)$", file.read_text(), re.M) if file.is_file() else None
    return found[1].strip() if found else ""
