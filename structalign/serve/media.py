"""What is made of video files for the page: posters, previews, stretches and whole copies, in a cache of bounded size.

Each is made once, however many ask for it. Its file grows under another name until it is whole, so that nobody takes
half of one for all of it; a stretch can be watched while it grows.
"""

import asyncio
import hashlib
import mimetypes
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from structalign.data import playable
from structalign.data.video import stop_all
from structalign.machine import cores
from structalign.serve.collection import Busy

STRETCH = 30.0  # seconds that are made around a match
BEFORE = 2.0  # seconds of it before the match: these are made before a browser can show the match
PREVIEW, PREVIEW_HEIGHT = 3.0, 180  # seconds, pixels
COPIED = 600.0  # seconds of the longest file that is copied whole
WAITING = 128  # of a kind that wait to be made, at most
LOOK = 0.03  # seconds between two looks at a file that grows
LEFT = 3600.0  # seconds after which what another process has begun is taken for abandoned
PIECE = 256 * 1024  # bytes

Gone = Callable[[], Awaitable[bool]]


@dataclass
class _Job:
    """readers: who waits for it; nobody does when it is 0, and then it ends, unless it is made for later. pool: whose
    threads make it."""

    part: Path
    pool: ThreadPoolExecutor
    readers: int = 0
    later: bool = False
    stopped: bool = False
    ended: "Future[None]" = field(default_factory=Future)

    def wanted(self) -> bool:
        return not self.stopped and (self.readers > 0 or self.later)


class Media:
    """Makes and keeps media in `folder`, up to `limit` bytes; the least recently used go first."""

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.part"):
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > LEFT:
                    left.unlink()
        self._jobs: dict[str, _Job] = {}
        self._impossible: set[str] = set()  # copies that failed, which each click would begin again
        self._lock = Lock()
        self._stopped = False
        # a click must not wait for the posters of a page, nor either for copies
        self._small, self._stretches, self._copies = (ThreadPoolExecutor(n) for n in (cores(), cores(), 1))

    def stop(self) -> None:
        """End what is being made."""
        with self._lock:
            self._stopped = True
            for job in self._jobs.values():
                job.stopped = True  # else it would begin its next decoder
        stop_all()
        for pool in (self._small, self._stretches, self._copies):
            pool.shutdown(cancel_futures=True)
        for job in self._jobs.values():
            if not job.ended.done():  # it had not begun
                job.ended.set_exception(Busy())

    @staticmethod
    def type_of(path: Path) -> str:
        """The media type of a file that a browser plays; by what it is called, which it may ignore."""
        guessed = mimetypes.guess_type(path.name)[0] or ""
        return guessed if guessed.startswith("video/") else "video/mp4"

    async def poster(self, path: Path, at: float, gone: Gone) -> Path:
        """A JPEG of the frame at a time, seconds."""

        def make(job: _Job) -> None:
            job.part.write_bytes(playable.still(path, at, job.wanted))

        return await self._made(self._small, self._name(path, f"{at:.2f}", "jpg"), make, gone)

    async def preview(self, path: Path, at: float, gone: Gone) -> Path:
        """A small silent MP4 of some seconds from a time on."""

        def make(job: _Job) -> None:
            _stretch(job, path, at, PREVIEW, PREVIEW_HEIGHT, sound=False)

        return await self._made(self._small, self._name(path, f"{at:.2f} preview", "mp4"), make, gone)

    async def stretch(self, path: Path, begin: float, gone: Gone) -> "Path | AsyncIterator[bytes]":
        """The file of half a minute from `begin` on, or its bytes while it is made. Raises BrokenVideo for none."""
        name = self._name(path, f"{begin:.2f} stretch", "mp4")
        if (file := self._kept(name)) is not None:
            return file

        def make(job: _Job) -> None:
            _stretch(job, path, begin, STRETCH, playable.HIGHEST, sound=True)

        pieces = self._growing(self._job(self._stretches, name, make), self.folder / name, gone)
        first = await anext(pieces)  # what cannot be made is told before the answer begins

        async def all_of_them() -> AsyncIterator[bytes]:
            async with aclosing(pieces):
                yield first
                async for piece in pieces:
                    yield piece

        return all_of_them()

    def copy(self, path: Path, playing: str) -> Path | None:
        """The whole copy; None while it is made, which this begins, or where it cannot be."""
        name = self._name(path, "copy", "mp4")
        if (file := self._kept(name)) is None and name not in self._impossible:
            with suppress(Busy):  # the next click begins it
                self._release(self._job(self._copier(playing), name, lambda job: _copy(job, path, playing), later=True))
        return file

    async def copied(self, path: Path, playing: str, gone: Gone) -> Path:
        """The whole copy, as soon as it is there."""
        name = self._name(path, "copy", "mp4")
        return await self._made(self._copier(playing), name, lambda job: _copy(job, path, playing), gone)

    def _copier(self, playing: str) -> ThreadPoolExecutor:
        """A remux is quick, and someone waits for it: not behind the copies that nobody waits for."""
        return self._stretches if playing == "remux" else self._copies

    def _name(self, path: Path, what: str, suffix: str) -> str:
        """By the file's place and state: what it holds may have changed."""
        about = path.stat()
        key = f"{path}\0{about.st_mtime_ns}\0{about.st_size}\0{what}".encode("utf-8", "surrogateescape")
        return f"{hashlib.sha256(key).hexdigest()[:32]}.{suffix}"

    def _kept(self, name: str) -> Path | None:
        """A file of the cache, which counts as used now: by its time of access, since a browser that plays it by Range
        must be told the same time of change each time."""
        file = self.folder / name
        try:
            os.utime(file, ns=(time.time_ns(), file.stat().st_mtime_ns))
        except OSError:
            return None
        return file

    def _job(self, pool: ThreadPoolExecutor, name: str, make: Callable[[_Job], None], later: bool = False) -> _Job:
        """The job that makes a file; one for all who ask. `Busy` where too many wait."""
        with self._lock:
            job = self._jobs.get(name)
            if job is None or not job.wanted():
                if self._stopped or sum(other.pool is pool for other in self._jobs.values()) >= WAITING:
                    raise Busy
                job = _Job(self.folder / f"{name}.{os.getpid()}-{time.monotonic_ns()}.part", pool)
                self._jobs[name] = job
                job.readers, job.later = 1, later
                pool.submit(self._run, job, name, make)
                return job
            job.readers += 1
            job.later = job.later or later
            return job

    def _release(self, job: _Job) -> None:
        with self._lock:
            job.readers -= 1

    def _run(self, job: _Job, name: str, make: Callable[[_Job], None]) -> None:
        try:
            if self._stopped or not job.wanted():
                raise Busy
            self.folder.mkdir(parents=True, exist_ok=True)  # someone may have emptied the user's cache
            make(job)
            job.part.replace(self.folder / name)
        except BaseException as error:
            job.part.unlink(missing_ok=True)
            if job.later and not self._stopped:
                self._impossible.add(name)
            job.ended.set_exception(error)
        else:
            job.ended.set_result(None)
            self._evict(keep=name)
        finally:
            with self._lock:
                if self._jobs.get(name) is job:
                    del self._jobs[name]

    async def _made(self, pool: ThreadPoolExecutor, name: str, make: Callable[[_Job], None], gone: Gone) -> Path:
        """The file, once it is whole; who goes away meanwhile is not waited for."""
        if (file := self._kept(name)) is not None:
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

    async def _growing(self, job: _Job, whole: Path, gone: Gone) -> AsyncGenerator[bytes]:
        """The pieces of a file as they come. Raises what its making raised."""
        try:
            while not job.part.exists():
                if job.ended.done():
                    job.ended.result()
                    break
                if await gone():
                    raise Busy
                await asyncio.sleep(LOOK)
            with _either(job.part, whole) as file:
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


def _stretch(job: _Job, path: Path, begin: float, seconds: float, height: int, sound: bool) -> None:
    with job.part.open("wb", buffering=0) as out:
        playable.stretch(path, begin, seconds, out.write, height, sound, job.wanted)


def _copy(job: _Job, path: Path, playing: str) -> None:
    with job.part.open("w+b") as out:
        playable.copy(path, out.fileno(), playing, job.wanted)
