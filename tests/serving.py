"""What tests of `firehot serve` share: an application, the command that serves it, and those who ask it."""

from __future__ import annotations

import errno
import http.client
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

from daemons import Desk
from support import DEADLINE

APP = """
import asyncio, json, os, time

VALUE = {value}
OWNER = os.getpid()
{body}

async def lifespan(receive, send):
    await receive()
    {startup}
    await send({{"type": "lifespan.startup.complete"}})
    await receive()
    {shutdown}
    await send({{"type": "lifespan.shutdown.complete"}})

async def answer(send, content, kind=b"text/plain", headers=()):
    length = (b"content-length", str(len(content)).encode())
    headers = [(b"content-type", kind), length, *headers]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": content}})

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    path = scope["path"]
    if scope["type"] == "websocket":
        await receive()
        await send({{"type": "websocket.accept"}})
        await send({{"type": "websocket.send", "text": str(VALUE)}})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    elif path == "/stream":
        headers = [(b"content-type", b"text/event-stream")]
        await send({{"type": "http.response.start", "status": 200, "headers": headers}})
        await send({{"type": "http.response.body", "body": b"data: %d\\n\\n" % VALUE, "more_body": True}})
        while (await receive())["type"] != "http.disconnect":
            pass
    elif path == "/page":
        await answer(send, b"<html><body><h1>value %d</h1></body></html>" % VALUE, b"text/html; charset=utf-8")
    elif path == "/slow":
        open("slow", "w").close()
        while not os.path.exists("go"):
            await asyncio.sleep(0.01)
        await answer(send, b"slow %d" % VALUE)
    elif path == "/process":
        await answer(send, json.dumps([OWNER, os.getpid()]).encode())
    elif path == "/break":
        number = VALUE
        breakpoint()
        await answer(send, b"%d" % number)
    else:
        body = b""
        while (message := await receive()).get("body") or message.get("more_body"):
            body += message["body"]
            if not message.get("more_body"):
                break
        await answer(send, body or b"%d" % VALUE)
"""


def app(value: int, body: str = "", startup: str = "pass", shutdown: str = "pass") -> str:
    """An application that answers with a value."""
    return APP.format(value=value, body=body, startup=startup, shutdown=shutdown)


class Serving:
    """`firehot serve` on a free port of this machine, and what it prints, stdout and stderr as one."""

    def __init__(self, desk: Desk, target: str = "app:app", *words: str, **options: Any) -> None:
        self._text = ""
        self._desk = desk
        given = () if {"--uds", "--fd", "--port"} & {*words} else ("--port", "0")
        self.process = desk.popen("serve", target, *given, *words, stderr=subprocess.STDOUT, **options)
        assert self.process.stdout is not None
        self._fd = self.process.stdout.fileno()
        found = re.search(r"on https?://(.*):(\d+) ", self.until(r" on \S+ .*\n"))
        self.port = int(found[2]) if found else 0

    def until(self, pattern: str) -> str:
        """What comes up to here, since the last that was waited for."""
        deadline = time.monotonic() + DEADLINE
        while (found := re.search(pattern, self._text)) is None:
            ready = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))[0]
            more = os.read(self._fd, 65536).decode() if ready else ""
            assert more, f"no {pattern!r} in {self._text!r}\n{self._desk.logs()}"
            self._text += more
        passed, self._text = self._text[: found.end()], self._text[found.end() :]
        return passed

    def skip(self) -> None:
        """Takes what has been printed, so that the pipe never fills."""
        while select.select([self._fd], [], [], 0)[0] and (more := os.read(self._fd, 65536)):
            self._text += more.decode()

    def save(self, value: int, **parts: str) -> str:
        """Saves the application with another value, and waits until it is served; what was printed meanwhile."""
        self._desk.write("app.py", app(value, **parts))
        return self.until(r"changed; .*served after .*\n")

    def ask(self, path: str = "/", method: str = "GET", body: bytes | None = None, **headers: str) -> Answer:
        """Asks once, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            return ask(connection, path, method, body, **headers)
        finally:
            connection.close()

    def signal(self, number: int) -> int:
        """Sends a signal; the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(DEADLINE)
        self._read_rest()
        return status

    def rest(self) -> str:
        """What was not waited for."""
        return self._text

    def _read_rest(self) -> None:
        with suppress(OSError):
            while more := os.read(self._fd, 65536):
                self._text += more.decode()

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(DEADLINE)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Answer:
    """A response, read to its end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.content = response.read()

    @property
    def text(self) -> str:
        return self.content.decode()


def ask(
    connection: http.client.HTTPConnection,
    path: str = "/",
    method: str = "GET",
    body: bytes | None = None,
    **headers: str,
) -> Answer:
    """Asks on a connection that may be used again."""
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    return Answer(connection.getresponse())


class Load:
    """Those who ask without a pause: some on one connection each, some on a new one each time.

    Attributes:
        failures: What was not answered as it should have been.
        answers: When each was asked, when it was answered, and the value.
        worst: Seconds that the slowest took.
    """

    def __init__(self, port: int, steady: int = 4, fresh: int = 4) -> None:
        self._port = port
        self._is_over = threading.Event()
        self.failures: list[str] = []
        self.answers: list[tuple[float, float, int]] = []
        self._threads = [threading.Thread(target=self._steadily) for _ in range(steady)]
        self._threads += [threading.Thread(target=self._freshly) for _ in range(fresh)]

    @property
    def worst(self) -> float:
        return max(end - begin for begin, end, _ in self.answers)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE)

    def _steadily(self) -> None:
        connection = self._connect()
        connection.connect()
        assert connection.sock is not None
        # Whoever connects anew hides that a connection was closed.
        connection.auto_open = 0
        number = 0
        while not self._is_over.is_set():
            number += 1
            self._ask(connection, b"x" * 20_000 if number % 3 == 0 else None)
        connection.close()

    def _freshly(self) -> None:
        while not self._is_over.is_set():
            connection = self._connect()
            self._ask(connection, None)
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection, body: bytes | None) -> None:
        began = time.monotonic()
        try:
            answer = ask(connection, "/", "POST" if body else "GET", body)
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))
            self._is_over.wait(0.1)
            return
        if body:
            if answer.content != body:
                self.failures.append(f"{answer.status}, {len(answer.content)} bytes")
        elif answer.status == 200:
            self.answers.append((began, time.monotonic(), int(answer.text)))
        else:
            self.failures.append(f"{answer.status}: {answer.text[:200]}")

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def check(self) -> None:
        """Every request was answered, and none that came after an answer of newer code by older code."""
        assert not self.failures, (len(self.failures), self.failures[:5])
        newest, seen = 0, 0.0
        for began, end, value in sorted(self.answers, key=lambda answer: answer[1]):
            assert value >= newest or began <= seen, (began, end, value, newest, seen)
            if value > newest:
                newest, seen = value, end


def is_refused(port: int) -> bool:
    """Whether nobody listens there."""
    with socket.socket() as made:
        return made.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


@contextmanager
def taken_port() -> Iterator[int]:
    """One that somebody listens on."""
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        yield made.getsockname()[1]
