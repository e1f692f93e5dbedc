"""The runs of a sweep. Some of them run in parallel, each is kept when it ends, and none is repeated."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import structalign
from structalign.console import say, track
from structalign.errors import UserError
from structalign.store import read_json, write_json
from structalign.sweep.file import Setting
from structalign.sweep.known import data_digest, fingerprint
from structalign.sweep.measures import measures

ONE_THREAD = {"OMP_NUM_THREADS": "1", "STRUCTALIGN_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
POLL = 0.1  # seconds


@dataclass(frozen=True)
class Run:
    """A setting at a seed."""

    setting: Setting
    seed: int
    split: str

    @property
    def asked(self) -> dict[str, Any]:
        """The request for its process. Its file repeats the request."""
        sections = {**self.setting.sections, "seed": self.seed}
        own = {"method": self.setting.method, "seed": self.seed, "split": self.split}
        return own | {"sections": sections, "rankings": self.setting.rankings}


@dataclass(frozen=True)
class Running:
    """A run, its process, and the process's output."""

    run: Run
    known: str
    process: "subprocess.Popen[str]"
    said: IO[str]


class Queue:
    """Makes the runs of a sweep and keeps each in a JSON file with its fingerprint."""

    def __init__(self, out: Path, split: str, jobs: int):
        self.out, self.split, self.jobs, self.data = out, split, jobs, data_digest(split)

    def file(self, run: Run) -> Path:
        """The file of a run."""
        return self.out / f"{run.setting.key}-{run.split}-{run.seed}.json"

    def result(self, run: Run) -> dict[str, Any]:
        """The kept result of a run, with its metrics computed again. So a new metric repeats no run."""
        kept: dict[str, Any] = read_json(self.file(run))
        return kept | {"measures": {row: measures(kept, row) for row in kept.get("rows", {})}}

    def make(self, runs: Sequence[Run], label: str) -> None:
        """Make the runs that are not kept yet. If this is interrupted, runs in progress are lost."""
        known = {run: fingerprint(run.asked, self.data) for run in runs}
        waiting = [run for run in runs if not self._is_kept(run, known[run])]
        running: list[Running] = []

        def ended() -> Iterator[Running]:
            left = list(reversed(waiting))
            while left or running:
                while left and len(running) < self.jobs:
                    run = left.pop()
                    running.append(self._start(run, known[run]))
                done = [one for one in running if one.process.poll() is not None]
                for one in done:
                    running.remove(one)
                    yield one
                time.sleep(POLL * (not done))

        try:
            for one in track(ended(), label, len(waiting)):
                self._end(one)
        except KeyboardInterrupt:
            say("interrupted: the same command resumes from the runs that are kept.", err=True)
            raise
        finally:
            for one in running:
                one.process.kill()

    def _is_kept(self, run: Run, known: str) -> bool:
        try:
            return self.file(run).exists() and read_json(self.file(run)).get("fingerprint") == known
        except (UserError, AttributeError):  # damaged
            return False

    def _start(self, run: Run, known: str) -> Running:
        here = str(Path(structalign.__file__).parents[1])  # the code of the fingerprint
        said = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed when the run ends
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "structalign.sweep.process", str(self.file(run))],
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": here},
            stdin=subprocess.PIPE,
            stdout=said,
            stderr=said,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({"asked": run.asked, "data": self.data}) + "\n")
        process.stdin.flush()
        return Running(run, known, process, said)

    def _end(self, one: Running) -> None:
        """Keep a run whose process failed as failed, without a fingerprint. So the next sweep tries it again."""
        with one.said:
            one.said.seek(0)
            said = one.said.read().strip().splitlines()
        if one.process.returncode:
            why = said[-1] if said else f"its process ended with {one.process.returncode}, perhaps for lack of memory"
            write_json(self.file(one.run), one.run.asked | {"failed": why})
        elif not self._is_kept(one.run, one.known):
            raise UserError("the code of structalign was edited while the sweep ran: start the sweep again.")
