"""How setuptools builds: the wheel with the files of a new project, the source distribution with all that git tracks.

setuptools loads this file alone, before anything is installed.
"""

import os
import runpy
import subprocess
from pathlib import Path
from typing import Any

from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

TEMPLATES: dict[str, Any] = runpy.run_path(str(Path(__file__).with_name("templates.py")))


class PackProject(build_py):  # type: ignore[misc]
    """Adds project.zip to the package; an editable installation reads the clone itself."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            TEMPLATES["pack"](Path.cwd(), Path(self.build_lib) / "structalign/project.zip")


class PackSources(sdist):  # type: ignore[misc]
    """Takes what git tracks: tests, stages and the sample, too; without git, everything that is there."""

    def make_distribution(self) -> None:
        listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=False)
        files = listed.stdout.split("\0") if listed.returncode == 0 else _all_files()
        self.filelist.files = sorted({*self.filelist.files, *filter(os.path.isfile, files)})
        super().make_distribution()


def _all_files() -> list[str]:
    return [os.path.relpath(Path(place, file)) for place, _, files in os.walk(".") for file in files]
