"""What `firehot serve` adds to pages: a script that shows errors over them, and reloads them. Standard library only.

A page that a browser navigates to gets one `<script>` behind its last byte, and nothing else is touched: no fragment,
no `fetch`, no HEAD, nothing compressed, nothing that is not HTML. A stream stays one. The script listens to events of
`/.firehot/events`: one when it comes, and one for each change of the error.
"""

from __future__ import annotations

import asyncio
import html
import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_PLACE = "/.firehot/"
_RETRY, _RETRY_SOON = b"retry: 2000\n", b"retry: 50\n\n"
_ALIVE = 15.0
"""Seconds after which something is sent, so that whoever has gone is noticed."""
_NO_BODY = (204, 205, 206, 304)
_ERROR_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>The application does not start</title></head>
<body><h1>The application does not start</h1><pre>{text}</pre></body></html>
"""


class Pages:
    """The pages of one generation.

    Attributes:
        error: Why newer code is not served, or `None`.
        startup_failure: What the application has said of its start-up: text and one line.
        lifespan: The task in which the application starts up.
    """

    def __init__(self, identity: str, *, overlay: bool, live_reload: bool) -> None:
        """Nothing is open yet.

        Args:
            identity: Of the generation.
            overlay: Whether errors are shown on pages.
            live_reload: Whether pages are reloaded.
        """
        self.error: str | None = None
        self.startup_failure: tuple[str, str] | None = None
        self.lifespan: asyncio.Task[Any] | None = None
        self._identity = identity
        self._overlay = overlay
        self._live_reload = live_reload
        self._listeners: set[asyncio.Queue[bool]] = set()
        self._streams: set[int] = set()

    # -- the front's words -----------------------------------------------------------------------

    def tell(self, error: str | None) -> None:
        """Tells every page what keeps newer code from being served. In the loop."""
        self.error = error
        for queue in self._listeners:
            queue.put_nowait(True)

    def end(self) -> None:
        """The next generation is there: pages shall listen to that one. In the loop."""
        for queue in self._listeners:
            queue.put_nowait(False)

    def is_stream(self, scope: Scope) -> bool:
        """Whether what answers this request is an event stream, which never ends."""
        return id(scope) in self._streams

    # -- ASGI ------------------------------------------------------------------------------------

    def around(self, app: App) -> App:
        """The application with all of this around it."""
        adds = self._overlay or self._live_reload
        is_error_page = app == self.error_page

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                self.lifespan = asyncio.current_task()
                await app(scope, receive, self._noting(send))
            elif scope["type"] != "http":
                await app(scope, receive, send)
            elif adds and (name := _own_path(scope)) is not None:
                await self._answer(name, scope, receive, send)
            else:
                page = adds and not is_error_page and _is_navigation(scope)
                if page:
                    # Compressed, it could not be added to.
                    scope["headers"] = [one for one in scope["headers"] if one[0] != b"accept-encoding"]
                try:
                    await app(scope, receive, self._watching(scope, _Adding(self, scope, send) if page else send))
                finally:
                    self._streams.discard(id(scope))

        return serve

    def _noting(self, send: Send) -> Send:
        async def noting(message: dict[str, Any]) -> None:
            if message["type"] == "lifespan.startup.failed":
                told = (message.get("message") or "").strip()
                is_line = told and "\n" not in told
                text = told or "The application has said that its start-up failed."
                # The front prints no text that is one line.
                self.startup_failure = text, f"has not started up: {told}" if is_line else "has not started up"
                # The front tells it, once.
                message = {"type": message["type"]}
            await send(message)

        return noting

    def _watching(self, scope: Scope, send: Send) -> Send:
        async def watching(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start" and _is_type(message, b"text/event-stream"):
                self._streams.add(id(scope))
            await send(message)

        return watching

    def script(self, scope: Scope, kind: str = "page") -> bytes:
        """The element that a page gets."""
        live = int(self._live_reload)
        source = f"{scope.get('root_path', '')}{_PLACE}client.js?generation={self._identity}&live={live}&kind={kind}"
        return f'<script src="{html.escape(source)}"></script>'.encode()

    # -- its own pages ---------------------------------------------------------------------------

    async def _answer(self, name: str, scope: Scope, receive: Receive, send: Send) -> None:
        if name == "client.js":
            with open(os.path.join(os.path.dirname(__file__), "_pages.js"), "rb") as file:
                await _respond(send, 200, b"text/javascript; charset=utf-8", file.read())
        elif name == "events":
            await self._stream(receive, send)
        else:
            await _respond(send, 404, b"text/plain", b"firehot knows no such page\n")

    async def _stream(self, receive: Receive, send: Send) -> None:
        """Events, until the page or this generation goes."""
        queue: asyncio.Queue[bool] = asyncio.Queue()
        self._listeners.add(queue)
        left = asyncio.ensure_future(_wait_for_end(receive))
        try:
            headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            part = _RETRY + self._event()
            while True:
                await send({"type": "http.response.body", "body": part, "more_body": True})
                told = asyncio.ensure_future(queue.get())
                done, _ = await asyncio.wait({left, told}, timeout=_ALIVE, return_when=asyncio.FIRST_COMPLETED)
                if told not in done:
                    told.cancel()
                if left in done:
                    return
                if told in done and not told.result():
                    await send({"type": "http.response.body", "body": _RETRY_SOON})
                    return
                part = self._event() if told in done else b":\n\n"
        finally:
            left.cancel()
            self._listeners.discard(queue)

    def _event(self) -> bytes:
        error = self.error if self._overlay else None
        return f"data: {json.dumps({'generation': self._identity, 'error': error})}\n\n".encode()

    async def error_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application while there is none."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1012})
        else:
            text = self.error or ""
            if b"text/html" not in dict(scope["headers"]).get(b"accept", b"") or not self._overlay:
                await _respond(send, 500, b"text/plain; charset=utf-8", f"{text.rstrip()}\n".encode())
                return
            # One for every page, also where it is not a navigation: there is nothing to break.
            page = _ERROR_PAGE.format(text=html.escape(text)).encode() + self.script(scope, "error")
            await _respond(send, 500, b"text/html; charset=utf-8", page)


class _Adding:
    """Sends a response with the script behind its body, where it is a page."""

    def __init__(self, pages: Pages, scope: Scope, send: Send) -> None:
        self._send = send
        self._script = pages.script(scope)
        self._adds = False

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._adds = _can_be_added_to(message)
            if self._adds:
                message = {**message, "headers": [self._longer(*header) for header in message.get("headers", ())]}
        elif message["type"] == "http.response.body" and self._adds and not message.get("more_body"):
            message = {**message, "body": message.get("body", b"") + self._script}
        await self._send(message)

    def _longer(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        if name.lower() == b"content-length" and value.isdigit():
            value = str(int(value) + len(self._script)).encode()
        return name, value


def _own_path(scope: Scope) -> str | None:
    path, root = scope["path"], scope.get("root_path", "")
    path = path[len(root) :] if root and path.startswith(root) else path
    return path[len(_PLACE) :] if path.startswith(_PLACE) else None


def _is_navigation(scope: Scope) -> bool:
    """Whether a browser asks for a page that it will show, not for a part of one."""
    if scope["method"] not in ("GET", "POST"):
        return False
    headers = dict(scope["headers"])
    if headers.get(b"sec-fetch-dest") is not None:
        return headers[b"sec-fetch-dest"] in (b"document", b"iframe", b"frame")
    # Browsers leave it out where the page comes neither by https nor from this machine.
    is_part = b"hx-request" in headers or b"x-requested-with" in headers
    return b"text/html" in headers.get(b"accept", b"") and not is_part


def _can_be_added_to(start: dict[str, Any]) -> bool:
    headers = {name.lower(): value.lower() for name, value in start.get("headers", ())}
    kind = headers.get(b"content-type", b"")
    return (
        start["status"] >= 200
        and start["status"] not in _NO_BODY
        and _is_type(start, b"text/html")
        and b"utf-16" not in kind
        and b"utf-32" not in kind
        and headers.get(b"content-encoding", b"identity") == b"identity"
        and b"attachment" not in headers.get(b"content-disposition", b"")
    )


def _is_type(start: dict[str, Any], kind: bytes) -> bool:
    found = (value for name, value in start.get("headers", ()) if name.lower() == b"content-type")
    return next(found, b"").lower().partition(b";")[0].strip() == kind


async def _wait_for_end(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _respond(send: Send, status: int, kind: bytes, body: bytes) -> None:
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
