"""Build commands for setuptools: the wheel has the files of a new project, the sdist all files that git tracks.

setuptools loads only this file, before anything is installed.
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
    """Add project.zip to the package. An editable installation reads the clone instead."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            TEMPLATES["pack"](Path.cwd(), Path(self.build_lib) / "structalign/project.zip")


class PackSources(sdist):  # type: ignore[misc]
    """Include all files that git tracks, with tests, stages and the sample. Without git, include all files."""

    def make_distribution(self) -> None:
        listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, check=False)
        files = listed.stdout.split("\0") if listed.returncode == 0 else _all_files()
        self.filelist.files = sorted({*self.filelist.files, *filter(os.path.isfile, files)})
        super().make_distribution()


def _all_files() -> list[str]:
    return [os.path.relpath(Path(place, file)) for place, _, files in os.walk(".") for file in files]
