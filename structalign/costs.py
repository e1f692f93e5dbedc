"""What a stage costs: seconds, peak memory, bytes. Apart from results, since two equal runs differ here."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from structalign.machine import cores
from structalign.paths import COSTS
from structalign.store import write_json


@contextmanager
def measured(stage: str, task: str, path: Path | None = None) -> Iterator[dict[str, Any]]:
    """Measure the block and write `path`, else work/costs/<stage>/<task>.json; the block may add entries of its own.

    Peak memory is this process's and the largest one's of those it started (ffmpeg; Linux counts to a child what its
    parent held when it was started). Threads are torch's, where it is loaded, and so is the peak of GPU memory.
    """
    entries: dict[str, Any] = {}
    start = time.perf_counter()
    yield entries
    peaks = [resource.getrusage(whose).ru_maxrss for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    torch = sys.modules.get("torch")
    machine = {"threads": torch.get_num_threads()} if torch else {}
    if torch and torch.cuda.is_initialized():
        machine["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
    write_json(
        path or COSTS / stage / f"{task}.json",
        {
            "stage": stage,
            "task": task,
            "seconds": round(time.perf_counter() - start, 3),
            "peak_memory_bytes": sum(peaks) * 1024,
            "cores": cores(),
            **machine,
            **entries,
        },
    )
