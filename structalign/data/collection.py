"""The files of a collection: what the captions table names below videos/, as far as it may be read."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from structalign.paths import DATA

MISSING = "the file is missing"
# DVC may link a file to its cache, whose names are digests of what they hold
IN_CACHE = re.compile(r"/files/md5/([0-9a-f]{2})/([0-9a-f]{30})$")


def why_absent(videos: Path, name: str) -> str | None:
    """Why there is no file `name` below `videos` that may be read; None if there is.

    A link is followed inside the collection and to DVC's cache, nowhere else: what it names would be decoded, shown
    and pushed with the rest.
    """
    path = videos / name
    if videos == DATA / "videos" and (linked := _linked_folder(path)):
        return f"{linked} is a linked folder, which DVC leaves out"
    try:
        real, inside = path.resolve(strict=True), videos.resolve()
        if not real.is_relative_to(inside) and not _is_cached(real):
            return "it is a link that leads out of the collection"
        if not real.is_file():
            return "it is no regular file"
    except FileNotFoundError:
        return MISSING
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long, a NUL in it
        return f"it can't be read ({getattr(error, 'strerror', None) or 'a loop of links'})"
    return None if os.access(real, os.R_OK) else "it can't be read (Permission denied)"


def bad_links(folder: Path) -> Iterator[str]:
    """What is wrong with each link below `folder` that DVC would not hold as it is: a folder, or out of `folder`."""
    if linked := _linked_folder(folder / "any"):
        yield f"{linked} is a linked folder, which DVC leaves out: put the folder itself there"
    for place, folders, files in os.walk(folder):
        for name in sorted(folders):
            if Path(place, name).is_symlink():
                yield f"{Path(place, name)} is a linked folder, which DVC leaves out: put the folder itself there"
        for name in sorted(files):
            path = Path(place, name)
            if not path.is_symlink():
                continue
            real = path.resolve()
            if not real.is_relative_to(folder.resolve()) and not _is_cached(real):
                yield f"{path} is a link that leads out of {folder}/, whose target DVC would take: put the file there"


def _linked_folder(path: Path) -> Path | None:
    """The first folder on the way to a relative path that is a link."""
    return next((folder for folder in reversed(path.parents) if folder.is_symlink()), None)


def _is_cached(file: Path) -> bool:
    """Whether DVC's cache holds it: who made a link to it knew the digest, thus what it holds."""
    if not (name := IN_CACHE.search(file.as_posix())) or not file.is_file():
        return False
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == name[1] + name[2]
