"""Run the application until it is stopped."""

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from structalign.errors import UserError
from structalign.library.video_index import VideoIndex
from structalign.serve.app import make_app
from structalign.serve.collection import Collection
from structalign.serve.media import Media
from structalign.serve.security import TOKEN, ascii_name, is_loopback

BACKLOG = 2048  # connections that wait
CONNECTIONS = 512  # more are answered 503, since a process may often have only 1,024 open files
GRACE = 3  # seconds that open requests get when the server is stopped


def check(host: str, token: str | None, names: Sequence[str] = ()) -> None:
    """Raise `UserError` if others could reach the server without a token, or if the token or a name is invalid.

    An invalid token is easily guessed. An invalid name is not a host name.
    """
    if token is None and not is_loopback(host):
        raise UserError(
            f"--host {host} lets others reach the server: set STRUCTALIGN_TOKEN to a token of at least {TOKEN} "
            "characters, which they must send."
        )
    if token is not None and (len(token) < TOKEN or not token.isascii() or not token.isprintable() or " " in token):
        raise UserError(f"the token must have at least {TOKEN} letters, digits or signs, and no space.")
    for name in names:
        try:
            ascii_name(name)
        except ValueError:
            raise UserError(
                f"--allow-name {name!r} is not a host name: give it without http:// and port, such as films.org."
            ) from None


def serve(
    open: Callable[[], VideoIndex],
    cache: Path,
    limit: int,
    host: str,
    port: int,
    names: Sequence[str] = (),
    token: str | None = None,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Answer requests until Ctrl-C. ready: called with the page's address as soon as it answers.

    Raises `UserError` if the address cannot be used or the index cannot be opened.
    """
    check(host, token, names)
    collection, media = Collection(open), _media(cache, limit)
    app = make_app(collection, media, host, names, token)
    server = Server(app, collection, media)

    def fail() -> None:
        server.should_exit = True

    collection.on_failure = fail
    with _bound(host, port) as bound:
        shown = f"[{host}]" if ":" in host else host
        ready(f"http://{shown}:{bound.getsockname()[1]}/")
        with suppress(KeyboardInterrupt):  # the server has ended by it
            server.run([bound])
    if collection.failed is not None:
        raise collection.failed


class Server(uvicorn.Server):
    """Opens the index, and at the end stops the jobs that requests wait for before it waits for the requests."""

    def __init__(self, app: ASGIApp, collection: Collection, media: Media, **options: Any):
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=GRACE,
            http="h11",  # it bounds the headers of a request, and httptools does not
            ws="none",
            lifespan="off",  # a second Ctrl-C would cancel it with a traceback
            **options,
        )
        logging.getLogger("uvicorn.error").addFilter(_failed)  # after the configuration of logging
        super().__init__(config)
        self.collection, self.media = collection, media

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to open the index."""
        self.collection.start()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop media and collection first."""
        await asyncio.to_thread(self.media.stop)
        await asyncio.to_thread(self.collection.stop)
        await super().shutdown(sockets)


def _failed(record: logging.LogRecord) -> bool:
    """False for the traceback of a request that was still open at the end, such as that of a paused video."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def _media(cache: Path, limit: int) -> Media:
    try:
        return Media(cache, limit)
    except OSError as error:
        raise UserError(
            f"the cache folder {cache} cannot be written ({error.strerror}): choose another by XDG_CACHE_HOME."
        ) from None


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        bound.listen(BACKLOG)  # from here on a browser waits and is not refused
    except (OSError, OverflowError, UnicodeError) as error:
        bound.close()
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot listen on {host}:{port} ({reason}): choose another --port or --host.") from None
    return bound
