"""The progress of an interrupted stage, to resume it: .scratch/<stage>-<task>/<digest>, ignored by git and DVC.

The digest covers the stage's values, input files and code (from `check`). Progress with another digest is removed and
never used.
"""

import hashlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from structalign.code_seen import digest_now
from structalign.store import digest

SCRATCH = Path(".scratch")
READ_IN_FULL = 2**20  # bytes; larger files are identified by size and time, since hashing them would take seconds


@contextmanager
def scratch(
    stage: str,
    task: str,
    values: object,
    inputs: Sequence[Path] = (),
    named: Mapping[str, Any] = MappingProxyType({}),
) -> Iterator[Path]:
    """A folder that is kept if the block fails or is killed, and removed when it succeeds.

    Its digest covers the `repr` of `values` and the content of `inputs` (files and folders). `named`: the keys of
    params.yaml by which the stage loads code, as a tree. A stage and task has one folder. One with another digest is
    removed.
    """
    place = SCRATCH / f"{stage}-{task}"
    mine = place / _digest(stage, values, inputs, named)
    for other in place.glob("*"):
        if other != mine:
            shutil.rmtree(other)
    mine.mkdir(parents=True, exist_ok=True)
    try:
        yield mine
    except KeyboardInterrupt:
        print("interrupted: run the same command again to resume.", file=sys.stderr)
        raise
    shutil.rmtree(place)


def _digest(stage: str, values: object, inputs: Sequence[Path], named: Mapping[str, Any]) -> str:
    files = [file for path in inputs for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    parts = [repr(values), *(_known(file) for file in files if file.is_file())]
    parts.append(digest_now(stage, named))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _known(file: Path) -> str:
    about = file.stat()
    content = digest(file) if about.st_size <= READ_IN_FULL else about.st_mtime_ns
    return f"{file} {about.st_size} {content}"
