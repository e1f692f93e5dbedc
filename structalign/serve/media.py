"""Media that are made from video files for the page: posters, previews, stretches and whole copies."""

import hashlib
import mimetypes
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path

from structalign.data import playable
from structalign.data.video import BrokenVideo, stop_all
from structalign.machine import cores
from structalign.serve.collection import Busy
from structalign.serve.making import Gone, Job, Make, Making, NoRoom

STRETCH = 30.0  # seconds that are made from a match on
LEAST = 1.0  # seconds before the end at which a stretch begins at the latest, so that it has a frame
PREVIEW, PREVIEW_HEIGHT = 3.0, 180  # seconds, pixels
COPIED = 600.0  # seconds of the longest file that is copied whole


class Media:
    """Makes and keeps media in `folder`, up to `limit` bytes."""

    def __init__(self, folder: Path, limit: int):
        self.making = Making(folder, limit)
        # a click must not wait for the posters of a page, and neither of them for copies
        self._small, self._stretches, self._copies = (ThreadPoolExecutor(n) for n in (cores(), cores(), 1))

    def stop(self) -> None:
        """End all jobs. A second call does nothing."""
        self.making.stop()
        stop_all()
        for pool in (self._small, self._stretches, self._copies):
            pool.shutdown(cancel_futures=True)
        self.making.abandon()

    @staticmethod
    def type_of(path: Path) -> str:
        """The media type of a file that a browser plays, by its name. A browser may ignore it."""
        guessed = mimetypes.guess_type(path.name)[0] or ""
        return guessed if guessed.startswith("video/") else "video/mp4"

    async def poster(self, path: Path, at: float, gone: Gone) -> Path:
        """A JPEG of the frame at `at` seconds."""

        def make(job: Job) -> None:
            job.part.write_bytes(playable.still(path, at, job.wanted))

        return await self.making.made(self._small, _name(path, f"{at:.2f}", "jpg"), make, gone)

    async def preview(self, path: Path, at: float, gone: Gone) -> Path:
        """A small silent MP4 of some seconds from `at` on."""
        make = _stretching(path, at, PREVIEW, PREVIEW_HEIGHT, sound=False)
        return await self.making.made(self._small, _name(path, f"{at:.2f} preview", "mp4"), make, gone)

    async def stretch(self, path: Path, begin: float, gone: Gone) -> "Path | AsyncIterator[bytes]":
        """A file of half a minute from `begin` on, or its bytes while it is made. Raises `BrokenVideo` if it fails."""
        name = _name(path, f"{begin:.2f} stretch", "mp4")
        if (file := self.making.kept(name)) is not None:
            return file
        make = _stretching(path, begin, STRETCH, playable.HIGHEST, sound=True)
        pieces = self.making.growing(self._stretches, name, make, gone)
        # the header comes before anything is decoded; an error of the first pictures is raised before the answer begins
        first = await anext(pieces) + await anext(pieces, b"")

        async def all_of_them() -> AsyncIterator[bytes]:
            async with aclosing(pieces):
                yield first
                try:
                    async for piece in pieces:
                        yield piece
                except (BrokenVideo, NoRoom, Busy):
                    return  # the part that was sent plays, and the page asks for the rest

        return all_of_them()

    def copy(self, path: Path, playing: str) -> Path | None:
        """The whole copy, or None if it is not there. Then this begins to make it, unless it has failed before."""
        name = _name(path, "copy", "mp4")
        if (file := self.making.kept(name)) is None:
            self.making.begin(self._copier(playing), name, self._copying(path, playing))
        return file

    def copyable(self, path: Path) -> bool:
        """False if a whole copy has failed."""
        return self.making.possible(_name(path, "copy", "mp4"))

    async def copied(self, path: Path, playing: str, gone: Gone) -> Path:
        """Wait for the whole copy."""
        name = _name(path, "copy", "mp4")
        return await self.making.made(self._copier(playing), name, self._copying(path, playing), gone)

    def _copier(self, playing: str) -> ThreadPoolExecutor:
        """The pool for a copy. A remux is quick and someone waits for it, so it does not queue behind other copies."""
        return self._stretches if playing == "remux" else self._copies

    def _copying(self, path: Path, playing: str) -> Make:
        """Make a copy. It pauses while a stretch is made, since someone waits for the stretch."""
        waits = self._copier(playing) is self._copies

        def make(job: Job) -> None:
            with job.part.open("w+b") as out:
                playable.copy(
                    path, out.fileno(), playing, job.wanted, lambda: waits and self.making.runs(self._stretches)
                )

        return make


def _name(path: Path, what: str, suffix: str) -> str:
    """A name by the file's place and state, since its content may have changed."""
    about = path.stat()
    key = f"{path}\0{about.st_mtime_ns}\0{about.st_size}\0{what}".encode("utf-8", "surrogateescape")
    return f"{hashlib.sha256(key).hexdigest()[:32]}.{suffix}"


def _stretching(path: Path, begin: float, seconds: float, height: int, sound: bool) -> Make:
    def make(job: Job) -> None:
        with job.part.open("wb", buffering=0) as out:
            playable.stretch(path, begin, seconds, out.write, height, sound, job.wanted)

    return make
