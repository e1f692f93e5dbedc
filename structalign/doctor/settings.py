"""The files that the user edits, checked as in stage `check`, and DVC's own status."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from structalign.data.tasks import read_tasks
from structalign.doctor.finding import Finding, dvc, removal
from structalign.errors import UserError
from structalign.params.reading import PARAMS
from structalign.params.schema import validate
from structalign.strict_yaml import load_yaml


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
    place = next(line for line in dvc("doctor").splitlines() if line.startswith("Repo.site_cache_dir: "))
    for path in sorted(Path(place.partition(": ")[2]).rglob("cache.db")):
        if not _is_sound(path):
            yield removal(path.parent, f"{path}, where DVC remembers hashes, is damaged")


def _is_sound(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            return bool(database.execute("PRAGMA quick_check").fetchone() == ("ok",))
    except sqlite3.DatabaseError:
        return False


def answer() -> Iterator[Finding]:
    """DVC's own error, if it can't read the project."""
    try:
        dvc("status", "--quiet", "data.dvc")
    except UserError as error:
        if "no reason given" not in str(error):  # DVC may have found a change, which is no fault
            yield Finding("DVC can't read the project", str(error).removesuffix("."))
