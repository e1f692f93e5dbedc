"""Send a file, or parts of it, by RFC 9110. Starlette's own response differs from it in some cases."""

import os
import re
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

RANGE = re.compile(r"bytes=[0-9, -]+", re.IGNORECASE)
PART = re.compile(r" *([0-9]{0,18}) *- *([0-9]{0,18}) *")
KEPT = ("cache-control", "etag", "last-modified")  # headers of an answer without its body


def sent(path: Path, kind: str, keep: str = "no-cache") -> "SentFile":
    """The response with a file. Raises `OSError` if the file cannot be read.

    kind: its media type. keep: how long a browser may cache it, as in Cache-Control.
    """
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
    return SentFile(path, media_type=kind, headers={"Cache-Control": f"private, {keep}"}, stat_result=about)


class SentFile(FileResponse):
    """Answers 304 if the browser's copy is current, ignores an invalid Range, and explains one out of range."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked, size = Headers(scope=scope), int(self.headers["content-length"])
        if _has(asked.get("if-none-match", ""), self.headers["etag"]):
            kept = {name: self.headers[name] for name in KEPT}
            await Response(status_code=304, headers=kept)(scope, receive, send)
            return
        begins = _begins(asked.get("range", ""), size)
        within = [part for part, begin in begins.items() if begin < size]
        if begins and not within and "if-range" not in asked:
            raise HTTPException(
                416, f"the file has {size} bytes: ask for a Range of them.", {"Content-Range": f"bytes */{size}"}
            )
        headers = [pair for pair in scope["headers"] if pair[0] != b"range"]
        if within:
            headers.append((b"range", f"bytes={','.join(within)}".encode()))
        await super().__call__({**scope, "headers": headers}, receive, send)


def _has(tags: str, tag: str) -> bool:
    return tag in [one.strip().removeprefix("W/") for one in tags.split(",")] or tags.strip() == "*"


def _begins(asked: str, size: int) -> dict[str, int]:
    """The first byte of each part of a Range. Empty if the whole file is to be sent."""
    begins = dict[str, int]()
    if RANGE.fullmatch(asked):
        for part in filter(None, map(str.strip, asked.partition("=")[2].split(","))):
            found = PART.fullmatch(part)
            if found is None or found[1] + found[2] == "" or (found[1] and found[2] and int(found[1]) > int(found[2])):
                return {}
            begins[part] = int(found[1]) if found[1] else max(size - int(found[2]), 0)
    return begins
