"""data/: check that the files of data.dvc exist here and in DVC's cache."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from structalign.data.captions import read_table
from structalign.doctor.finding import Finding
from structalign.doctor.hashes import folder_files, folder_hash
from structalign.doctor.results import object_of, objects
from structalign.doctor.tracked import DATA_FILE, tracked_data
from structalign.dvc_command import run_dvc
from structalign.errors import UserError
from structalign.paths import DATA
from structalign.text import plural


def data() -> Iterator[Finding]:
    """Faults of data/: missing files, differences from data.dvc, and files without a copy in DVC's cache."""
    wanted = tracked_data()
    if wanted is None:
        if not DATA_FILE.exists() and DATA.is_dir():
            yield Finding(f"{DATA}/ is not tracked: there is no {DATA_FILE}", "`dvc add data`", _add)
        return
    if not DATA.is_dir():
        yield Finding(f"{DATA}/ is missing", "`dvc pull data`", _pull)
        return
    here, cache = folder_files(DATA), objects()
    if folder_hash(here) == wanted:
        absent = [md5 for md5 in (wanted, *here.values()) if not object_of(cache, md5).exists()]
        if absent:
            fault = f"DVC's cache lacks {plural(len(absent), 'file')} of {DATA}/"
            yield Finding(fault, f"`dvc commit --force {DATA_FILE}`", _commit)
        return
    listing = object_of(cache, wanted)
    if not listing.exists():
        fault = f"DVC's cache lacks the list of {DATA}/, which differs from {DATA_FILE}"
        yield Finding(fault, "`dvc fetch data`", partial(_fetch, listing))
    if listing.exists():  # the previous remedy may have fetched it
        recorded = {row["relpath"]: row["md5"] for row in json.loads(listing.read_bytes())}
        yield from _differences(here, recorded, cache)


def _differences(here: dict[str, str], recorded: dict[str, str], cache: Path) -> Iterator[Finding]:
    lost = {name: md5 for name, md5 in recorded.items() if name not in here and name in _named(recorded)}
    if lost:
        more = f" and {plural(len(lost) - 1, 'more file')}" * (len(lost) > 1)
        fault = f"{DATA / min(lost)}{more} of {DATA_FILE} is missing"
        yield Finding(fault, "restore it from DVC's cache or its remote", partial(_bring, lost, cache))
    for name in sorted(set(here) & set(recorded)):
        if here[name] != recorded[name]:
            path = DATA / name
            keep, drop = (
                f"keep it with `touch {path} && dvc add data`",
                f"drop it with `rm {path} && dvc checkout data`",
            )
            yield Finding(f"{path} differs from {DATA_FILE}: it was edited or damaged", f"{keep}, or {drop}")


def _named(recorded: dict[str, str]) -> set[str]:
    """The files that a run needs: the table, its videos, and a CLIP in data/. Other videos may be removed."""
    needed = {name for name in recorded if name == "captions.csv" or name.startswith("clip/")}
    try:
        rows = read_table(DATA)[0]
    except UserError:  # for example, the table itself is missing
        return set(recorded)
    return needed | {f"videos/{row.video}" for row in rows}


def _bring(lost: dict[str, str], cache: Path) -> None:
    if not all(object_of(cache, md5).exists() for md5 in lost.values()):
        run_dvc("fetch", "--quiet", DATA_FILE.as_posix())
    for name, md5 in lost.items():
        target = DATA / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(object_of(cache, md5), target)


def _add() -> None:
    run_dvc("add", "--quiet", DATA.as_posix())


def _pull() -> None:
    """Restore from the cache if possible, since a project may have no remote."""
    try:
        run_dvc("checkout", "--quiet", DATA_FILE.as_posix())
    except UserError:
        run_dvc("pull", "--quiet", DATA_FILE.as_posix())


def _fetch(listing: Path) -> None:
    run_dvc("fetch", "--quiet", DATA_FILE.as_posix())
    if not listing.exists():  # DVC reports no error for this
        raise UserError(
            f"no remote has it: put the videos into {DATA}/ again where they differ, and run `dvc add {DATA}`."
        )


def _commit() -> None:
    run_dvc("commit", "--quiet", "--force", DATA_FILE.as_posix())
