"""DVC's hashes of files and folders, computed from the bytes. DVC itself trusts times and sizes."""

import hashlib
import json
from functools import cache
from pathlib import Path

from structalign.errors import UserError

IGNORED = ("__pycache__", ".venv", ".scratch", ".costs")  # .dvcignore


def file_hash(path: Path) -> str:
    """A file's MD5, in hexadecimal."""
    about = path.stat()
    return _read(about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size, path)


@cache  # an output may be a hard link to its object in the cache
def _read(_device: int, _number: int, _time: int, _size: int, path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "md5").hexdigest()
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): check its permissions and the disk.") from None


def folder_files(folder: Path) -> dict[str, str]:
    """The MD5 of each file in a folder that DVC would store, by relative path."""
    found = sorted(
        (path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file() and _taken(path)
    )
    return {name: file_hash(path) for name, path in found}


def _taken(path: Path) -> bool:
    return not (path.name.startswith(".") and path.name.endswith(".part")) and not set(IGNORED) & set(path.parts)


def folder_hash(files: dict[str, str]) -> str:
    """DVC's hash of a folder, which is the hash of its list of files."""
    rows = [{"md5": files[name], "relpath": name} for name in sorted(files)]
    return hashlib.md5(json.dumps(rows, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def path_hash(path: Path) -> str:
    """DVC's hash of a file or folder."""
    return folder_hash(folder_files(path)) if path.is_dir() else file_hash(path)
