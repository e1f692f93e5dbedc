"""Locks that a killed DVC or git has left. Nobody works here when these are asked."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from structalign.doctor.finding import Finding, git, removal
from structalign.doctor.processes import uses_git

TEMPORARY = Path(".dvc/tmp")
RWLOCKS = (TEMPORARY / "rwlock", TEMPORARY / "exps/rwlock")  # JSON: who reads and who writes which path
GUARDS = ("lock", "rwlock.lock", "exp_scm_lock", "exps/rwlock.lock")  # held by flock, or as files (core.hardlink_lock)


class Owner(BaseModel):
    """A process of DVC's."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pid: int
    cmd: str


class Held(BaseModel):
    """Which paths processes write and read."""

    model_config = ConfigDict(extra="forbid", strict=True)

    write: dict[str, Owner] = {}
    read: dict[str, list[Owner]] = {}


def locks() -> Iterator[Finding]:
    """The path locks of DVC, its repository locks, and the lock of git's index."""
    for path in RWLOCKS:
        if path.exists() and (fault := _wrong(path)):
            yield removal(path, f"{path} {fault}")
    for path in (TEMPORARY / name for name in GUARDS):
        if path.is_file() and _is_hardlink_lock(path):
            yield removal(path, f"{path} is the lock of a DVC that has ended")
    index = Path(git("rev-parse", "--git-path", "index.lock").stdout.decode().strip())
    if index.name == "index.lock" and index.exists() and not uses_git(Path.cwd()):
        yield removal(index, f"{index} is the lock of a git that has ended")


def _wrong(path: Path) -> str | None:
    """What is wrong with a path lock, which has no entry while nobody works here."""
    try:
        held = Held.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return "is damaged, and DVC refuses to run"
    owners = [*held.write.values(), *(owner for readers in held.read.values() for owner in readers)]
    return f"names process {min(owner.pid for owner in owners)}, which is no DVC at work here" if owners else None


def _is_hardlink_lock(path: Path) -> bool:
    """Whether the file itself is the lock: it then names its claim, `….lock`; otherwise it holds a process's number."""
    return path.read_bytes().strip().endswith(b".lock")
