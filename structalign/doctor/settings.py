"""The files that the user edits, checked as in stage `check`, and DVC's own status."""

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from structalign.data.tasks import read_tasks
from structalign.doctor.finding import Finding, removal
from structalign.dvc_command import NO_REASON, run_dvc
from structalign.errors import UserError
from structalign.params.reading import PARAMS
from structalign.params.schema import validate
from structalign.strict_yaml import load_yaml

ROOT = (  # the folder of the databases of all projects, which no command of DVC prints
    "from dvc.config import Config; from dvc.dirs import site_cache_dir; "
    "print(site_cache_dir(Config.from_cwd()['core'].get('site_cache_dir')))"
)


def settings() -> Iterator[Finding]:
    """Faults of params.yaml and tasks.yaml that stage `check` would refuse."""
    for read in (lambda: validate(load_yaml(PARAMS)), read_tasks):
        try:
            read()
        except UserError as error:
            fault, _, remedy = str(error).removesuffix(".").rpartition(": ")
            yield Finding(fault, remedy)


def state() -> Iterator[Finding]:
    """DVC's database of hashes, a few SQLite files outside the project."""
    for path in sorted(_memory().rglob("cache.db")):
        if not _is_sound(path):
            yield removal(path.parent, f"{path}, where DVC remembers hashes, is damaged")


def _memory() -> Path:
    """The folder of this project in DVC's database.

    DVC opens the database before it says where it is. So it is asked with an empty one, which has the same folders.
    """
    root = subprocess.run([sys.executable, "-c", ROOT], capture_output=True, text=True, check=True).stdout.strip()
    with TemporaryDirectory() as empty:
        said = run_dvc("doctor", DVC_SITE_CACHE_DIR=empty)
        place = next(line for line in said.splitlines() if line.startswith("Repo.site_cache_dir: "))
        inside = Path(place.partition(": ")[2]).relative_to(empty)
    return Path(root, inside)


def _is_sound(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return bool(database.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False


def answer() -> Iterator[Finding]:
    """DVC's own error, if it can't read the project."""
    try:
        run_dvc("status", "--quiet", "data.dvc")
    except UserError as error:
        if NO_REASON not in str(error):  # DVC may have found a change, which is no fault
            yield Finding("DVC can't read the project", str(error).removesuffix("."))
