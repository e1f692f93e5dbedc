"""Run a program on untrusted files, and end it with all its children at the time limit.

The child leads its own session, so a wrapper and all its descendants end together. One loop in the calling thread reads
all pipes. A child that hangs, writes too much or leaves a pipe open to another process cannot block it.
"""

import os
import selectors
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from structalign.errors import UserError

Sink = Callable[[bytes], object]

CHUNK = 2**20  # bytes read at once
HEAD, TAIL = 2**20, 2**16  # bytes kept of the log: its beginning, and its end, which has the cause of a failure
GRACE = 1.0  # seconds that pipes may stay open after the child itself has ended
TICK = 0.05  # seconds between two checks whether the child has ended
MEMORY = 8 * 2**30  # bytes of address space
FILE = 2**20  # bytes that a child may write to a file: ffmpeg writes to pipes
MARK = "STRUCTALIGN_CHILD"  # in the environment of a child and all its descendants

_running: dict[str, "subprocess.Popen[bytes]"] = {}  # by mark
_lock = Lock()


@dataclass(frozen=True)
class Ended:
    """How a child ended: its exit status, its standard error and whether it reached the time limit.

    It also tells whether the child left its pipes open to a process that outlived it. That process is then ended too.
    """

    status: int
    log: str
    late: bool
    left: bool


def run(
    command: Sequence[str],
    deadline: float,
    sinks: Mapping[int, tuple[int, Sink]],
    keep: Sequence[int] = (),
    output: bool = False,
    wanted: Callable[[], bool] = lambda: True,
    writes: int = FILE,
) -> Ended:
    """Run `command` until it ends, `deadline` (of `time.monotonic`) passes, or `wanted` returns false.

    `sinks` maps each pipe's read end to its write end and to a function that takes its bytes. The child inherits the
    write end, which this function closes. `keep` are further descriptors to inherit. With `output`, standard output is
    part of the log. `writes` is the number of bytes that the child may write to a file. An error raised by a sink ends
    the child. Raises `UserError` if the program cannot be started.
    """
    mark = uuid.uuid4().hex
    log_reader, log_writer = os.pipe()
    head, tail = bytearray(), bytearray()

    def write_log(data: bytes) -> None:
        room = HEAD - len(head)
        head.extend(data[: max(room, 0)])
        tail.extend(data[max(room, 0) :][-TAIL:])
        del tail[:-TAIL]

    takers: dict[int, Sink] = {reader: sink for reader, (_, sink) in sinks.items()} | {log_reader: write_log}
    writers = [writer for writer, _ in sinks.values()]
    try:
        process = _start(command, mark, log_writer, output, [*writers, *keep], writers, writes)
    except BaseException:
        for reader in takers:
            os.close(reader)
        raise
    strays = True
    try:
        strays = _serve(process, takers, deadline, wanted)
        late = process.poll() is None
    finally:
        _kill(process, mark if strays else None)
        process.wait()
        with _lock:
            _running.pop(mark, None)
    return Ended(process.returncode, (head + tail).decode("utf-8", "replace"), late, strays and not late)


def stop_all() -> None:
    """End all children of this process, in all threads. Ctrl-C does not reach their sessions."""
    with _lock:
        running = dict(_running)
    for mark, process in running.items():
        _kill(process, mark)


def _start(
    command: Sequence[str],
    mark: str,
    log: int,
    output: bool,
    inherited: Sequence[int],
    writers: Sequence[int],
    writes: int,
) -> "subprocess.Popen[bytes]":
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log if output else subprocess.DEVNULL,
            stderr=log,
            pass_fds=inherited,
            start_new_session=True,
            env={**os.environ, MARK: mark},
        )
    except OSError as error:
        raise UserError(f"ffmpeg can't be started ({error.strerror}): correct or unset STRUCTALIGN_FFMPEG.") from None
    finally:
        for writer in (log, *writers):
            os.close(writer)
    with _lock:
        _running[mark] = process
    _limit(process.pid, writes)
    return process


def _limit(pid: int, writes: int) -> None:
    """Limit the memory and file size of a running process, which only Linux supports.

    It is done from outside, since code between fork and exec is not safe in a process with threads. Children that the
    program started before this call have no limit.
    """
    with suppress(ImportError, AttributeError, OSError, ValueError):
        import resource

        resource.prlimit(pid, resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (writes, writes))
        for started in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            _limit(int(started), writes)


def _serve(
    process: "subprocess.Popen[bytes]", takers: Mapping[int, Sink], deadline: float, wanted: Callable[[], bool]
) -> bool:
    """Pass each pipe's bytes to its sink until all pipes are closed and the child has ended. Then return False.

    The time that a sink takes, while the child waits, does not count as the child's.
    """
    patience = deadline
    with selectors.DefaultSelector() as selector:
        for reader, sink in takers.items():
            selector.register(reader, selectors.EVENT_READ, sink)
        try:
            while selector.get_map() or process.poll() is None:
                now = time.monotonic()
                if now >= patience or not wanted():
                    return True
                if not selector.get_map():
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(min(TICK, patience - now))
                    continue
                for key, _ in selector.select(min(TICK, patience - now)):
                    if data := os.read(key.fd, CHUNK):
                        began = time.monotonic()
                        key.data(data)
                        spent = time.monotonic() - began
                        deadline, patience = deadline + spent, patience + spent
                    else:
                        selector.unregister(key.fd)
                if patience == deadline and process.poll() is not None:
                    patience = min(deadline, time.monotonic() + GRACE)
        finally:
            for reader in takers:
                os.close(reader)
    return False


def _kill(process: "subprocess.Popen[bytes]", mark: str | None) -> None:
    """Kill the child's process group, and with `mark` also processes that left the group.

    Linux finds these by their parents, or by the mark in their environment.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGSTOP)  # so that it starts no further process meanwhile
    strays = _descendants(process.pid) if mark and process.returncode is None else []
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    if mark is None:
        return
    for pid in strays:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    sought = f"{MARK}={mark}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if sought in entry.read_bytes():
                os.kill(int(entry.parent.name), signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """All descendants of a process. A program may start them in other sessions and with another environment."""
    children = dict[int, list[int]]()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(entry.read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.parent.name))
    found = list(children.get(pid, []))
    for each in found:
        found += children.get(each, [])
    return found
