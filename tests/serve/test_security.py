"""Which requests are answered, and what an answer reveals."""

import http.client
import logging
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from library_case import indexed
from served import Labelled, Server, running

from structalign.errors import UserError
from structalign.serve import security
from structalign.serve.pages import REPORT
from structalign.serve.security import BODY, COOKIE, Guard, _name
from structalign.serve.server import check

TOKEN = "correct-horse-battery"
PATHS = ("/", "/api/health", "/api/index", "/api/videos/x", "/docs", "/openapi.json", "/report", "/nothing")


@pytest.fixture(scope="module")
def locked(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    cache = tmp_path_factory.mktemp("cache")
    with running(lambda: Labelled(shelf / "index"), cache, token=TOKEN, names=["films.example.org"]) as served:
        yield served


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_forbids_what_the_page_does_not_need(server: Server, path: str) -> None:
    _, headers, _ = server.ask(path)
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert not [name for name in headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "name", ["evil.example.org", "127.0.0.1.evil.org", "192.168.0.7", "", "localhost.evil.org:80", "[::2]"]
)
def test_a_foreign_host_name_is_refused(server: Server, name: str) -> None:
    assert server.ask("/api/health", Host=name)[0] == 421


def test_the_report_is_shown_with_a_link_back(server: Server, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.collection.index, "path", finished)
    status, headers, body = server.ask("/report")
    assert (status, b'<a href="/">' in body, b"127.0.0.1:8000" in body) == (200, True, False)
    assert "script-src" not in headers["content-security-policy"]
    assert server.json("/api/index")["report"]


def test_a_report_that_is_being_written_gets_an_error(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / REPORT
    report.parent.mkdir(parents=True)
    report.write_bytes("é".encode()[:1])  # half of a letter
    monkeypatch.setattr(server.collection.index, "path", tmp_path)
    assert server.ask("/report")[0] == 404
    report.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "is_file", lambda path: True)  # it was there a moment ago
        assert server.ask("/report")[0] == 404


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "localhost."])
def test_host_names_of_this_machine_are_accepted(server: Server, name: str) -> None:
    assert server.ask("/api/health", Host=name)[0] == 200


def test_an_allowed_host_name_is_accepted(locked: Server) -> None:
    assert locked.ask("/api/health", Host="films.example.org", Authorization=f"Bearer {TOKEN}")[0] == 200


def test_a_request_of_another_site_is_refused(server: Server) -> None:
    assert server.ask("/api/search", {"query": "red"}, Origin="https://evil.example.org")[0] == 403
    assert server.ask("/api/search", {"query": "red"}, Origin=server.url)[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_embedding_in_another_site_is_refused(server: Server, site: str) -> None:
    for path in ("/", "/openapi.json", f"/api/videos/{server.id_of('film.mp4')}/poster"):
        assert server.ask(path, Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors")[0] == 403
    assert server.ask("/", Sec_Fetch_Site=site, Sec_Fetch_Mode="navigate")[0] == 200
    for own in ("same-origin", "none"):
        assert server.ask("/openapi.json", Sec_Fetch_Site=own, Sec_Fetch_Mode="no-cors")[0] == 200


@pytest.mark.parametrize(
    ("allowed", "asked"),
    [("Films.Example.org.", "films.example.org:8443"), ("bücher.example", "xn--bcher-kva.example"),
     ("bu\u0308cher.example", "xn--bcher-kva.example"), ("[::1]", "[::1]"), ("fe80::0:1", "[fe80::1]:80")],
)  # fmt: skip
def test_an_allowed_host_name_is_accepted_in_every_spelling(allowed: str, asked: str) -> None:
    check("127.0.0.1", None, [allowed])
    assert Guard(lambda *_: None, "127.0.0.1", [allowed])._is_ours(_name(asked))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["", "http://films.org", "films.org:8443", "*.films.org", "films..org", "a b", "a" * 64]
)
def test_an_invalid_host_name_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"--allow-name {name!r}")):
        check("127.0.0.1", None, [name])


def test_another_address_than_this_machine_s_needs_a_token() -> None:
    for host in ("0.0.0.0", "::", "192.168.0.7", "films.example.org"):
        with pytest.raises(UserError, match="STRUCTALIGN_TOKEN"):
            check(host, None)
        check(host, TOKEN)
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        check(host, None)


@pytest.mark.parametrize("token", ["", "short", "a" * 15, "é" * 20, "with a space inside it", "line\nbreaks" * 3])
def test_a_token_that_is_easily_guessed_or_cannot_be_sent_is_refused(token: str) -> None:
    with pytest.raises(UserError, match="at least 16"):
        check("127.0.0.1", token)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Cookie": f"{COOKIE}={TOKEN}"},
     {"Cookie": f"{COOKIE}=\"\\"}, {"Authorization": "Bearer "}],
)  # fmt: skip
def test_without_the_token_nothing_is_revealed(locked: Server, headers: dict[str, str]) -> None:
    id = locked.id_of("film.mp4")
    for path in ("/api/health", "/api/index", f"/api/videos/{id}/media", "/api/nothing"):
        status, _, body = locked.ask(path, **headers)
        assert (status, b"token" in body) == (401, True)
    assert locked.ask("/api/search", {"query": "red"}, **headers)[0] == 401
    for path in ("/", "/docs", "/openapi.json", "/report", "/page/page.js", "/nothing"):
        status, answered, _ = locked.ask(path, **headers)
        assert (status, answered["location"]) == (303, "/login")


def test_the_api_takes_the_token_in_a_header(locked: Server) -> None:
    assert locked.json("/api/search", {"query": "red"}, Authorization=f"Bearer {TOKEN}")["hits"]


def login(server: Server, token: str) -> tuple[int, dict[str, str], bytes]:
    body = f"token={token}".encode()
    return server.ask("/login", body, Content_Type="application/x-www-form-urlencoded")


def test_the_form_gives_a_cookie_that_no_script_and_no_other_site_gets(locked: Server) -> None:
    status, headers, _ = login(locked, TOKEN)
    cookie = headers["set-cookie"]
    assert (status, headers["location"]) == (303, "/")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    assert locked.ask("/api/health", Cookie=cookie.partition(";")[0])[0] == 200
    assert locked.ask("/", Cookie=cookie.partition(";")[0])[0] == 200


def test_the_cookie_is_found_beside_those_of_other_servers_on_this_machine(locked: Server) -> None:
    ours = login(locked, TOKEN)[1]["set-cookie"].partition(";")[0]
    for others in ("a[b]=1", 'json={"a": "b"}', "bare", 'open="', "=", "é=1"):
        assert locked.ask("/api/health", Cookie=f"{others}; {ours}")[0] == 200, others


def test_the_form_reports_a_wrong_token(locked: Server) -> None:
    assert b" hidden" in locked.ask("/login")[2]
    status, headers, body = locked.ask(login(locked, "wrong")[1]["location"])
    assert (status, b"not the token" in body, b" hidden" in body) == (200, True, False)
    assert "default-src 'none'" in headers["content-security-policy"]


def test_an_internal_error_reveals_nothing(shelf: Path, tmp_path: Path) -> None:
    with running(lambda: Labelled(shelf / "index"), tmp_path / "cache") as served:
        served.collection.index.results = None  # type: ignore[method-assign,assignment]
        status, headers, body = served.ask("/api/search", {"query": "red"})
    assert (status, b"its log" in body, b"NoneType" in body) == (500, True, False)
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "a", "%FF%00"])
def test_a_wrong_token_gets_no_cookie(locked: Server, token: str) -> None:
    status, headers, _ = login(locked, token)
    assert (status, headers["location"]) == (303, "/login?wrong")
    assert "set-cookie" not in headers


def test_the_form_and_its_style_need_no_token(locked: Server) -> None:
    for path in ("/login", "/page/look.css", "/page/style.css"):
        assert locked.ask(path)[0] == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
@pytest.mark.parametrize("path", ["/api/videos/{id}", "/api/videos/{id}/media", "/api/index", "/"])
def test_no_request_can_change_anything(server: Server, method: str, path: str) -> None:
    status, _, _ = server.ask(path.format(id=server.id_of("film.mp4")), {}, method)
    assert status == 405


@pytest.mark.parametrize(
    "id", ["..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "one%2Ffilm.mp4", "x", "%00", "a" * 5000, "..", "film.mp4"]
)
@pytest.mark.parametrize("part", ["", "/media", "/poster", "/preview", "/stretch"])
def test_an_id_is_not_read_as_a_path(server: Server, id: str, part: str) -> None:
    assert server.ask(f"/api/videos/{id}{part}")[0] == 404


@pytest.mark.parametrize("path", ["/page/..%2Fapp.py", "/page/../app.py", "/page/%2e%2e/app.py", "/page/", "/page/x"])
def test_no_other_file_of_the_page_s_folder_is_sent(server: Server, path: str) -> None:
    assert server.ask(path)[0] == 404


def test_no_answer_has_a_path_of_this_machine(server: Server, shelf: Path) -> None:
    id = server.id_of("film.mp4")
    bodies = [
        server.ask(path)[2] for path in ("/api/index", f"/api/videos/{id}", f"/api/similar/{id}", "/api/videos/x")
    ]
    bodies.append(server.ask("/api/search", {"query": "red", "folder": "/etc"})[2])
    bodies.append(server.ask("/api/search", {"query": "red", "limit": 100})[2])
    assert not [body for body in bodies if str(shelf).encode() in body]


def test_a_query_may_have_300_characters(server: Server) -> None:
    assert server.ask("/api/search", {"query": "a" * 300})[0] == 200
    status, _, body = server.ask("/api/search", {"query": "a" * 301})
    assert (status, b"query" in body, b"300" in body) == (422, True, True)


def test_a_body_may_have_64_kilobytes(server: Server) -> None:
    fits = b'{"query": "red"' + b" " * (BODY - 17) + b"}"
    assert server.ask("/api/search", fits)[0] == 200
    assert server.ask("/api/search", b" " * (BODY + 1))[0] == 413
    assert server.ask("/login", b"token=" + b"a" * (BODY + 1))[0] in (303, 413)


def test_a_body_without_a_length_is_also_bounded(server: Server) -> None:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
    pieces = (b" " * 1000 for _ in range(200))
    connection.request("POST", "/api/search", pieces, {"Content-Type": "application/json"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_body_that_comes_too_slowly_is_not_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "PATIENCE", 0.2)
    for path in ("/api/search", "/login"):
        with socket.create_connection((server.host, server.port), timeout=30) as slow:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{{"
            slow.sendall(head.encode())
            answer = b"".join(iter(lambda: slow.recv(4096), b""))  # until the server hangs up
        assert answer.startswith(b"HTTP/1.1 408"), path
        assert b"send it again" in answer


@pytest.mark.parametrize(
    ("path", "told"),
    [("/api/similar/{id}?ofset=24", "nearest is offset"), ("/api/videos/{id}?begin=1", "nearest is at"),
     ("/api/videos/{id}/stretch?at=1", "nearest is begin"), ("/api/health?x", "leave it out"),
     ("/api/videos/{id}/media?at=1", "at: "), ("/api/similar/{id}?%1b=1", "\\\\x1b: ")],
)  # fmt: skip
def test_an_unknown_query_parameter_is_refused(server: Server, path: str, told: str) -> None:
    status, _, body = server.ask(path.format(id=server.id_of("film.mp4")))
    assert (status, told in body.decode()) == (422, True), body


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", b'{"query": 1}', b'{"query": ""}', b'{"query": "red", "limit": 101}',
             b'{"query": "red", "offset": -1}', b'{"query": "red", "limit": 1e400}', b'{"query": "   "}',
             b'{"query": "red", "folder": "/etc"}', b'{"query": "red", "category": "none"}', b"[" * 60000]
)  # fmt: skip
def test_an_invalid_body_is_refused_and_the_server_keeps_running(server: Server, body: bytes) -> None:
    status, _, said = server.ask("/api/search", body)
    assert (status in (400, 422), said.startswith(b'{"error":"')) == (True, True)
    assert server.ask("/api/health")[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [("search", b"{", "the body is not JSON"), ("search", b'{"query": "red", "categry": "one"}', "nearest is category"),
     ("search", b'{"query": "red", "a\\u001b": 1}', "a\\\\x1b: "),
     ("search", b'{"query": "red", "' + b"k" * 5000 + b'": 1}', "kkk...: "),
     ("search", b'{"query": "red", "limit": "5"}', "limit: "),
     ("search", b'{"query": "red", "limit": true}', "limit: "),
     ("explain", b'{"query": "red", "id": "x", "at": 1}', "at: "),
     ("explain", b'{"query": "  ", "id": "x"}', "is empty")],
)  # fmt: skip
def test_what_is_wrong_with_a_request_is_named(server: Server, path: str, body: bytes, told: str) -> None:
    status, _, said = server.ask(f"/api/{path}", body)
    assert (status, told in said.decode()) == (422, True), said


def test_a_body_without_its_type_is_refused_with_the_remedy(server: Server) -> None:
    status, _, said = server.ask("/api/search", {"query": "red"}, Content_Type="application/x-www-form-urlencoded")
    assert (status, b"Content-Type: application/json" in said) == (422, True)


def test_headers_are_bounded(server: Server) -> None:
    client = socket.create_connection((server.host, server.port), timeout=30)
    with client, suppress(ConnectionError):  # the server hangs up, before or after its answer is read
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 10_000_000)
        assert client.recv(1000)[:12] in (b"HTTP/1.1 400", b"")
    assert server.ask("/api/health")[0] == 200


@pytest.mark.parametrize("at", ["nan", "inf", "-1", "1e300", "x"])
def test_an_invalid_time_is_refused(server: Server, at: str) -> None:
    assert server.ask(f"/api/videos/{server.id_of('film.mp4')}/poster?at={at}")[0] == 422


def test_queries_are_not_logged(
    server: Server, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        server.search("confidential words")
    out = capfd.readouterr()
    assert "confidential" not in caplog.text + out.out + out.err


def test_a_link_that_replaced_a_file_is_not_followed(shelf: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    videos = tmp_path / "videos"
    videos.mkdir()
    film = videos / "film.mp4"
    film.write_bytes((shelf / "videos/one/film.mp4").read_bytes())
    indexed(videos, shelf / "clip", tmp_path / "index")
    with running(lambda: Labelled(tmp_path / "index"), tmp_path / "cache") as served:
        id = served.id_of("film.mp4")
        assert served.ask(f"/api/videos/{id}/media")[0] == 200
        film.unlink()
        film.symlink_to(secret)
        status, _, body = served.ask(f"/api/videos/{id}/media")
        assert (status, b"secret" in body) == (404, False)
