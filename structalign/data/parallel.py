"""Many videos at once: in threads of this process, or on the Dask workers of other processes and machines.

Dask is used through its own executor: joblib's back end over it waits for ever where workers keep dying, as on a
machine without memory.
"""

import hashlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from structalign.errors import UserError
from structalign.machine import cores

T = TypeVar("T")
R = TypeVar("R")

SCHEDULER = "STRUCTALIGN_DASK"
AHEAD = 4  # items in hand per worker: results that wait for the reader lie in memory
PATIENCE = 30  # seconds to find the scheduler


def in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    threads: int | None = None,
    stop: Callable[[], None] | None = None,
    here: bool = False,
) -> Iterator[R]:
    """`map` on `threads` threads (all cores if None), or, unless `here`, on the workers of the Dask scheduler whose
    address is in STRUCTALIGN_DASK: results in the items' order, and only a few of them ahead of the reader.

    Threads suit what waits for processes of its own, as ffmpeg; `stop` ends these where the reader gives up, as by
    Ctrl-C, which does not reach them. Workers must see the project's folder under the same
    path and have its code: `UserError` names the one that does not.
    """
    address = None if here else os.environ.get(SCHEDULER)
    pool = _workers(address) if address else _threads(threads or cores(), stop)
    work = partial(_there, Path.cwd(), code(), function) if address else function
    waiting = deque()  # type: ignore[var-annotated]
    with pool as (executor, size):
        for item in items:
            waiting.append(executor.submit(work, item))
            if len(waiting) > AHEAD * size:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _threads(count: int, stop: Callable[[], None] | None) -> Iterator[tuple[Executor, int]]:
    pool = ThreadPoolExecutor(count)
    try:
        yield pool, count
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        if stop is not None:
            stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _workers(address: str) -> Iterator[tuple[Executor, int]]:
    """The cluster as an executor, and how many items it works on at a time."""
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise UserError(
            f"{SCHEDULER} is set, but Dask is not installed: `pip install 'structalign[scale]'`, or unset it."
        ) from None
    try:
        client: Any = Client(address, timeout=PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler answers at {SCHEDULER}={address} ({error}): start one (`dask scheduler`), or unset it."
        ) from None
    with client:
        size = sum(client.nthreads().values())
        if not size:
            raise UserError(f"the Dask scheduler {address} has no workers: `dask worker {address}` starts one.")
        executor = client.get_executor(pure=False)
        try:
            yield executor, size
        except KilledWorker as error:
            raise UserError(f"Dask workers died over and over ({error}): is their memory enough?") from None
        finally:
            executor.shutdown(wait=False)


def _there(folder: Path, version: str, function: Callable[[T], R], item: T) -> R:
    """Apply a function to an item on a worker, in the project's folder and by the code that this process has."""
    try:
        os.chdir(folder)
    except OSError:
        raise UserError(
            f"a Dask worker on {socket.gethostname()} has no folder {folder}: all machines must see it there."
        ) from None
    if code() != version:
        raise UserError(f"a Dask worker on {socket.gethostname()} runs other code: update structalign and restart it.")
    return function(item)


@cache
def code() -> str:
    """A digest of the library's source, as this process first saw it."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
