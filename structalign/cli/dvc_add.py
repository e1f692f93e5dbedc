"""`dvc add data` for the commands that fill data/: all or nothing, and DVC's own reason where it refuses."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from structalign.data.captions import CaptionRow
from structalign.data.collection import bad_links, why_absent
from structalign.data.tasks import TASKS
from structalign.dvc_files import files_of, held_by
from structalign.errors import UserError
from structalign.extras import require
from structalign.params.reading import PARAMS
from structalign.paths import DATA

DATA_DVC = Path("data.dvc")
ASIDE = Path(".data.before")  # data/, while a command makes another
FILES = (TASKS, PARAMS, DATA_DVC, Path(".gitignore"))


@contextmanager
def all_or_nothing(replaces_data: bool) -> Iterator[None]:
    """Where the block fails, put the project's files back as they were, and data/ if the block is to replace it."""
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
    """Rename what was set aside back to data/, or remove it where there is a newer one: DVC holds it."""
    if DATA.exists():
        shutil.rmtree(ASIDE, ignore_errors=True)
    elif ASIDE.exists():
        ASIDE.rename(DATA)


def refuse_without_dvc() -> None:
    """`UserError` in DVC's words if it doesn't work here, before anything is copied."""
    _bring_back()  # a command may have been killed between its two renames
    run_dvc("status", "--json", str(DATA_DVC)) if DATA_DVC.is_file() else run_dvc("root")


def refuse_changed_data() -> None:
    """`UserError` if data/ holds something that DVC could not bring back."""
    if DATA.exists() and (not DATA_DVC.is_file() or run_dvc("status", "--json", str(DATA_DVC)).strip() != "{}"):
        raise UserError(f"{DATA}/ has changes that DVC doesn't keep: `dvc add data` keeps them, then run again.")


def add_data(rows: Iterable[CaptionRow]) -> None:
    """`dvc add data`; `UserError` if it fails, or DVC then lacks a file that the table names."""
    for problem in bad_links(DATA):
        raise UserError(f"{problem}.")
    run_dvc("add", str(DATA))
    held = next((files_of(held, Path()) for held in held_by(DATA_DVC) if held.path == DATA), {})
    for name in dict.fromkeys(row.video for row in rows):
        if f"videos/{name}" not in held and why_absent(DATA / "videos", name) is None:
            file = DATA / "videos" / name
            raise UserError(
                f"DVC left {file} out, so that no clone would have it: mend .dvcignore, or rename the file."
            )


def run_dvc(*arguments: str) -> str:
    """What a command of DVC's prints; `UserError` with its reason if it fails."""
    require("dvc")
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "it gave no reason").splitlines()
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines[-1:]
        raise UserError(f"`dvc {' '.join(arguments)}` failed: {'; '.join(errors).rstrip('.')}; nothing was changed.")
    return done.stdout
