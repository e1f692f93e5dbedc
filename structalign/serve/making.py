"""Files that are made when they are asked for, each once for all who ask, and kept in a folder of bounded size.

A file grows under another name until it is whole, so that nobody takes half of one for all of it. It can be read while
it grows.
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

from structalign.serve.collection import Busy

WAITING = 128  # of a kind that wait to be made, at most
LOOK = 0.03  # seconds between two looks at a file that grows
LEFT = 3600.0  # seconds after which what another process has begun is taken for abandoned
PIECE = 256 * 1024  # bytes
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
RETRY = 60.0  # seconds after which a file that found no room is tried again

Gone = Callable[[], Awaitable[bool]]


class NoRoom(Exception):
    """The folder cannot be written: why, in the system's words."""


@dataclass
class Job:
    """readers: who waits for it; nobody does when it is 0, and then it ends, unless it is made for later. pool: whose
    threads make it."""

    part: Path
    pool: ThreadPoolExecutor
    readers: int = 0
    later: bool = False
    stopped: bool = False
    ended: "Future[None]" = field(default_factory=Future)

    def wanted(self) -> bool:
        """Whether it is to be made to its end."""
        return not self.stopped and (self.readers > 0 or self.later)


Make = Callable[[Job], None]


class Making:
    """Makes and keeps files in `folder`, up to `limit` bytes; the least recently used go first."""

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.part"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > LEFT:
                    left.unlink()
        self._jobs: dict[str, Job] = {}
        self._not_before: dict[str, float] = {}  # by `time.monotonic`: what failed, which each click would begin again
        self._lock = Lock()
        self._stopped = False

    def stop(self) -> None:
        """Begin nothing any more, and let what is made end; who waits is told to come again."""
        with self._lock:
            self._stopped = True
            for job in self._jobs.values():
                job.stopped = True  # else it would begin its next decoder

    def abandon(self) -> None:
        """Tell those who wait for what had not begun."""
        for job in list(self._jobs.values()):
            if not job.ended.done():
                job.ended.set_exception(Busy())

    def kept(self, name: str) -> Path | None:
        """A file of the folder, which counts as used now: by its time of access, since a browser that plays it by Range
        must be told the same time of change each time."""
        file = self.folder / name
        try:
            os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
        except OSError:
            return None
        return file

    def runs(self, pool: ThreadPoolExecutor) -> bool:
        """Whether something is made, or waits to be, by these threads."""
        with self._lock:
            return any(job.pool is pool for job in self._jobs.values())

    def possible(self, name: str) -> bool:
        """False for what could not be made for later."""
        return time.monotonic() >= self._not_before.get(name, 0.0)

    def begin(self, pool: ThreadPoolExecutor, name: str, make: Make) -> None:
        """Make it for later, unless it could not be made."""
        if self.possible(name):
            with suppress(Busy):  # whoever asks next begins it
                self._release(self._job(pool, name, make, later=True))

    async def made(self, pool: ThreadPoolExecutor, name: str, make: Make, gone: Gone) -> Path:
        """The file, once it is whole; who goes away meanwhile is not waited for."""
        if (file := self.kept(name)) is not None:
            return file
        job = self._job(pool, name, make)
        try:
            ended = asyncio.wrap_future(job.ended)
            ended.add_done_callback(lambda over: over.exception())  # nobody may be left to hear of it
            while not ended.done():
                await asyncio.wait([ended], timeout=0.25)
                if not ended.done() and await gone():
                    raise Busy
            ended.result()
        finally:
            self._release(job)
        return self.folder / name

    async def growing(self, pool: ThreadPoolExecutor, name: str, make: Make, gone: Gone) -> AsyncGenerator[bytes]:
        """The pieces of a file as they come. Raises what its making raised."""
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
                    else:
                        await asyncio.sleep(LOOK)
        finally:
            self._release(job)

    def _job(self, pool: ThreadPoolExecutor, name: str, make: Make, later: bool = False) -> Job:
        """The job that makes a file; one for all who ask. `Busy` where too many wait."""
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
                self._not_before[name] = time.monotonic() + (RETRY if isinstance(error, NoRoom) else math.inf)
            job.ended.set_exception(error if job.wanted() else Busy())  # what was stopped is not broken
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
        """Remove the least recently used, but not what was made just now."""
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
    """What grows, or the whole that it has become meanwhile. `Busy` where it was removed again."""
    for file in (part, whole):
        with suppress(FileNotFoundError):
            return file.open("rb")
    raise Busy
