"""Results: half-written files, damaged objects in DVC's cache, and outputs that differ from dvc.lock."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from structalign.console import track
from structalign.data.leftovers import leftovers
from structalign.data.tasks import TASKS, read_tasks
from structalign.doctor.finding import Finding, removal, remove
from structalign.doctor.hashes import file_hash, path_hash
from structalign.doctor.tracked import Stage, outputs, read
from structalign.dvc_command import run_dvc
from structalign.errors import UserError
from structalign.paths import CHECKPOINTS, REPORTS, WORK

WRITTEN = (WORK, CHECKPOINTS, REPORTS, Path("joint"), Path("presets"))


def half_written() -> Iterator[Finding]:
    """The files that `store.whole` leaves if a process is killed: `.NAME.part`."""
    found = [*Path().glob(".*.part"), *(path for folder in WRITTEN for path in folder.rglob(".*.part"))]
    for path in sorted(found):
        if path.exists():  # one inside another was removed with it
            yield removal(path, f"{path} is half written")


def of_former_tasks() -> Iterator[Finding]:
    """Outputs of tasks that tasks.yaml no longer has."""
    try:
        found = leftovers(read_tasks())
    except UserError:  # `settings` reports faults of the tasks
        return
    for path in found:
        yield removal(path, f"{path} belongs to a task that {TASKS} no longer has, but would still be loaded")


def objects() -> Path:
    """The folder of objects in DVC's cache. A path has the first two digits of an MD5, then the rest."""
    return Path(run_dvc("cache", "dir").strip().splitlines()[-1]) / "files/md5"


def object_of(cache: Path, md5: str) -> Path:
    """The path of the object with this hash in the cache."""
    return cache / md5[:2] / md5[2:]


def damaged_objects() -> Iterator[Finding]:
    """Objects in DVC's cache whose content does not match their name. DVC would check them out unnoticed."""
    folder = objects()
    found = [path for path in sorted(folder.glob("??/*")) if re.fullmatch(r"[0-9a-f]{30}(\.dir)?", path.name)]
    for path in track(found, "hashing DVC's cache", len(found)):
        if not _is_whole(path):
            yield removal(_short(path), f"{_short(path)} in DVC's cache is damaged")


def restored_from_damage() -> Iterator[Finding]:
    """Outputs that DVC restored from a damaged object, and then recorded as what the stage made.

    DVC's cache of runs has a folder of records for equal inputs. The oldest record is that of the run itself.
    """
    cache = objects()
    wrong: dict[str, Path] = {}  # hash of a restored output -> the record of it
    for folder in sorted((cache.parent.parent / "runs").glob("??/*")):
        files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime)
        runs = [(file, run) for file in files if isinstance(run := read(file), Stage)]
        made = {out.path: out.md5 for out in runs[0][1].outs if out.md5} if len(runs) > 1 else {}
        lost = {path: md5 for path, md5 in made.items() if not _is_whole(object_of(cache, md5))}
        for file, run in runs[1:]:
            wrong |= {out.md5: file for out in run.outs if out.md5 and lost.get(out.path, out.md5) != out.md5}
    for out in outputs():
        if out.md5 in wrong:
            left = [Path(out.path), object_of(cache, out.md5), wrong[out.md5]]
            remedy = f"`rm -rf {' '.join(str(_short(path)) for path in left)}`, then its stage runs again"
            yield Finding(f"{out.path} was restored from a damaged object of DVC's cache", remedy, partial(_all, left))


def _is_whole(path: Path) -> bool:
    """Whether an object of DVC's cache exists, and its content matches its name."""
    return path.is_file() and file_hash(path) == path.parent.name + path.name.removesuffix(".dir")


def _all(paths: list[Path]) -> None:
    for path in paths:
        remove(path)


def _short(path: Path) -> Path:
    """The relative path, if it is in the current folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def changed_outputs() -> Iterator[Finding]:
    """Outputs that differ from dvc.lock: damaged, edited, or made by a stage that was run by hand."""
    found = [out for out in outputs() if out.md5 and Path(out.path).exists()]
    for out in track(found, "hashing results", len(found)):
        path = Path(out.path)
        if path_hash(path) != out.md5:
            fault = f"{path} differs from dvc.lock: it was damaged, edited, or made without DVC"
            yield removal(path, fault)
