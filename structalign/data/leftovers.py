"""What a run of more tasks left: outputs of tasks that tasks.yaml no longer has, which would still be loaded."""

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
    """The files and folders of tasks that are not among `tasks`; t00 stands before the first."""
    found = [path for folder in OF_TASKS for path in sorted((project / folder).glob("t*"))]
    return [path for path in found if TASK.fullmatch(path.stem) and path.stem not in {"t00", *tasks}]
