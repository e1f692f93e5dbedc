"""The files of a collection: those in videos/ that the captions table names and that may be read."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from structalign.paths import DATA

MISSING = "the file is missing"
# DVC may replace a file by a link to its cache, where a file is named by the digest of its content
IN_CACHE = re.compile(r"/files/md5/([0-9a-f]{2})/([0-9a-f]{30})$")


def why_absent(videos: Path, name: str) -> str | None:
    """Why the file `name` in `videos` can't be used, or None if it can.

    Links are followed only inside the collection and to DVC's cache. Any other target would be decoded, shown and
    pushed.
    """
    path = videos / name
    if videos == DATA / "videos" and (linked := _linked_folder(path)):
        return f"{linked} is a link to a folder, which DVC ignores"
    try:
        real, inside = path.resolve(strict=True), videos.resolve()
        if not real.is_relative_to(inside) and not _is_cached(real):
            return "it is a link to a place outside the collection"
        if not real.is_file():
            return "it is not a regular file"
    except FileNotFoundError:
        return MISSING
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, or a name that is too long or has a NUL
        return f"it can't be read ({getattr(error, 'strerror', None) or 'a loop of links'})"
    return None if os.access(real, os.R_OK) else "it can't be read (Permission denied)"


def bad_links(folder: Path) -> Iterator[str]:
    """A message for each link in `folder` that DVC can't store: one to a folder, or to a place outside `folder`."""
    if linked := _linked_folder(folder / "any"):
        yield f"{linked} is a link to a folder, which DVC ignores: replace it by the folder itself"
    for place, folders, files in os.walk(folder):
        for name in sorted(folders):
            if Path(place, name).is_symlink():
                yield f"{Path(place, name)} is a link to a folder, which DVC ignores: replace it by the folder itself"
        for name in sorted(files):
            path = Path(place, name)
            if not path.is_symlink():
                continue
            real = path.resolve()
            if not real.is_relative_to(folder.resolve()) and not _is_cached(real):
                yield f"{path} is a link to a place outside {folder}/: replace it by the file itself"


def _linked_folder(path: Path) -> Path | None:
    """The first folder of a relative path that is a link, or None."""
    return next((folder for folder in reversed(path.parents) if folder.is_symlink()), None)


def _is_cached(file: Path) -> bool:
    """Whether the file is in DVC's cache. A link there is safe, since its name is the digest of the content."""
    if not (name := IN_CACHE.search(file.as_posix())) or not file.is_file():
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == name[1] + name[2]
