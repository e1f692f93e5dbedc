"""The video part of the API: a video's data, its media, and how to play it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse, Response, StreamingResponse

from structalign.library.entries import Entry
from structalign.library.video_index import VideoIndex
from structalign.serve.collection import Collection
from structalign.serve.files import sent
from structalign.serve.media import COPIED, LEAST, Media
from structalign.serve.schema import MADE, NO_ID, UNPLAYED, Time
from structalign.text import visible


def add_videos(app: FastAPI, collection: Collection, media: Media) -> None:
    """Add the routes of a video and its media. They use ids, never places on this machine."""

    def found(id: str) -> tuple[Entry, Path]:
        index = collection.index
        return index.entry(id), index.path_of(id)

    @app.get("/api/videos/{id}", responses=NO_ID, summary="One video, and how to play it from a time on")
    async def video(id: str, at: Time = 0.0) -> dict[str, Any]:
        entry, path = found(id)
        if entry.playing == "direct" or entry.duration > COPIED:
            whole = coming = entry.playing == "direct"
        else:
            whole = media.copy(path, entry.playing) is not None
            coming = whole or media.copyable(path)
            whole = whole or (coming and entry.playing == "remux")  # a remux is quick, so the page waits for it
        return _about(entry, collection.index) | {"play": _play(entry, at, whole), "copied": coming}

    @app.get(
        "/api/videos/{id}/media", responses=MADE | NO_ID | UNPLAYED, summary="The file as a browser plays it, by Range"
    )
    async def whole(id: str, request: Request) -> FileResponse:
        entry, path = found(id)
        if entry.playing == "direct":
            return sent(path, media.type_of(path))
        if entry.duration > COPIED:
            raise HTTPException(
                409, f"the file is longer than {COPIED:.0f} s, so it is not copied: /stretch plays a part."
            )
        return sent(await media.copied(path, entry.playing, request.is_disconnected), "video/mp4")

    @app.get(
        "/api/videos/{id}/stretch",
        responses=MADE | NO_ID,
        summary="Half a minute of a file that a browser does not play, MP4",
    )
    async def stretch(id: str, request: Request, begin: Time = 0.0) -> Response:
        _, path = found(id)
        if request.method == "HEAD":
            return Response(media_type="video/mp4")  # a HEAD request makes nothing
        made = await media.stretch(path, begin, request.is_disconnected)
        return sent(made, "video/mp4") if isinstance(made, Path) else StreamingResponse(made, media_type="video/mp4")

    @app.get("/api/videos/{id}/poster", responses=MADE | NO_ID, summary="A frame, JPEG")
    async def poster(id: str, request: Request, at: Time = 0.0) -> FileResponse:
        _, path = found(id)
        return sent(await media.poster(path, at, request.is_disconnected), "image/jpeg", "max-age=3600")

    @app.get("/api/videos/{id}/preview", responses=MADE | NO_ID, summary="Three silent seconds, MP4")
    async def preview(id: str, request: Request, at: Time = 0.0) -> FileResponse:
        _, path = found(id)
        return sent(await media.preview(path, at, request.is_disconnected), "video/mp4", "max-age=3600")


def _about(entry: Entry, index: VideoIndex) -> dict[str, Any]:
    """A segment and its file."""
    return {
        "id": entry.id,
        "file": visible(index.shown(entry.file)),
        "also": [visible(index.shown(file)) for file in entry.also],
        "start": entry.start,
        "end": entry.end,
        "duration": entry.duration,
        "playing": entry.playing,
        "category": entry.category,
        "task": entry.task,
        "split": entry.split,
    }


def _play(entry: Entry, at: float, whole: bool) -> Mapping[str, Any]:
    """The URL to play, the second of the file at which it starts, and whether it is the whole file."""
    url = f"/api/videos/{entry.id}"
    if whole:
        return {"url": f"{url}/media", "start": 0.0, "whole": True}
    begin = max(0.0, min(at, entry.duration - LEAST))  # a browser plays a stream from its beginning only
    return {"url": f"{url}/stretch?begin={begin:.2f}", "start": round(begin, 2), "whole": False}
