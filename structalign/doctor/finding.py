"""A problem of a project and its remedy."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path


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
