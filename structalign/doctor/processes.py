"""Processes that work in the project, since an apparent leftover may be in use."""

import os
from pathlib import Path

import psutil


def refusal(root: Path) -> str | None:
    """The reason to stop: DVC or a stage works in `root`. None if no process does."""
    own = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        words, folder = process.info["cmdline"] or [], process.info["cwd"]
        if process.pid not in own and folder and Path(folder).is_relative_to(root) and (name := _task(words)):
            return f"process {process.pid} ({name}) works in this project: wait for it, then run this again."
    return None


def _task(words: list[str]) -> str | None:
    """What a process does for a project, from its command line: `dvc repro`, `stages.train t02`, or None."""
    for number, word in enumerate(words[:3]):
        if Path(word).name == "dvc" or word.startswith("stages."):
            return " ".join([Path(word).name, *words[number + 1 : number + 2]])
    return None


def uses_git(root: Path) -> bool:
    """Whether a git command runs in `root`."""
    found = psutil.process_iter(["name", "cwd"])
    return any(p.info["name"] == "git" and p.info["cwd"] and Path(p.info["cwd"]).is_relative_to(root) for p in found)
