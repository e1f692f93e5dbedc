"""A problem of a project and its remedy."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from structalign.errors import UserError
from structalign.extras import require


@dataclass(frozen=True)
class Finding:
    """fault: the problem, as a sentence without its full stop. remedy: the command or advice that fixes it.

    mend: applies the remedy. None if a person must choose.
    """

    fault: str
    remedy: str
    mend: Callable[[], None] | None = None

    def __str__(self) -> str:
        return f"{self.fault}: {self.remedy}."


def removal(path: Path, fault: str) -> Finding:
    """A finding whose remedy is to remove a file or folder."""
    return Finding(fault, f"`rm {'-r ' * path.is_dir()}{path}`", partial(remove, path))


def remove(path: Path) -> None:
    """Remove a file, folder or link, if it exists."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def git(*arguments: str) -> "subprocess.CompletedProcess[bytes]":
    """Run git in the current folder."""
    return subprocess.run(["git", *arguments], capture_output=True, check=False)


def dvc(*arguments: str) -> str:
    """Run DVC in the current folder and return its output. Raises `UserError` with DVC's reason if it fails."""
    require("dvc")
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        reason = next((line for line in lines if line.startswith("ERROR: ")), "no reason given").removeprefix("ERROR: ")
        raise UserError(f"`dvc {' '.join(arguments)}` failed ({reason}): fix that and run it again.")
    return done.stdout
