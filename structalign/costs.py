"""What a stage costs: seconds, processor time, peak memory.

Two equal runs differ in it, so neither git nor DVC sees it: .costs/<machine>/<stage>-<fingerprint>.json holds it, in
the project itself also for a stage that DVC runs in a temporary workspace.
"""

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from structalign.errors import UserError
from structalign.fingerprint import fingerprint_of_stage
from structalign.machine import cores, machine
from structalign.store import read_json, write_json

COSTS = Path(".costs")
BY_HAND = "by-hand"  # in place of a fingerprint: nobody knows what a stage started without DVC has read


@contextmanager
def measured() -> Iterator[None]:
    """Measure the block, a stage's whole work, and note what it cost if it succeeds.

    Peak memory is this process's and the largest one's of those it started (ffmpeg; Linux counts to a child what its
    parent held when it was started). Processor time is theirs, too, with the program's start. Threads are torch's,
    where it is loaded, and so is the peak of GPU memory.
    """
    stage, fingerprint = _running()
    start = time.perf_counter()
    yield
    if fingerprint is None or os.environ.get("RANK", "0") != "0":  # of several processes the first one tells
        return
    if sys.platform == "win32":  # which has no such measure
        return
    import resource

    usages = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    torch = sys.modules.get("torch")
    more = {"threads": torch.get_num_threads()} if torch else {}
    if torch and torch.cuda.is_initialized():
        more["peak_gpu_bytes"] = torch.cuda.max_memory_allocated()
    cost = {
        "stage": stage,
        "machine": machine(),
        "seconds": round(time.perf_counter() - start, 3),
        "processor_seconds": round(sum(usage.ru_utime + usage.ru_stime for usage in usages), 3),
        "peak_memory_bytes": sum(usage.ru_maxrss for usage in usages) * (1 if sys.platform == "darwin" else 1024),
        "cores": cores(),
        **more,
    }
    try:
        write_json(cost_file(stage, fingerprint, Path(os.environ.get("DVC_ROOT", ""))), cost)
    except (UserError, OSError) as error:  # the work is done, and must not be lost for it
        print(f"note: what {stage} cost was not noted: {error}", file=sys.stderr)


def read_cost(stage: str, fingerprint: str) -> dict[str, Any] | None:
    """What was noted of a run on this machine, or None."""
    file = cost_file(stage, fingerprint)
    return dict(read_json(file)) if file.exists() else None


def cost_file(stage: str, fingerprint: str, project: Path = Path()) -> Path:
    """Where a run's costs on this machine are."""
    here = hashlib.sha256(machine().encode()).hexdigest()[:8]
    return project / COSTS / here / f"{stage}-{fingerprint}.json"


def _running() -> tuple[str, str | None]:
    """The name of the stage that runs, as `train@t02`, and its fingerprint; None where DVC's own would not be found."""
    if target := os.environ.get("DVC_STAGE"):
        with suppress(UserError, LookupError, TypeError):  # the stage itself says what is wrong
            return target.rpartition(":")[2], fingerprint_of_stage(target)
        return target, None
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name.rpartition(".")[2] if spec else "stage"
    return "@".join([module, *sys.argv[1:2]]), BY_HAND
