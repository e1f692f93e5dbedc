"""Files that are made on request and kept in a folder of bounded size. All requests for a file share one job.

A file has a temporary name until it is complete, so a partial file is never taken for a complete one. It can be read
while it grows.
"""

import asyncio
import errno
import math
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from structalign.data.playable import Killed
from structalign.serve.collection import Busy

WAITING = 128  # jobs per pool at most
LOOK = 0.03  # seconds between two checks of a file that grows
LEFT = 3600.0  # seconds after which another process's partial file counts as abandoned
PIECE = 256 * 1024  # bytes
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
RETRY = 60.0  # seconds until a file is tried again that found no room or lost its decoder

Gone = Callable[[], Awaitable[bool]]


class NoRoom(Exception):
    """The folder cannot be written. The message is the system's reason."""


@dataclass
class Job:
    """A file that is being made.

    readers: number of requests that wait for it. Without readers it ends, unless it is made for later. pool: the
    threads that make it.
    """

    part: Path
    pool: ThreadPoolExecutor
    readers: int = 0
    later: bool = False
    stopped: bool = False
    ended: "Future[None]" = field(default_factory=Future)

    def wanted(self) -> bool:
        """Whether the file is still to be made."""
        return not self.stopped and (self.readers > 0 or self.later)


Make = Callable[[Job], None]


class Making:
    """Makes and keeps files in `folder`, up to `limit` bytes. The least recently used are removed first.

    Raises `OSError` if the folder cannot be made or written.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
        for left in folder.glob("*.part"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > LEFT:
                    left.unlink()
        self._jobs: dict[str, Job] = {}
        self._not_before: dict[str, float] = {}  # of failed files, by `time.monotonic`: not every click tries again
        self._lock = Lock()
        self._stopped = False

    def stop(self) -> None:
        """Begin no more jobs, and let running ones end. Waiting requests are refused and may try again."""
        with self._lock:
            self._stopped = True
            for job in self._jobs.values():
                job.stopped = True  # otherwise it would begin its next decoder

    def abandon(self) -> None:
        """Refuse the requests that wait for jobs that have not begun."""
        for job in list(self._jobs.values()):
            if not job.ended.done():
                job.ended.set_exception(Busy())

    def kept(self, name: str) -> Path | None:
        """A file of the folder if it exists. It counts as used now, by its access time.

        Its modification time stays, since a browser that plays it by Range must see the same one each time.
        """
        file = self.folder / name
        try:
            os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
        except OSError:
            return None
        return file

    def runs(self, pool: ThreadPoolExecutor) -> bool:
        """Whether these threads have a running or waiting job."""
        with self._lock:
            return any(job.pool is pool for job in self._jobs.values())

    def possible(self, name: str) -> bool:
        """False for a file that has failed and is not to be tried again yet."""
        return time.monotonic() >= self._not_before.get(name, 0.0)

    def begin(self, pool: ThreadPoolExecutor, name: str, make: Make) -> None:
        """Begin to make a file for later, unless it has failed before."""
        if self.possible(name):
            with suppress(Busy):  # the next request begins it
                self._release(self._job(pool, name, make, later=True))

    async def made(self, pool: ThreadPoolExecutor, name: str, make: Make, gone: Gone) -> Path:
        """Wait for the complete file. A client that disconnects is not waited for."""
        if (file := self.kept(name)) is not None:
            return file
        job = self._job(pool, name, make)
        try:
            ended = asyncio.wrap_future(job.ended)
            ended.add_done_callback(lambda over: over.exception())  # perhaps no request is left to read it
            while not ended.done():
                await asyncio.wait([ended], timeout=0.25)
                if not ended.done() and await gone():
                    raise Busy
            ended.result()
        finally:
            self._release(job)
        return self.folder / name

    async def growing(self, pool: ThreadPoolExecutor, name: str, make: Make, gone: Gone) -> AsyncGenerator[bytes]:
        """The pieces of a file while it is made. Raises the error of its job."""
        job = self._job(pool, name, make)
        try:
            while not job.part.exists():
                if job.ended.done():
                    job.ended.result()
                    break
                if await gone():
                    raise Busy
                await asyncio.sleep(LOOK)
            with _either(job.part, self.folder / name) as file:
                while True:
                    over = job.ended.done()
                    if piece := await asyncio.to_thread(file.read, PIECE):
                        yield piece
                    elif over:
                        job.ended.result()
                        return
                    elif await gone():
                        raise Busy
                    else:
                        await asyncio.sleep(LOOK)
        finally:
            self._release(job)

    def _job(self, pool: ThreadPoolExecutor, name: str, make: Make, later: bool = False) -> Job:
        """The job that makes a file, shared by all requests. Raises `Busy` if too many wait."""
        with self._lock:
            job = self._jobs.get(name)
            if job is None or not job.wanted():
                if self._stopped or sum(other.pool is pool for other in self._jobs.values()) >= WAITING:
                    raise Busy
                job = Job(self.folder / f"{name}.{os.getpid()}-{time.monotonic_ns()}.part", pool)
                self._jobs[name] = job
                job.readers, job.later = 1, later
                pool.submit(self._run, job, name, make)
                return job
            job.readers += 1
            job.later = job.later or later
            return job

    def _release(self, job: Job) -> None:
        with self._lock:
            job.readers -= 1

    def _run(self, job: Job, name: str, make: Make) -> None:
        try:
            if self._stopped or not job.wanted():
                raise Busy
            self._fill(job, name, make)
        except BaseException as error:
            job.part.unlink(missing_ok=True)
            if job.later and not self._stopped:
                self._not_before[name] = time.monotonic() + (RETRY if isinstance(error, NoRoom | Killed) else math.inf)
            job.ended.set_exception(error if job.wanted() else Busy())  # a stopped job is not broken
        else:
            job.ended.set_result(None)
            self._evict(keep=name)
        finally:
            with self._lock:
                if self._jobs.get(name) is job:
                    del self._jobs[name]

    def _fill(self, job: Job, name: str, make: Make) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)  # someone may have emptied the user's cache
            make(job)
            job.part.replace(self.folder / name)
        except OSError as error:
            if error.errno in FULL or error.filename in (str(self.folder), str(job.part)):
                raise NoRoom(error.strerror or type(error).__name__) from error
            raise

    def _evict(self, keep: str) -> None:
        """Remove the least recently used files, but not `keep`, which was made just now."""
        files = []
        for file in self.folder.iterdir():
            with suppress(OSError):
                if file.suffix != ".part":
                    about = file.stat()
                    files.append((about.st_atime_ns, about.st_size, file))
        total = sum(size for _, size, _ in files)
        for _, size, file in sorted(files):
            if total <= self.limit:
                return
            if file.name != keep:
                file.unlink(missing_ok=True)
                total -= size


def _either(part: Path, whole: Path) -> BinaryIO:
    """The growing file, or the complete file that it has become. Raises `Busy` if both are gone."""
    for file in (part, whole):
        with suppress(FileNotFoundError):
            return file.open("rb")
    raise Busy
