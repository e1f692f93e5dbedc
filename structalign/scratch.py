"""What an interrupted stage leaves for its next run: .scratch/<stage>-<task>/<digest>, ignored by git and by DVC.

The digest covers the stage's values, its input files and the code that is loaded: what was kept under other
circumstances is never taken up, it is removed.
"""

import hashlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from structalign.store import digest

SCRATCH = Path(".scratch")
CODE = Path(__file__).resolve().parents[1]
WATCHING = ("code_digest", "code_map")
READ_IN_FULL = 2**20  # bytes; a larger file is known by its size and time, as hashing it all would take seconds


@contextmanager
def scratch(stage: str, task: str, values: object, inputs: Sequence[Path] = ()) -> Iterator[Path]:
    """A folder that outlives the process: kept if the block fails or is killed, removed when it succeeds.

    `values` enter by their `repr`, `inputs` (files and folders) by what they hold. A stage and task has one such
    folder; one of other circumstances is removed.
    """
    place = SCRATCH / f"{stage}-{task}"
    mine = place / _digest(values, inputs)
    for other in place.glob("*"):
        if other != mine:
            shutil.rmtree(other)
    mine.mkdir(parents=True, exist_ok=True)
    try:
        yield mine
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from what was done.", file=sys.stderr)
        raise
    shutil.rmtree(place)


def _digest(values: object, inputs: Sequence[Path]) -> str:
    files = [file for path in inputs for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    parts = [repr(values), *(_known(file) for file in files if file.is_file()), *_code()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _known(file: Path) -> str:
    about = file.stat()
    content = digest(file) if about.st_size <= READ_IN_FULL else about.st_mtime_ns
    return f"{file} {about.st_size} {content}"


def _code() -> list[str]:
    """The project's modules that this process has loaded, each by its content; not those that watch over a stage of
    DVC's, which a run by hand does not load."""
    found = {file for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))}
    own = [
        path for path in map(Path, found) if path.is_relative_to(CODE / "structalign") or path.parent == CODE / "stages"
    ]
    return sorted(f"{path.relative_to(CODE)} {digest(path)}" for path in own if path.stem not in WATCHING)
