"""The HTTP API and the page: read-only, ids instead of paths, errors that say what to do."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from structalign.data.pretrained import unknown_words
from structalign.data.video import BrokenVideo
from structalign.errors import UserError
from structalign.library.hits import Hit
from structalign.library.ranking import Entry
from structalign.library.video_index import UnknownId, VideoIndex
from structalign.paths import BACKBONE, REPORTS, SEARCH_PAGE
from structalign.serve.collection import Busy, Collection, NotReady, now
from structalign.serve.facets import facets
from structalign.serve.files import sent
from structalign.serve.media import BEFORE, COPIED, STRETCH, Media
from structalign.serve.security import HEADERS, Guard
from structalign.text import shortened, visible

PAGE = Path(__file__).parent / "page"
LOOK = Path(__file__).parents[1] / "look.css"  # of this page and of the report
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
REPORT = REPORTS / "index.html"
QUERY, LIMIT, OFFSET = 300, 100, 10_000  # characters of a query; hits of an answer, and before it, at most
AGAIN = {"Retry-After": "1"}  # seconds
Time = Annotated[float, Query(ge=0, le=1e9, allow_inf_nan=False, description="Seconds of the file.")]


class Error(BaseModel):
    """What is wrong and what to do."""

    error: str


Responses = dict[int | str, dict[str, Any]]


def _errors(**texts: str) -> Responses:
    """For the API's description, by status as `s404`."""
    return {int(name.removeprefix("s")): {"model": Error, "description": text} for name, text in texts.items()}


EVERY = _errors(
    s401="The token is missing or wrong, where the server has one.",
    s403="A page of another site asked.",
    s413="The body is too long.",
    s421="The request was made to a name that is not the server's.",
    s422="The request is not as described, or the video cannot be shown.",
    s503="The index is being opened: try again after `Retry-After` seconds.",
)
BUSY = _errors(s429="Too much is waiting: try again after `Retry-After` seconds.")
UNPLAYED = _errors(s409="It is too long to be copied.", s416="The Range lies behind the end.")
NO_ID = _errors(s404="There is no such id, or its file is not there any more.")


class Search(BaseModel):
    """A query and its filters."""

    model_config = ConfigDict(extra="forbid")  # a filter with a slip in its name must not be none
    query: str = Field(min_length=1, max_length=QUERY, description="What the video shows, in words.")
    limit: int = Field(24, ge=1, le=LIMIT)
    offset: int = Field(0, ge=0, le=OFFSET)
    category: str | None = Field(None, max_length=QUERY)
    task: str | None = Field(None, max_length=QUERY)
    folder: str | None = Field(None, max_length=4096, description="One of the folders that /api/index lists.")


class Explain(BaseModel):
    """A query and the segment that it is compared with."""

    model_config = ConfigDict(extra="forbid")
    query: str = Field(min_length=1, max_length=QUERY)
    id: str = Field(max_length=100)


def make_app(
    collection: Collection, media: Media, host: str, names: Sequence[str] = (), token: str | None = None
) -> FastAPI:
    """The application. host: the address that is listened on; names, token: as of `Guard`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        collection.start()
        yield
        media.stop()
        collection.stop()

    app = FastAPI(title="structalign", docs_url=None, redoc_url=None, lifespan=lifespan, responses=EVERY)
    app.add_middleware(Guard, host=host, names=names, token=token)
    _say_errors(app)
    _add_api(app, collection)
    _add_videos(app, collection, media)
    _add_pages(app, collection)
    _answer_head(app)
    return app


def _answer_head(app: FastAPI) -> None:
    """HEAD wherever GET is answered. The API is described before: it lists GET alone."""
    app.openapi()
    for route in app.routes:
        if isinstance(route, APIRoute) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")


def _say_errors(app: FastAPI) -> None:
    """Every error is `{"error": "what is wrong and what to do"}`."""

    @app.exception_handler(StarletteHTTPException)
    async def http(request: Request, found: StarletteHTTPException) -> JSONResponse:
        texts = {404: "there is no such page: /docs lists the API.", 405: "only what /docs lists is answered."}
        default = found.detail in ("Not Found", "Method Not Allowed")
        text = texts.get(found.status_code, found.detail) if default else found.detail
        return JSONResponse({"error": text}, found.status_code, found.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, found: RequestValidationError) -> JSONResponse:
        first = found.errors()[0]
        if first["type"] == "json_invalid":
            return JSONResponse({"error": "the body is not JSON. /docs says what is expected."}, 422)
        place = shortened(visible(".".join(str(part) for part in first["loc"][1:]))) or "the body"
        return JSONResponse({"error": f"{place}: {first['msg']}. /docs says what is expected."}, 422)

    @app.exception_handler(UnknownId)
    async def unknown(request: Request, found: UnknownId) -> JSONResponse:
        return JSONResponse({"error": visible(str(found))}, 404)

    @app.exception_handler(FileNotFoundError)
    @app.exception_handler(NotADirectoryError)
    async def gone(request: Request, found: OSError) -> JSONResponse:
        return JSONResponse({"error": "the file is not there any more: index again, or search again."}, 404)

    @app.exception_handler(UserError)
    async def wrong(request: Request, found: UserError) -> JSONResponse:
        return JSONResponse({"error": visible(str(found))}, 422)

    @app.exception_handler(BrokenVideo)
    async def broken(request: Request, found: BrokenVideo) -> JSONResponse:
        return JSONResponse({"error": visible(f"the video cannot be shown: {found}.")}, 422)

    @app.exception_handler(Busy)
    async def busy(request: Request, found: Busy) -> JSONResponse:
        return JSONResponse({"error": "too much is waiting: try again in a second."}, 429, AGAIN)

    @app.exception_handler(NotReady)
    async def loading(request: Request, found: NotReady) -> JSONResponse:
        return JSONResponse({"error": "the index is being opened: try again in a second."}, 503, AGAIN)

    @app.exception_handler(Exception)
    async def fault(request: Request, found: Exception) -> JSONResponse:
        return JSONResponse({"error": "the server failed: its log says how."}, 500, HEADERS)  # beyond Guard


def _add_api(app: FastAPI, collection: Collection) -> None:
    @app.get("/api/health", summary="Whether searches are answered; 503 until then")
    async def health() -> JSONResponse:
        if not collection.ready:
            return JSONResponse({"status": "opening", "error": "the index is being opened."}, 503, AGAIN)
        index = collection.index
        state = {"status": "ready", "generation": index.generation, "videos": index.files, "segments": len(index)}
        return JSONResponse(state | ({"changing": visible(collection.changing)} if collection.changing else {}))

    @app.get("/api/index", summary="What there is to search: counts, filters, and what is being indexed")
    async def about() -> dict[str, Any]:
        index = collection.index
        progress = index.progress()
        return {
            "videos": index.files,
            "segments": len(index),
            "generation": index.generation,
            "note": index.note and visible(index.note),
            "indexing": progress and asdict(progress),
            "generation_key": collection.opened,
            "report": (index.path / REPORT).is_file(),
            **facets(index).shown(),
        }

    @app.post("/api/search", responses=BUSY, summary="The videos that fit a sentence, the best first")
    async def search(asked: Search) -> JSONResponse:
        begin = now()

        def call(index: VideoIndex) -> dict[str, Any]:
            since = now()
            folder = facets(index).folder(asked.folder)
            hits = index.search(asked.query, asked.limit, asked.category, asked.task, folder, asked.offset)
            ranked = round(1000 * (now() - since), 1)
            found = {"generation": index.generation, "hits": _shown(hits, index), "took_ms": {"rank": ranked}}
            if unknown := unknown_words(index.path / BACKBONE, asked.query):
                found["note"] = (
                    f"the sample's tiny CLIP does not know {visible(', '.join(unknown))}: it ranks by the other words"
                )
            return found

        found = await collection.ask(call, " ".join(asked.query.split()))
        found["took_ms"]["all"] = round(1000 * (now() - begin), 1)
        found["end"] = len(found["hits"]) < asked.limit
        return JSONResponse(found)  # plain values already: FastAPI need not look through them

    @app.post("/api/explain", responses=BUSY | NO_ID, summary="Which word met which frame of a segment")
    async def explain(asked: Explain) -> dict[str, Any]:
        if not asked.query.strip():
            raise UserError("the sentence is empty: say in words what the video shows.")

        def call(index: VideoIndex) -> dict[str, Any]:
            times, words = index.word_frames(asked.query, asked.id)
            return {"times": times, "words": [{"word": visible(word), "cosines": found} for word, found in words]}

        return await collection.ask(call, " ".join(asked.query.split()))

    @app.get("/api/similar/{id}", responses=BUSY | NO_ID, summary="Videos that look like one")
    async def similar(
        id: str,
        limit: Annotated[int, Query(ge=1, le=LIMIT)] = 24,
        offset: Annotated[int, Query(ge=0, le=OFFSET)] = 0,
    ) -> dict[str, Any]:
        def call(index: VideoIndex) -> dict[str, Any]:
            hits = _shown(index.similar(id, limit, offset=offset), index)
            return {"generation": index.generation, "hits": hits, "end": len(hits) < limit}

        return await collection.ask(call)


def _about(entry: Entry, index: VideoIndex) -> dict[str, Any]:
    """A segment, and the file that it is of."""
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


def _play(entry: Entry, at: float, copied: bool) -> Mapping[str, Any]:
    """Where its pictures come from, when the first of them appears in the file, seconds, and whether that is all.

    copied: whether a browser's copy of it is there. A remux is quick, so it is waited for.
    """
    url = f"/api/videos/{entry.id}"
    if entry.playing == "direct" or copied or (entry.playing == "remux" and entry.duration <= COPIED):
        return {"url": f"{url}/media", "start": 0.0, "whole": True}
    begin = max(0.0, min(at - BEFORE, entry.duration - STRETCH))
    return {"url": f"{url}/stretch?begin={begin:.2f}", "start": round(begin, 2), "whole": False}


def _shown(hits: Sequence[Hit], index: VideoIndex) -> list[dict[str, Any]]:
    """Hits as the API gives them: names without places on this machine."""
    return [
        asdict(hit)
        | {"start": hit.start, "end": hit.end, "at": hit.moments[0].at, "file": visible(index.shown(hit.file))}
        | {"also": [visible(index.shown(file)) for file in hit.also]}
        for hit in hits
    ]


def _add_videos(app: FastAPI, collection: Collection, media: Media) -> None:
    """A video, and its media: never by its place on this machine."""

    def found(id: str) -> tuple[Entry, Path]:
        index = collection.index
        return index.entry(id), index.path_of(id)

    @app.get("/api/videos/{id}", responses=NO_ID, summary="One video, and how it is played from a time on")
    async def video(id: str, at: Time = 0.0) -> dict[str, Any]:
        entry, path = found(id)
        direct, copy = entry.playing == "direct", None
        if not direct and entry.duration <= COPIED:
            copy = media.copy(path, entry.playing)
        will_be = entry.duration <= COPIED
        return _about(entry, collection.index) | {"play": _play(entry, at, copy is not None), "copied": will_be}

    @app.get(
        "/api/videos/{id}/media", responses=BUSY | NO_ID | UNPLAYED, summary="The file as a browser plays it, by Range"
    )
    async def whole(id: str, request: Request) -> FileResponse:
        entry, path = found(id)
        if entry.playing == "direct":
            return sent(path, media.type_of(path))
        if entry.duration > COPIED:
            raise HTTPException(409, f"it is longer than {COPIED:.0f} s, so no copy is made: /stretch plays a part.")
        return sent(await media.copied(path, entry.playing, request.is_disconnected), "video/mp4")

    @app.get(
        "/api/videos/{id}/stretch",
        responses=BUSY | NO_ID,
        summary="Half a minute of a file that a browser does not play, MP4",
    )
    async def stretch(id: str, request: Request, begin: Time = 0.0) -> Response:
        _, path = found(id)
        if request.method == "HEAD":
            return Response(media_type="video/mp4")  # nothing is made for who will not see it
        made = await media.stretch(path, begin, request.is_disconnected)
        return sent(made, "video/mp4") if isinstance(made, Path) else StreamingResponse(made, media_type="video/mp4")

    @app.get("/api/videos/{id}/poster", responses=BUSY | NO_ID, summary="A frame, JPEG")
    async def poster(id: str, request: Request, at: Time = 0.0) -> FileResponse:
        _, path = found(id)
        return sent(await media.poster(path, at, request.is_disconnected), "image/jpeg", "max-age=3600")

    @app.get("/api/videos/{id}/preview", responses=BUSY | NO_ID, summary="Three silent seconds, MP4")
    async def preview(id: str, request: Request, at: Time = 0.0) -> FileResponse:
        _, path = found(id)
        return sent(await media.preview(path, at, request.is_disconnected), "video/mp4", "max-age=3600")


def _add_pages(app: FastAPI, collection: Collection) -> None:
    def static(name: str) -> FileResponse:
        return sent(PAGE / name, TYPES[Path(name).suffix])

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return static("index.html")

    @app.get("/login", include_in_schema=False)
    async def login(request: Request) -> HTMLResponse:
        text = (PAGE / "login.html").read_text(encoding="utf-8")
        return HTMLResponse(text.replace(" hidden", "") if "wrong" in request.query_params else text)

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> FileResponse:
        if name == LOOK.name:
            return sent(LOOK, "text/css")
        if name not in {file.name for file in PAGE.iterdir()}:
            raise HTTPException(404)
        return static(name)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return static("docs.html")

    @app.get("/report", include_in_schema=False, response_model=None)
    async def report() -> HTMLResponse | JSONResponse:
        try:
            text = (collection.index.path / REPORT).read_text(encoding="utf-8")
        except (OSError, ValueError):  # `dvc repro` removes it before it writes a new one
            return JSONResponse({"error": "there is no report here: `dvc repro` writes a project's."}, 404)
        policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'; base-uri 'none'"
        return HTMLResponse(
            text.replace(f'href="{SEARCH_PAGE}"', 'href="/"'), headers={"Content-Security-Policy": policy}
        )
