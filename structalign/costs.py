"""What a stage costs: seconds, peak memory, bytes. Apart from results, since two equal runs differ here."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from structalign.store import write_json

COSTS = Path("work/costs")


@contextmanager
def measured(stage: str, task: str, path: Path | None = None) -> Iterator[dict[str, Any]]:
    """Measure the block and write `path`, else work/costs/<stage>/<task>.json; the block may add entries of its own."""
    entries: dict[str, Any] = {}
    start = time.perf_counter()
    yield entries
    write_json(
        path or COSTS / stage / f"{task}.json",
        {
            "stage": stage,
            "task": task,
            "seconds": round(time.perf_counter() - start, 3),
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "cores": os.cpu_count(),
            **entries,
        },
    )
