"""data/: what data.dvc names is there, and DVC's cache holds it."""

import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from structalign.data.captions import read_table
from structalign.doctor.finding import Finding, dvc
from structalign.doctor.hashes import folder_files, folder_hash
from structalign.doctor.results import object_of, objects
from structalign.doctor.tracked import DATA_FILE, tracked_data
from structalign.errors import UserError
from structalign.paths import DATA
from structalign.text import plural


def data() -> Iterator[Finding]:
    """data/ that is missing, lacks files that its table names, differs from data.dvc, or is kept nowhere else."""
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
    if listing.exists():  # it may have been fetched by now
        recorded = {row["relpath"]: row["md5"] for row in json.loads(listing.read_bytes())}
        yield from _differences(here, recorded, cache)


def _differences(here: dict[str, str], recorded: dict[str, str], cache: Path) -> Iterator[Finding]:
    lost = {name: md5 for name, md5 in recorded.items() if name not in here and name in _named(recorded)}
    if lost:
        more = f" and {plural(len(lost) - 1, 'more file')}" * (len(lost) > 1)
        fault = f"{DATA / min(lost)}{more} of {DATA_FILE} is missing"
        yield Finding(fault, "bring it back from DVC's cache or its remote", partial(_bring, lost, cache))
    for name in sorted(set(here) & set(recorded)):
        if here[name] != recorded[name]:
            path = DATA / name
            keep, drop = f"`touch {path} && dvc add data` keeps it", f"`rm {path} && dvc checkout data` drops it"
            yield Finding(f"{path} is not the file that {DATA_FILE} names, edited or damaged", f"{keep}, {drop}")


def _named(recorded: dict[str, str]) -> set[str]:
    """What a run needs: the table, what it names, and a CLIP in data/. A video outside the table may be taken away."""
    needed = {name for name in recorded if name == "captions.csv" or name.startswith("clip/")}
    try:
        rows = read_table(DATA)[0]
    except UserError:  # it is missing itself, say
        return set(recorded)
    return needed | {f"videos/{row.video}" for row in rows}


def _bring(lost: dict[str, str], cache: Path) -> None:
    if not all(object_of(cache, md5).exists() for md5 in lost.values()):
        dvc("fetch", "--quiet", DATA_FILE.as_posix())
    for name, md5 in lost.items():
        target = DATA / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(object_of(cache, md5), target)


def _add() -> None:
    dvc("add", "--quiet", DATA.as_posix())


def _pull() -> None:
    """From the cache where it is there: a project may have no remote."""
    try:
        dvc("checkout", "--quiet", DATA_FILE.as_posix())
    except UserError:
        dvc("pull", "--quiet", DATA_FILE.as_posix())


def _fetch(listing: Path) -> None:
    dvc("fetch", "--quiet", DATA_FILE.as_posix())
    if not listing.exists():  # DVC does not mind
        raise UserError(
            f"no remote has it: put the videos into {DATA}/ again, where they differ, and `dvc add {DATA}`."
        )


def _commit() -> None:
    dvc("commit", "--quiet", "--force", DATA_FILE.as_posix())
