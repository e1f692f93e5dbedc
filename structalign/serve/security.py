"""Checks of a request before it is answered: its host name, its origin, its token and its size.

They are pure ASGI around the whole application, so no route can skip them.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY = 64 * 1024  # bytes of a request's body
PATIENCE = 10.0  # seconds within which it must arrive
COOKIE = "structalign"
TOKEN = 16  # characters of a token, at least
NAME = re.compile("[a-z0-9_-]+([.][a-z0-9_-]+)*")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SITES = ("cross-site", "same-site")  # what a browser sends if another origin's page asks
OPEN = ("/login", "/page/look.css", "/page/style.css")  # what a browser needs before it has shown the token
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def ascii_name(name: str) -> str:
    """A host name as a Host header has it. Raises `ValueError` for anything else, for example with http://."""
    sent = name.strip().rstrip(".").encode("idna").decode().lower()
    try:
        return ipaddress.ip_address(sent.removeprefix("[").removesuffix("]")).compressed
    except ValueError:
        if not NAME.fullmatch(sent):
            raise ValueError(name) from None
        return sent


def error(status: int, text: str, **headers: str) -> Response:
    """An error response of the API."""
    return JSONResponse({"error": text}, status, headers)


class Guard:
    """Checks Host, Origin, token and body size, and sets the headers of every answer.

    host: the address to listen on. names: further host names that requests may use. token: None if none is needed.
    """

    def __init__(self, app: ASGIApp, host: str, names: Sequence[str] = (), token: str | None = None):
        self.app, self.token = app, token
        self.names = {*LOOPBACK, host.lower(), *map(ascii_name, names)}
        self.addresses = not is_loopback(host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        if (refusal := self._refusal(headers)) is not None:
            await refusal(scope, receive, guarded)
            return
        if scope["path"] == "/login" and scope["method"] == "POST":
            body = await _body(headers, receive)
            answer = body if isinstance(body, Response) else self._login(body, scope.get("scheme") == "https")
            await answer(scope, receive, guarded)
            return
        if (refusal := self._without_token(scope, headers)) is not None:
            await refusal(scope, receive, guarded)
            return
        empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        if scope["method"] in ("GET", "HEAD") and empty:
            await self.app(scope, receive, guarded)  # the server's own `receive`, which tells of a disconnect
            return
        body = await _body(headers, receive)
        if isinstance(body, Response):
            await body(scope, receive, guarded)
            return
        await self.app(scope, _replayed(body, receive), guarded)

    def _refusal(self, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self._is_ours(_name(host)):
            return error(421, "this server does not have that name: start it with --allow-name NAME to allow it.")
        origin = headers.get("origin")
        elsewhere = origin not in (None, "null") and origin.partition("://")[2] != host
        # an embedded picture or script sends no Origin; a link that someone follows is allowed
        embedded = headers.get("sec-fetch-site") in SITES and headers.get("sec-fetch-mode") != "navigate"
        if elsewhere or embedded:
            return error(403, "the request comes from a page of another site: open this server's own page.")
        return None

    def _is_ours(self, name: str) -> bool:
        """Whether a host name is the server's. If others may reach the server, every IP address is.

        An attacker can make a name point here, but not an address.
        """
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.addresses

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        """The answer to a request without the token. None if the request has it or needs none."""
        if self.token is None or scope["path"] in OPEN or self._knows(scope, headers):
            return None
        if scope["path"].startswith("/api/") or scope["method"] not in ("GET", "HEAD"):
            return error(
                401,
                "the token is missing or wrong: send it as `Authorization: Bearer TOKEN`.",
                **{"WWW-Authenticate": "Bearer"},
            )
        return RedirectResponse("/login", 303)

    def _knows(self, scope: Scope, headers: Headers) -> bool:
        assert self.token is not None
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return _same(given.strip(), self.token)
        # read as browsers write, since another server's cookie on this machine must not hide ours
        return _same(HTTPConnection(scope).cookies.get(COOKIE, ""), _proof(self.token))

    def _login(self, body: bytes, secure: bool) -> Response:
        """The token of the form becomes a cookie that no script can read and no other site can send."""
        try:
            given = parse_qs(body.decode(), max_num_fields=4).get("token", [""])[0]
        except ValueError:
            given = ""
        if self.token is None or not _same(given, self.token):
            return RedirectResponse("/login?wrong", 303)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, _proof(self.token), httponly=True, samesite="strict", secure=secure)
        return answer


def _name(host: str) -> str:
    """The name of a Host header, without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower().rstrip(".")


def _same(given: str, expected: str) -> bool:
    """Compare in constant time, which tells nothing of where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _proof(token: str) -> str:
    """The cookie's value. It shows that its owner knew the token, without giving the token away."""
    return hmac.new(token.encode(), b"structalign cookie", hashlib.sha256).hexdigest()


async def _body(headers: Headers, receive: Receive) -> bytes | Response:
    """The whole body, or the error for one that is too long or too slow."""
    declared = headers.get("content-length", "")
    if not (declared.isdigit() and int(declared) > BODY):
        try:
            async with asyncio.timeout(PATIENCE):
                if (body := await _read(receive)) is not None:
                    return body
        except TimeoutError:
            return error(408, f"the body did not come within {PATIENCE:g} s: send it again.", Connection="close")
    return error(413, f"the body is longer than {BODY // 1024} kB: send less.")


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None if it is too long."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > BODY:
            return None
        if message["type"] != "http.request" or not message.get("more_body"):
            return bytes(body)


def _replayed(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """A `receive` that gives a body that was read already."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return parts.pop() if parts else await receive()

    return replay
