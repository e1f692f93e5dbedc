"""The runs of a sweep: so many at a time, each kept as it ends, and none made twice."""

import hashlib
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
from structalign.code_digest import Code
from structalign.console import track
from structalign.data.tasks import read_tasks
from structalign.errors import UserError
from structalign.paths import BACKBONE, CHECKPOINTS, FEATURES, FRAMES, MANIFEST
from structalign.store import digest, read_json, write_json
from structalign.sweep.file import Setting

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
        """What the process of the run is told."""
        sections = {**self.setting.sections, "seed": self.seed}
        return {"method": self.setting.method, "seed": self.seed, "split": self.split, "sections": sections}


class Queue:
    """Where the runs of a sweep are kept, one JSON file each, known by a fingerprint of settings, code and data."""

    def __init__(self, out: Path, split: str, jobs: int):
        self.out, self.split, self.jobs = out, split, jobs
        self.code, self.data = Code(), data_digest(split)

    def file(self, run: Run) -> Path:
        """Where a run is kept."""
        return self.out / f"{run.setting.key}-{run.split}-{run.seed}.json"

    def fingerprint(self, run: Run) -> str:
        """What a run is known by: its settings, the code that it runs, and what it reads."""
        method = "finetune" if run.setting.method == "joint" else run.setting.method
        named = ["structalign.search.signals.*", f"structalign.learning.methods.{method}"]
        code = self.code.digest("structalign.sweep.run", [module for x in named for module in self.code.matching(x)])
        return hashlib.sha256(json.dumps([run.asked, code, self.data], sort_keys=True).encode()).hexdigest()

    def kept(self, run: Run) -> dict[str, Any] | None:
        """The file of a run, if it is of this code, these settings and this data."""
        if not self.file(run).exists():
            return None
        try:
            found: dict[str, Any] = read_json(self.file(run))
        except UserError:
            return None
        return found if found.get("fingerprint") == self.fingerprint(run) else None

    def result(self, run: Run) -> dict[str, Any]:
        """The file of a run that was made."""
        return dict(read_json(self.file(run)))

    def make(self, runs: Sequence[Run], label: str) -> None:
        """Do those of the runs that are not kept. Where this ends early, the runs in flight are lost."""
        waiting = [run for run in runs if self.kept(run) is None]
        for _ in track(self._done(waiting), label, len(waiting)):
            pass

    def _done(self, waiting: list[Run]) -> Iterator[Run]:
        running: dict[Run, tuple[subprocess.Popen[str], IO[str]]] = {}
        left = list(reversed(waiting))
        try:
            while left or running:
                while left and len(running) < self.jobs:
                    run = left.pop()
                    running[run] = self._start(run)
                ended = [run for run, (process, _) in running.items() if process.poll() is not None]
                for run in ended:
                    self._end(run, *running.pop(run))
                    yield run
                time.sleep(POLL * (not ended))
        finally:
            for process, _ in running.values():
                process.kill()

    def _start(self, run: Run) -> tuple["subprocess.Popen[str]", IO[str]]:
        here = str(Path(structalign.__file__).parents[1])  # the code whose digest was taken
        environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": here}
        command = [sys.executable, "-P", "-m", "structalign.sweep.run", str(self.file(run))]
        complaints = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed where the run ends
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=complaints, stderr=complaints, env=environment, text=True
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps({**run.asked, "fingerprint": self.fingerprint(run)}) + "\n")
        process.stdin.flush()
        return process, complaints

    def _end(self, run: Run, process: "subprocess.Popen[str]", complaints: IO[str]) -> None:
        """Keep a run that ended without a file of its own as a failed one."""
        with complaints:
            complaints.seek(0)
            said = complaints.read().strip().splitlines()
        if process.returncode:
            why = said[-1] if said else f"its process ended with {process.returncode}, perhaps for lack of memory"
            write_json(self.file(run), run.asked | {"failed": why})  # without a fingerprint: the next sweep tries again


def data_digest(split: str) -> str:
    """SHA-256 of all that the runs of a split read; a `UserError` if it is not there."""
    folders = [BACKBONE, CHECKPOINTS / "t00"]
    for task in read_tasks():
        folders += [MANIFEST / task, *(kind / task / part for kind in (FEATURES, FRAMES) for part in ("train", split))]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} does not exist: `structalign repro` makes what all runs share.")
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())
    return hashlib.sha256("\n".join(f"{file} {digest(file)}" for file in files).encode()).hexdigest()
