"""The served index. One thread searches it, and waiting queries share passes through the text tower."""

import asyncio
import gc
import re
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any, TypeVar

from structalign.collector import paused
from structalign.errors import UserError
from structalign.library.opening import open_index
from structalign.library.video_index import VideoIndex
from structalign.serve.facets import facets

T = TypeVar("T")

TOGETHER = 32  # queries that share a pass
WAITING = 64  # waiting queries at most; more are refused and may try again
LOOK = 1.0  # seconds between two checks for a newer index
ABSOLUTE = re.compile(r"(?<![\w./-])/(?:[^/\s'\"]+/)+")  # the folders of an absolute path
FIRST_SENTENCE = "a video"  # encoded before the index is ready: loads the model


class Busy(Exception):
    """Too many queries wait."""


class NotReady(Exception):
    """The index is not open yet."""


@dataclass(frozen=True)
class _Ask:
    """A waiting call. sentence: its query, which is encoded with those of other calls, or None."""

    sentence: str | None
    call: Callable[[VideoIndex], Any]
    answer: "Future[Any]"


class Collection:
    """Opens an index in the background, opens newer versions of it, and answers one query after the other.

    failed: why the index could not be opened. changing: why a newer version cannot be opened yet. Meanwhile the old one
    answers.
    """

    def __init__(self, open: Callable[[], VideoIndex]):
        self._open = open
        self._index: VideoIndex | None = None
        self._waiting: deque[_Ask] = deque()
        self._more = Condition()
        self._stop = Event()
        self._threads = [Thread(target=self._work, daemon=True), Thread(target=self._follow, daemon=True)]
        self.opened = 0  # number of versions opened so far; it tells a page that there is a new one
        self.failed: BaseException | None = None
        self.changing: str | None = None
        self.on_failure: Callable[[], None] = lambda: None

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End both threads. Waiting queries get `NotReady`. A second call does nothing."""
        self._stop.set()
        with self._more:
            self._more.notify_all()
        for thread in self._threads:
            thread.join()
        while self._waiting:
            ask = self._waiting.popleft()
            if ask.answer.set_running_or_notify_cancel():
                ask.answer.set_exception(NotReady())

    @property
    def ready(self) -> bool:
        return self._index is not None

    @property
    def index(self) -> VideoIndex:
        """The newest open index. Raises `NotReady` before the first one is open."""
        if self._index is None:
            raise NotReady
        return self._index

    async def ask(self, call: Callable[[VideoIndex], T], sentence: str | None = None) -> T:
        """The result of `call` on the index. Raises `Busy` if too many wait, `NotReady`, and what `call` raises."""
        _ = self.index
        answer: Future[T] = Future()
        with self._more:
            if len(self._waiting) >= WAITING:
                raise Busy
            self._waiting.append(_Ask(sentence, call, answer))
            self._more.notify()
        return await asyncio.wrap_future(answer)

    def _work(self) -> None:
        """The only thread that computes with the model, since its adapters are switched on and off."""
        try:
            with paused():  # otherwise the collector scans all loaded objects again and again
                index = _warm(self._open())
            gc.freeze()
            self._index = index
            self.opened += 1
        except BaseException as error:
            self.failed = error
            self.on_failure()
            return
        while not self._stop.is_set():
            with self._more:
                while not self._waiting and not self._stop.is_set():
                    self._more.wait()
                asks = [self._waiting.popleft() for _ in range(min(TOGETHER, len(self._waiting)))]
            _answer(self._index, [ask for ask in asks if ask.answer.set_running_or_notify_cancel()])

    def _follow(self) -> None:
        """Open newer versions of the index. The old one answers until then."""
        while not self._stop.wait(LOOK):
            old = self._index
            if old is None:
                continue
            try:
                if old.newer():
                    index = old.reopened()
                    self._replace(index)
                self.changing = None
            except UserError as error:
                self.changing = _placeless(str(error), old.path)
            except OSError as error:  # files may vanish while `dvc repro` runs
                self.changing = f"the index is being written ({error.strerror or type(error).__name__})"
            except Exception as error:
                self.changing = f"the index is being written ({_placeless(str(error), old.path)})"

    def _replace(self, index: VideoIndex) -> None:
        warmed: Future[None] = Future()

        def swap(_: VideoIndex) -> None:
            self._index = _warm(index)
            self.opened += 1

        with self._more:
            self._waiting.appendleft(_Ask(None, swap, warmed))
            self._more.notify()
        while not self._stop.is_set() and not warmed.done():
            self._stop.wait(LOOK / 10)
        if warmed.done():
            warmed.result()


def _placeless(text: str, path: Path) -> str:
    """The message without places on this machine. Only the last name of an absolute path stays."""
    for place in (path, path.absolute(), path.resolve()):  # the path may hold spaces
        if place.name:
            text = text.replace(str(place), place.name)
    return ABSOLUTE.sub("", text)


def _warm(index: VideoIndex) -> VideoIndex:
    if len(index):
        index.search(FIRST_SENTENCE, top=1)
    facets(index)  # counted here, before anyone waits for it
    return index


def _answer(index: VideoIndex, asks: list[_Ask]) -> None:
    """Encode all sentences in one pass, then answer each query. A query that fails does not affect the others."""
    try:
        index.read([ask.sentence for ask in asks if ask.sentence is not None])
    except Exception as error:
        for ask in asks:
            ask.answer.set_exception(error)
        return
    for ask in asks:
        try:
            ask.answer.set_result(ask.call(index))
        except Exception as error:
            ask.answer.set_exception(error)


def opened(path: Path, after: str | None) -> Callable[[], VideoIndex]:
    """A function that opens the index of folders, or the project, at `path`."""

    def open() -> VideoIndex:
        return open_index(path, after)

    return open


def now() -> float:
    """Seconds of a monotonic clock."""
    return time.perf_counter()
