"""The application. It is read-only, and its API uses ids instead of paths."""

from collections.abc import Sequence

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute

from structalign.serve.collection import Collection
from structalign.serve.errors import refuse_unknown_keys, say_errors
from structalign.serve.media import Media
from structalign.serve.pages import add_pages
from structalign.serve.schema import EVERY
from structalign.serve.searching import add_searching
from structalign.serve.security import Guard
from structalign.serve.videos import add_videos


def make_app(
    collection: Collection, media: Media, host: str, names: Sequence[str] = (), token: str | None = None
) -> FastAPI:
    """The application. host: the address to listen on. names, token: as of `Guard`."""
    app = FastAPI(
        title="structalign",
        docs_url=None,
        redoc_url=None,
        responses=EVERY,
        dependencies=[Depends(refuse_unknown_keys)],
    )
    app.add_middleware(Guard, host=host, names=names, token=token)
    say_errors(app)
    add_searching(app, collection)
    add_videos(app, collection, media)
    add_pages(app, collection)
    _answer_head(app)
    return app


def _answer_head(app: FastAPI) -> None:
    """Answer HEAD wherever GET is answered. The API is described before, so it lists only GET."""
    app.openapi()
    for route in app.routes:
        if isinstance(route, APIRoute) and route.methods and "GET" in route.methods:
            route.methods.add("HEAD")
