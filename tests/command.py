"""The `structalign` command as a user types it, and a project to type it in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from codemap import ROOT

from structalign.data.tasks import split_categories, write_tasks


def structalign(*arguments: str) -> tuple[int, str]:
    """Run the command. Returns its exit code and all output."""
    code = "from structalign.cli.app import main; main()"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    return done.returncode, done.stdout + done.stderr


def begin_project(folder: Path) -> None:
    """A fresh project in git and DVC, before `dvc pull data`, in a new folder."""
    folder.mkdir()
    for name in ("params.yaml", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "presets", folder / "presets")
    write_tasks(split_categories(["mammals", "birds"], 2), folder / "tasks.yaml")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], cwd=folder, check=True)
