"""`dvc add data` for the commands that fill data/: all or nothing, and DVC's reason if it refuses."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from structalign.data.captions import CaptionRow
from structalign.data.collection import bad_links, why_absent
from structalign.data.tasks import TASKS
from structalign.dvc_command import run_dvc
from structalign.dvc_files import files_of, held_by
from structalign.errors import UserError
from structalign.params.reading import PARAMS
from structalign.paths import DATA

DATA_DVC = Path("data.dvc")
ASIDE = Path(".data.before")  # the old data/, while a command makes the new one
FILES = (TASKS, PARAMS, DATA_DVC, Path(".gitignore"))


@contextmanager
def all_or_nothing(replaces_data: bool) -> Iterator[None]:
    """If the block fails, restore the project's files. Restore data/ too, if the block replaces it."""
    before = {file: file.read_bytes() if file.is_file() else None for file in FILES}
    if replaces_data and DATA.exists():
        DATA.rename(ASIDE)
    try:
        yield
    except BaseException:
        for file, content in before.items():
            if content is None:
                file.unlink(missing_ok=True)
            elif not file.is_file() or file.read_bytes() != content:
                file.write_bytes(content)
        if replaces_data:
            shutil.rmtree(DATA, ignore_errors=True)
            _bring_back()
        raise
    shutil.rmtree(ASIDE, ignore_errors=True)


def _bring_back() -> None:
    """Rename the old data/ back. If there is a newer data/, remove the old one, which DVC's cache holds."""
    if DATA.exists():
        shutil.rmtree(ASIDE, ignore_errors=True)
    elif ASIDE.exists():
        ASIDE.rename(DATA)


def refuse_without_dvc() -> None:
    """Raise a `UserError` with DVC's reason if DVC doesn't work here, before anything is copied."""
    _bring_back()  # an earlier command may have been killed between its two renames
    run_dvc("status", "--json", str(DATA_DVC)) if DATA_DVC.is_file() else run_dvc("root")


def refuse_changed_data() -> None:
    """Raise a `UserError` if data/ has content that DVC cannot restore."""
    if DATA.exists() and (not DATA_DVC.is_file() or run_dvc("status", "--json", str(DATA_DVC)).strip() != "{}"):
        raise UserError(f"{DATA}/ has changes that DVC has not stored: run `dvc add data`, then run this again.")


def add_data(rows: Iterable[CaptionRow]) -> None:
    """Run `dvc add data`. Raise a `UserError` if it fails, or if it skips a file of the captions table."""
    for problem in bad_links(DATA):
        raise UserError(f"{problem}.")
    run_dvc("add", str(DATA))
    held = next((files_of(held, Path()) for held in held_by(DATA_DVC) if held.path == DATA), {})
    for name in dict.fromkeys(row.video for row in rows):
        if f"videos/{name}" not in held and why_absent(DATA / "videos", name) is None:
            file = DATA / "videos" / name
            raise UserError(f"DVC ignores {file}, so no clone would have it: change .dvcignore, or rename the file.")
