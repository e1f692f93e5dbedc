"""The files of a collection: what the captions table names below videos/, as far as it may be read."""

import os
import re
from pathlib import Path

MISSING = "the file is missing"
# DVC may link a file to its cache, whose names are digests of what they hold
IN_CACHE = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")


def why_absent(videos: Path, name: str) -> str | None:
    """Why there is no file `name` below `videos` that may be read; None if there is.

    A link is followed inside the collection and to DVC's cache, nowhere else: what it names would be decoded, shown
    and pushed with the rest.
    """
    path = videos / name
    try:
        real, inside = path.resolve(strict=True), videos.resolve()
        if not (real.is_relative_to(inside) or IN_CACHE.search(real.as_posix())):
            return "it is a link that leads out of the collection"
        if not real.is_file():
            return "it is no regular file"
    except FileNotFoundError:
        return MISSING
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long, a NUL in it
        return f"it can't be read ({getattr(error, 'strerror', None) or 'a loop of links'})"
    return None if os.access(real, os.R_OK) else "it can't be read (Permission denied)"
