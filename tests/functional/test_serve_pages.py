"""What `firehot serve` puts on pages, byte by byte, and what it leaves as it is."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Desk
from serving import Serving, app
from support import DEADLINE

APPLICATION = """
import asyncio, gzip, os

PAGE = b"<!doctype html><title>a</title><p>text"
HTML = (b"content-type", b"text/html; charset=utf-8")

async def app(scope, receive, send):
    assert scope["type"] == "http"
    path, headers = scope["path"], dict(scope["headers"])
    status, kinds, parts = 200, [HTML], [PAGE]
    if path == "/length":
        kinds = [HTML, (b"Content-Length", str(len(PAGE)).encode()), (b"etag", b'"1"')]
    elif path == "/zipped":
        if b"gzip" in headers.get(b"accept-encoding", b""):
            kinds, parts = [HTML, (b"content-encoding", b"gzip")], [gzip.compress(PAGE)]
    elif path == "/always-zipped":
        kinds, parts = [HTML, (b"content-encoding", b"gzip")], [gzip.compress(PAGE)]
    elif path == "/json":
        kinds, parts = [(b"content-type", b"application/json")], [b"{}"]
    elif path == "/none":
        status, parts = 304, [b""]
    elif path == "/saved":
        kinds = [HTML, (b"content-disposition", b"attachment; filename=a.html")]
    elif path == "/wide":
        kinds, parts = [(b"content-type", b"text/html; charset=utf-16")], [PAGE.decode().encode("utf-16")]
    elif path == "/missing":
        status = 404
    elif path == "/streamed":
        parts = [b"<p>one", b"<p>two", b""]
    await send({"type": "http.response.start", "status": status, "headers": kinds})
    for number, part in enumerate(parts):
        await send({"type": "http.response.body", "body": part, "more_body": number + 1 < len(parts)})
        while path == "/streamed" and not os.path.exists(f"go{number}"):
            await asyncio.sleep(0.01)
"""
PAGE = b"<!doctype html><title>a</title><p>text"
NAVIGATION = {"accept": "text/html,*/*;q=0.8", "accept_encoding": "gzip, br", "sec_fetch_dest": "document"}
SCRIPT = b'<script src="/.firehot/client.js?generation='


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.write("app.py", APPLICATION)
    yield made
    made.close()


def test_pages_get_one_script_and_nothing_else_is_touched(desk: Desk) -> None:
    with Serving(desk) as served:
        served.until(r"served after")
        for path in ("/", "/length", "/zipped", "/missing"):
            answer = served.ask(path, **NAVIGATION)
            assert answer.content.startswith(PAGE + SCRIPT), path
            assert answer.content.endswith(b"</script>") and answer.content.count(b"<script") == 1
            if path == "/length":
                assert answer.headers["content-length"] == str(len(answer.content))
        # Where browsers do not tell what a page is for.
        assert SCRIPT in served.ask("/", accept="text/html").content
        for path, headers in [
            ("/", {}),
            ("/", {"accept": "*/*"}),
            ("/", {**NAVIGATION, "sec_fetch_dest": "empty"}),
            ("/", {"accept": "text/html", "hx_request": "true"}),
            ("/", {"accept": "text/html", "x_requested_with": "XMLHttpRequest"}),
            ("/saved", NAVIGATION),
        ]:
            assert served.ask(path, **headers).content == PAGE, (path, headers)
        assert served.ask("/json", **NAVIGATION).content == b"{}"
        assert served.ask("/none", **NAVIGATION).content == b""
        assert gzip.decompress(served.ask("/always-zipped", **NAVIGATION).content) == PAGE
        assert gzip.decompress(served.ask("/zipped", accept_encoding="gzip").content) == PAGE
        assert served.ask("/wide", **NAVIGATION).content.decode("utf-16") == PAGE.decode()
        head = served.ask("/length", "HEAD", **NAVIGATION)
        assert head.headers["content-length"] == str(len(PAGE))
        _check_stream(desk, served)


def _check_stream(desk: Desk, served: Serving) -> None:
    """What an application sends comes when it is sent."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE)
    connection.request("GET", "/streamed", headers={"accept": "text/html"})
    response = connection.getresponse()
    assert response.read1(100) == b"<p>one"
    desk.write("go0")
    assert response.read1(100) == b"<p>two"
    desk.write("go1")
    assert response.read().startswith(SCRIPT)
    connection.close()


def test_pages_are_told_of_errors_and_of_new_code(desk: Desk) -> None:
    desk.write("app.py", app(1))
    with Serving(desk) as served:
        served.until(r"served after")
        script = served.ask("/.firehot/client.js")
        assert (script.status, script.headers["content-type"]) == (200, "text/javascript; charset=utf-8")
        assert served.ask("/.firehot/nothing").status == 404
        with socket.create_connection(("127.0.0.1", served.port), DEADLINE) as made:
            made.sendall(b"GET /.firehot/events HTTP/1.1\r\nhost: a\r\n\r\n")
            events = made.makefile("rb")
            first = _next_event(events)
            assert first["error"] is None
            desk.write("app.py", "import nothing_of_the_kind\n")
            assert "nothing_of_the_kind" in _next_event(events)["error"]
            began = time.monotonic()
            served.save(2)
            # The page is sent to the new code at once, not when the old one ends.
            rest = iter(events.readline, b"0\r\n")
            assert any(line == b"retry: 50\n" for line in rest)
            assert time.monotonic() - began < 5
        with socket.create_connection(("127.0.0.1", served.port), DEADLINE) as made:
            made.sendall(b"GET /.firehot/events HTTP/1.1\r\nhost: a\r\n\r\n")
            after = _next_event(made.makefile("rb"))
        assert after["error"] is None and after["generation"] != first["generation"]
        # Its own requests are not the application's.
        assert "/.firehot/" not in served.rest()


def _next_event(events: object) -> dict[str, object]:
    for line in iter(events.readline, b""):  # type: ignore[attr-defined]
        if line.startswith(b"data: "):
            found: dict[str, object] = json.loads(line[6:])
            return found
    raise AssertionError("no event came")


def test_without_overlay_nothing_is_put_on_pages(desk: Desk) -> None:
    desk.write("app.py", "1 / 0\n")
    with Serving(desk, "app:app", "--no-overlay") as served:
        served.until(r"waiting for a change")
        page = served.ask("/", **NAVIGATION)
        assert (page.status, page.headers["content-type"]) == (500, "text/plain; charset=utf-8")
        desk.write("app.py", APPLICATION)
        served.until(r"served after")
        assert served.ask("/", **NAVIGATION).content == PAGE
        # It is the application's, like any other path.
        assert served.ask("/.firehot/client.js").content == PAGE
