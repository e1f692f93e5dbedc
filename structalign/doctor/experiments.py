"""Leftovers of killed experiments: queued tasks that seem to run, their folders, and git references."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from structalign.doctor.finding import Finding, git, removal
from structalign.dvc_command import run_dvc

EXPERIMENTS = Path(".dvc/tmp/exps")
REFERENCES = "refs/exps/exec"
LEFT_BY_A_KILL = f"{REFERENCES}/EXEC_BASELINE"  # EXEC_HEAD is left after every experiment


def experiments() -> Iterator[Finding]:
    """Leftovers of `dvc exp run` and of the queue. No other process works in the project during this check."""
    if (EXPERIMENTS / "celery").is_dir():
        for task in re.findall(r"^([0-9a-f]{7})\s.*\bRunning\s*$", run_dvc("queue", "status"), re.MULTILINE):
            fault = f"the queue waits for experiment {task}, whose process has ended"
            yield Finding(fault, f"`dvc queue kill {task}`", partial(_kill, task))
    for folder in sorted(EXPERIMENTS.glob("tmp*")):
        yield removal(folder, f"{folder} is left over from an experiment that has ended")
    if git("rev-parse", "--verify", "--quiet", LEFT_BY_A_KILL).returncode == 0:
        fault = "an experiment in the workspace was killed, and params.yaml may hold its values"
        yield Finding(fault, "look at `git diff HEAD params.yaml`, and remove DVC's references to it", _forget)


def _kill(task: str) -> None:
    run_dvc("queue", "kill", task)


def _forget() -> None:
    for name in git("for-each-ref", "--format=%(refname)", REFERENCES).stdout.decode().split():
        git("update-ref", "-d", name)
