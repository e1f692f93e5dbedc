"""Rows and tensors on disk: JSON, JSON lines and safetensors, written completely or not at all."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from structalign.dvc_files import way_back
from structalign.errors import UserError

SAID = 200  # characters of an error message that are quoted
DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` (file or folder, not yet made) that replaces it on success.

    On any error the temporary is removed and `path` stays unchanged. A full or read-only disk is a `UserError`.
    """
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        yield temporary
        if path.is_dir():
            _remove(path)
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):  # a disk that refuses to write may also refuse to remove
            _remove(temporary)
        if reason := _refusal(error):
            raise UserError(
                f"{path} could not be written ({reason}): make space or correct the permissions, then run again."
            ) from error
        raise


def _refusal(error: BaseException) -> str | None:
    """Why the disk refused to write, or None for any other error. Safetensors wraps the system's error."""
    if isinstance(error, OSError) and error.errno in DISK_REFUSES:
        return error.strerror
    if type(error).__name__ == "SafetensorError":
        return next((os.strerror(code) for code in DISK_REFUSES if f"(os error {code})" in str(error)), None)
    return None


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Like `whole`, with the temporary folder already made."""
    with whole(path) as temporary:
        temporary.mkdir(parents=True)
        yield temporary


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def json_text(value: Any) -> str:
    """JSON with sorted keys and a final newline, so that equal values give equal text. NaN is refused."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write a value as `json_text`."""
    with whole(path) as temporary:
        temporary.write_text(json_text(value), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises a `UserError` with the remedy if it is missing or damaged."""
    with reading(path):
        return json.loads(path.read_text(encoding="utf-8"))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors of reading a file into a `UserError` with the remedy: the file is missing, damaged or malformed."""
    try:
        refuse_pipe(path)
        yield
    except FileNotFoundError:
        raise UserError(
            f"{path} does not exist: make it with `dvc repro`, or restore it with `dvc checkout`."
        ) from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror or error}): replace it by a readable file.") from None
    except KeyError as error:
        raise damaged(path, f"it lacks {error}") from None
    except (ValueError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(path, _fault(error)) from None
    except Exception as error:
        if type(error).__name__ != "SafetensorError":  # compared by name, since not every reader imports safetensors
            raise
        raise damaged(path, str(error)) from None


def refuse_pipe(path: Path) -> None:
    """Raise an `OSError` for a pipe or a device, which would block the reader."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.ESPIPE, "it is a pipe or a device")


def _fault(error: Exception) -> str:
    """What an error says about the file, without the words of Python and pydantic."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, IndexError | TypeError | AttributeError):
        return "it has another structure"
    if type(error).__name__ == "ValidationError":  # pydantic's, which few readers import
        place = ".".join(map(str, error.errors()[0]["loc"]))  # type: ignore[attr-defined]
        return f"it has no valid `{place}`" if place else "it has another structure"
    return str(error)


def read_rows(path: Path, name: str, *fields: str) -> list[dict[str, Any]]:
    """The list called `name` in a JSON file. Each row must have `fields`."""
    with reading(path):
        rows = [{**row} for row in read_json(path)[name]]
        for row in rows:
            for field in fields:
                row[field]
        return rows


def damaged(path: Path, reason: str) -> UserError:
    """The error for a file whose content is not what was written."""
    said = " ".join(reason.split())[:SAID]
    return UserError(f"{path} is damaged ({said or 'its content has changed'}): {way_back(path)}.")


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
