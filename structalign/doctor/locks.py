"""Locks left by a killed DVC or git. No other process works in the project during this check."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from structalign.doctor.finding import Finding, git, removal
from structalign.doctor.processes import uses_git
from structalign.store import refuse_pipe

TEMPORARY = Path(".dvc/tmp")
RWLOCKS = (TEMPORARY / "rwlock", TEMPORARY / "exps/rwlock")  # JSON: which process reads and writes which path
GUARDS = (
    "lock",
    "rwlock.lock",
    "exp_scm_lock",
    "exps/rwlock.lock",
)  # held by flock, or by the file itself (core.hardlink_lock)


class Owner(BaseModel):
    """A DVC process."""

    model_config = ConfigDict(extra="forbid", strict=True)

    pid: int
    cmd: str


class Held(BaseModel):
    """The paths that processes write and read."""

    model_config = ConfigDict(extra="forbid", strict=True)

    write: dict[str, Owner] = {}
    read: dict[str, list[Owner]] = {}


def locks() -> Iterator[Finding]:
    """DVC's path locks and repository locks, and the lock of git's index."""
    for path in RWLOCKS:
        if path.exists() and (fault := _wrong(path)):
            yield removal(path, f"{path} {fault}")
    for path in (TEMPORARY / name for name in GUARDS):
        if path.is_file() and _is_hardlink_lock(path):
            yield removal(path, f"{path} is the lock of a DVC process that has ended")
    index = Path(git("rev-parse", "--git-path", "index.lock").stdout.decode().strip())
    if index.name == "index.lock" and index.exists() and not uses_git(Path.cwd()):
        yield removal(index, f"{index} is the lock of a git process that has ended")


def _wrong(path: Path) -> str | None:
    """The problem of a path lock, which must be empty while no process works in the project."""
    try:
        refuse_pipe(path)
        held = Held.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return "is damaged, so DVC refuses to run"
    owners = [*held.write.values(), *(owner for readers in held.read.values() for owner in readers)]
    return (
        f"names process {min(owner.pid for owner in owners)}, which is not a DVC process in this project"
        if owners
        else None
    )


def _is_hardlink_lock(path: Path) -> bool:
    """Whether the file itself is the lock. It then names its claim, `….lock`. Otherwise it has a process id."""
    return path.read_bytes().strip().endswith(b".lock")
