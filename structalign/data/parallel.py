"""Process many videos in parallel: in threads of this process, or on Dask workers.

Dask is used through its own executor. joblib's Dask back end waits forever if workers keep dying, for example without
enough memory.
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
AHEAD = 4  # items per worker that are under way; results waiting for the reader take memory
PATIENCE = 30  # seconds to connect to the scheduler


def in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    threads: int | None = None,
    stop: Callable[[], None] | None = None,
    here: bool = False,
) -> Iterator[R]:
    """A parallel `map`. Results come in the items' order, only a few ahead of the reader.

    It runs on `threads` threads (None: all cores). If STRUCTALIGN_DASK has a scheduler's address and `here` is false,
    it runs on that scheduler's workers. Threads suit functions that wait for processes such as ffmpeg. `stop` ends
    these processes when the reader gives up, since Ctrl-C does not reach them. Workers need the project's folder under
    the same path, and the same code. Raises a `UserError` that names a worker without them.
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
    """The cluster as an executor, and the number of items it processes at a time."""
    try:
        from distributed import Client
        from distributed.scheduler import KilledWorker
    except ImportError:
        raise UserError(
            f"{SCHEDULER} is set, but Dask is not installed: run `pip install 'structalign[scale]'`, or unset it."
        ) from None
    try:
        client: Any = Client(address, timeout=PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler answers at {SCHEDULER}={address} ({error}): run `dask scheduler`, or unset it."
        ) from None
    with client:
        size = sum(client.nthreads().values())
        if not size:
            raise UserError(f"the Dask scheduler {address} has no workers: start one with `dask worker {address}`.")
        executor = client.get_executor(pure=False)
        try:
            yield executor, size
        except KilledWorker as error:
            raise UserError(f"Dask workers died repeatedly ({error}): give them more memory.") from None
        finally:
            executor.shutdown(wait=False)


def _there(folder: Path, version: str, function: Callable[[T], R], item: T) -> R:
    """Apply a function to an item on a worker, in the project's folder and with the same code as this process."""
    try:
        os.chdir(folder)
    except OSError:
        raise UserError(
            f"a Dask worker on {socket.gethostname()} has no folder {folder}: make it available there under this path."
        ) from None
    if code() != version:
        raise UserError(
            f"a Dask worker on {socket.gethostname()} runs other code: update structalign there and restart the worker."
        )
    return function(item)


@cache
def code() -> str:
    """A digest of the library's source, read once per process."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
