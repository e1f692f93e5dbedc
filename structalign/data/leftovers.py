"""Leftovers of a run with more tasks: outputs of tasks that tasks.yaml no longer has, but that would be loaded."""

import re
from collections.abc import Collection
from pathlib import Path

from structalign.paths import (
    CHECKPOINTS,
    COLLECTION,
    FEATURES,
    FRAMES,
    GALLERIES,
    GEOMETRY,
    INDEXES,
    LOGS,
    QUARANTINE,
    REPORTS,
    SCORES,
    THUMBNAILS,
)

OF_TASKS = (
    CHECKPOINTS,
    COLLECTION,
    FEATURES,
    FRAMES,
    GALLERIES,
    GEOMETRY,
    INDEXES,
    LOGS,
    QUARANTINE,
    REPORTS / "eval",
    SCORES,
    THUMBNAILS,
)
TASK = re.compile(r"t\d{2,}")


def leftovers(tasks: Collection[str], project: Path = Path()) -> list[Path]:
    """The files and folders of tasks that are not in `tasks`. t00 is the state before the first task, and stays."""
    found = [path for folder in OF_TASKS for path in sorted((project / folder).glob("t*"))]
    return [path for path in found if TASK.fullmatch(path.stem) and path.stem not in {"t00", *tasks}]
