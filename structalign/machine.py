"""What the machine gives this process."""

import os


def cores() -> int:
    """Cores that this process may use: fewer than the machine's where it is pinned to some."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
