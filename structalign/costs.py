"""The cost of a stage: seconds, processor time and peak memory.

Costs differ between equal runs, so they are kept outside git and DVC, in .costs/<machine>/<stage>-<fingerprint>.json.
This folder is in the project even if DVC runs the stage in a temporary workspace.
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
BY_HAND = "by-hand"  # instead of a fingerprint: the inputs of a stage that was started without DVC are unknown


@contextmanager
def measured() -> Iterator[None]:
    """Measure the block, which is a stage's whole work, and record its cost if it succeeds.

    Peak memory is that of this process, and of its largest child (ffmpeg). Linux counts a parent's memory at the start
    of a child as the child's. Processor time includes children and the program's start. The number of threads and the
    peak of GPU memory are torch's, if it is loaded.
    """
    stage, fingerprint = _running()
    start = time.perf_counter()
    yield
    if fingerprint is None or os.environ.get("RANK", "0") != "0":  # only the first of several processes records
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
    except (UserError, OSError) as error:  # the work is done and must not be lost
        print(f"note: the cost of {stage} was not recorded: {error}", file=sys.stderr)


def read_cost(stage: str, fingerprint: str) -> dict[str, Any] | None:
    """The recorded cost of a run on this machine, or None."""
    file = cost_file(stage, fingerprint)
    return dict(read_json(file)) if file.exists() else None


def cost_file(stage: str, fingerprint: str, project: Path = Path()) -> Path:
    """The file of a run's costs on this machine."""
    here = hashlib.sha256(machine().encode()).hexdigest()[:8]
    return project / COSTS / here / f"{stage}-{fingerprint}.json"


def _running() -> tuple[str, str | None]:
    """The name of the running stage, such as `train@t02`, and its fingerprint, or None if it can't be computed."""
    if target := os.environ.get("DVC_STAGE"):
        with suppress(UserError, LookupError, TypeError):  # the stage itself reports the error
            return target.rpartition(":")[2], fingerprint_of_stage(target)
        return target, None
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    module = spec.name.rpartition(".")[2] if spec else "stage"
    return "@".join([module, *sys.argv[1:2]]), BY_HAND
