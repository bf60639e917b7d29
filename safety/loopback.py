"""Small servers on 127.0.0.1 for recipes to talk to, and the collector that telemetry is delivered to."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = tuple[int, Mapping[str, str], bytes]
PATIENCE = 20.0
"""Seconds that a recipe waits for what has to happen."""


@contextmanager
def http_server(answer: Callable[[str, str, bytes], Answer]) -> Iterator[str]:
    """Serves `answer(method, path, body)`; gives the address without a slash at its end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self._chunks() if "chunked" in self.headers.get("Transfer-Encoding", "") else self._plain()
            status, headers, content = answer(self.command, self.path, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_HEAD = handle_any

        def _plain(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _chunks(self) -> bytes:
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def tcp_server(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serves each connection with `talk` in a thread of its own; gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                talk(connection)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        # Closing alone does not wake a thread in accept.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def exactly(connection: socket.socket, count: int) -> bytes:
    """The next `count` bytes of a connection."""
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionResetError
        data += piece
    return data


def fetch(address: str, data: bytes | None = None) -> bytes:
    """One request, without the proxies of the environment."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(address, data, PATIENCE) as response:
        content: bytes = response.read()
        return content


class Collector:
    """What was sent to the loopback collector."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Takes a request; only one that carries something counts."""
        if body:
            self.paths.append(path)
        return 200, {"Content-Type": "application/json"}, b"{}"

    def count(self, part: str) -> int:
        """How many requests had `part` in their path."""
        return sum(part in path for path in list(self.paths))
