"""Results: half-written files of ours, damaged objects in DVC's cache, outputs that are not what dvc.lock says."""

import re
from collections.abc import Iterator
from pathlib import Path

from structalign.console import track
from structalign.data.leftovers import leftovers
from structalign.data.tasks import TASKS, read_tasks
from structalign.doctor.finding import Finding, dvc, removal
from structalign.doctor.hashes import file_hash, path_hash
from structalign.doctor.tracked import outputs
from structalign.errors import UserError
from structalign.paths import CHECKPOINTS, REPORTS, WORK

WRITTEN = (WORK, CHECKPOINTS, REPORTS, Path("joint"), Path("presets"))


def half_written() -> Iterator[Finding]:
    """What `store.whole` leaves of a process that was killed: `.NAME.part`."""
    found = [*Path().glob(".*.part"), *(path for folder in WRITTEN for path in folder.rglob(".*.part"))]
    for path in sorted(found):
        if path.exists():  # one in another goes with it
            yield removal(path, f"{path} is half written")


def of_former_tasks() -> Iterator[Finding]:
    """Outputs of tasks that tasks.yaml no longer has."""
    try:
        found = leftovers(read_tasks())
    except UserError:  # `settings` says what is wrong with the tasks
        return
    for path in found:
        yield removal(path, f"{path} is of a task that {TASKS} no longer has, and would still be loaded")


def objects() -> Path:
    """The folder of DVC's cache that holds the objects: the first two digits of an MD5, then the rest."""
    return Path(dvc("cache", "dir").strip().splitlines()[-1]) / "files/md5"


def object_of(cache: Path, md5: str) -> Path:
    """Where the cache holds what a hash names."""
    return cache / md5[:2] / md5[2:]


def damaged_objects() -> Iterator[Finding]:
    """Objects in DVC's cache that are not what their name says: DVC would check them out unseen."""
    folder = objects()
    found = [path for path in sorted(folder.glob("??/*")) if re.fullmatch(r"[0-9a-f]{30}(\.dir)?", path.name)]
    for path in track(found, "hashing DVC's cache", len(found)):
        if file_hash(path) != path.parent.name + path.name.removesuffix(".dir"):
            yield removal(_short(path), f"{_short(path)} in DVC's cache is damaged")


def _short(path: Path) -> Path:
    """A path from here if it is below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def changed_outputs() -> Iterator[Finding]:
    """Outputs that are not what dvc.lock says: damaged, edited, or made by a stage that was run by hand."""
    found = [out for out in outputs() if out.md5 and Path(out.path).exists()]
    for out in track(found, "hashing results", len(found)):
        path = Path(out.path)
        if path_hash(path) != out.md5:
            fault = f"{path} is not what dvc.lock says: damaged, edited, or made without DVC"
            yield removal(path, fault)
