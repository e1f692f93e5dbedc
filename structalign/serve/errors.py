"""Every error is `{"error": "what is wrong and what to do"}`."""

import difflib
from collections.abc import Collection
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from structalign.data.video import BrokenVideo
from structalign.errors import UserError
from structalign.library.video_index import UnknownId
from structalign.serve.collection import Busy, NotReady
from structalign.serve.making import NoRoom
from structalign.serve.security import HEADERS
from structalign.text import shortened, visible

AGAIN = {"Retry-After": "1"}  # seconds


def refuse_unknown_keys(request: Request) -> None:
    """Answer 422 if an API request has an unknown key in its address. A misspelt `offset` must not be ignored."""
    if request.url.path.startswith("/api/"):
        known = [one["name"] for one in _described(request).get("parameters", []) if one["in"] == "query"]
        for key in request.query_params:
            if key not in known:
                raise HTTPException(422, _unknown(key, known))


def _unknown(key: str, known: Collection[str]) -> str:
    shown = shortened(visible(key))
    if not known:
        return f"{shown}: there is no such key. This request takes no keys: leave it out."
    near = difflib.get_close_matches(key[:100], known, n=1, cutoff=0.0)[0]
    return f"{shown}: there is no such key, the nearest is {near}. /docs says what is expected."


def _body_keys(request: Request) -> Collection[str]:
    schema = _described(request)["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    keys: Collection[str] = request.app.openapi()["components"]["schemas"][schema]["properties"]
    return keys


def _described(request: Request) -> dict[str, Any]:
    """The description of the requested operation in `/openapi.json`."""
    paths = request.app.openapi()["paths"]
    found: dict[str, Any] = paths[request.scope["route"].path]["post" if request.method == "POST" else "get"]
    return found


def say_errors(app: FastAPI) -> None:
    """Every error is `{"error": "what is wrong and what to do"}`."""

    @app.exception_handler(StarletteHTTPException)
    async def http(request: Request, found: StarletteHTTPException) -> JSONResponse:
        texts = {
            404: "there is no such page: /docs lists the API.",
            405: "this method is not allowed: /docs lists the API.",
        }
        default = found.detail in ("Not Found", "Method Not Allowed")
        text = texts.get(found.status_code, found.detail) if default else found.detail
        return JSONResponse({"error": text}, found.status_code, found.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, found: RequestValidationError) -> JSONResponse:
        first = found.errors()[0]
        if first["type"] == "json_invalid":
            return JSONResponse({"error": "the body is not JSON. /docs says what is expected."}, 422)
        if first["type"] == "model_attributes_type" and "json" not in request.headers.get("content-type", ""):
            return JSONResponse({"error": "the body is not JSON: send `Content-Type: application/json`."}, 422)
        key = ".".join(str(part) for part in first["loc"][1:])
        if first["type"] == "extra_forbidden":
            return JSONResponse({"error": _unknown(key, _body_keys(request))}, 422)
        place = shortened(visible(key)) or "the body"
        return JSONResponse({"error": f"{place}: {first['msg']}. /docs says what is expected."}, 422)

    @app.exception_handler(UnknownId)
    async def unknown(request: Request, found: UnknownId) -> JSONResponse:
        return JSONResponse({"error": visible(str(found))}, 404)

    @app.exception_handler(FileNotFoundError)
    @app.exception_handler(NotADirectoryError)
    async def gone(request: Request, found: OSError) -> JSONResponse:
        return JSONResponse({"error": "the file is missing: index again, or search again."}, 404)

    @app.exception_handler(UserError)
    async def wrong(request: Request, found: UserError) -> JSONResponse:
        return JSONResponse({"error": visible(str(found))}, 422)

    @app.exception_handler(BrokenVideo)
    async def broken(request: Request, found: BrokenVideo) -> JSONResponse:
        return JSONResponse({"error": visible(f"the video cannot be shown: {found}.")}, 422)

    @app.exception_handler(Busy)
    async def busy(request: Request, found: Busy) -> JSONResponse:
        return JSONResponse({"error": "too many requests are waiting: try again in a second."}, 429, AGAIN)

    @app.exception_handler(NoRoom)
    async def full(request: Request, found: NoRoom) -> JSONResponse:
        text = f"the server's cache cannot be written ({found}): make room there, or make it writable."
        return JSONResponse({"error": text}, 507)

    @app.exception_handler(NotReady)
    async def loading(request: Request, found: NotReady) -> JSONResponse:
        return JSONResponse({"error": "the index is being opened: try again in a second."}, 503, AGAIN)

    @app.exception_handler(Exception)
    async def fault(request: Request, found: Exception) -> JSONResponse:
        return JSONResponse({"error": "the server failed: its log has the reason."}, 500, HEADERS)  # outside Guard
