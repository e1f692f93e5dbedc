"""Rows and tensors on disk: JSON, JSON lines and safetensors, written whole or not at all."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from structalign.errors import UserError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` (file or folder, not yet made) that replaces it on success.

    On any error the temporary is removed and `path` is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    _remove(temporary)
    try:
        yield temporary
        _remove(path)
        temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        raise UserError(f"{path} could not be written: {error.strerror or error}.") from error
    except BaseException:
        _remove(temporary)
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """As `whole`, with the temporary folder already made."""
    with whole(path) as temporary:
        temporary.mkdir(parents=True)
        yield temporary


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys and a final newline: equal values are equal bytes; NaN is refused."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with whole(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing one is a `UserError` that says how to bring it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: `dvc repro` makes it, `dvc checkout` restores it.") from None


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_bytes(path: Path) -> int:
    """Bytes of all files below `path`."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
