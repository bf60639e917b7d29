"""The listening socket of `firehot serve`: made before anything else, and held for the whole session.

Generations inherit it, so a connection that comes while none accepts waits in its queue: none is refused.
"""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from typing import Any

from firehot.errors import FirehotError

_BACKLOG = 2048
HOST = "127.0.0.1"
PORT = 8000


class Listening:
    """Where the application is served.

    Attributes:
        socket: Listens already.
        url: What a user would open.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        """Listens.

        Args:
            options: `host`, `port`, `uds`, `fd`, and whether it is `ssl`; `backlog`.

        Raises:
            FirehotError: It can't, in one line.
        """
        self._path: str | None = None
        self._scheme = "https" if options.get("ssl") else "http"
        backlog = options.get("backlog") or _BACKLOG
        if options.get("fd") is not None:
            self.socket, self.url = _inherited(options["fd"])
        elif options.get("uds"):
            self.socket, self.url = self._at_path(options["uds"])
        else:
            self.socket, self.url = self._at_port(options.get("host") or HOST, options.get("port"))
        try:
            self.socket.listen(backlog)
        except OSError as error:
            raise FirehotError(f"nothing can listen on {self.url}: {error.strerror}") from error
        self.socket.setblocking(False)

    def _at_port(self, host: str, port: int | None) -> tuple[socket.socket, str]:
        port = PORT if port is None else port
        made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        shown = f"[{host}]" if ":" in host else host
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((host, port))
            # Two can be bound to a free port, but only one listens.
            made.listen(_BACKLOG)
        except (OSError, OverflowError, UnicodeError) as error:
            made.close()
            reason = getattr(error, "strerror", None) or error
            raise FirehotError(f"{shown}:{port} can't be listened on: {reason} (--port 0 takes a free one)") from error
        return made, f"{self._scheme}://{shown}:{made.getsockname()[1]}"

    def _at_path(self, path: str) -> tuple[socket.socket, str]:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            mode = 0o666
            with suppress(FileNotFoundError):
                state = os.stat(path)
                if not stat.S_ISSOCK(state.st_mode) or _is_listened_on(path):
                    raise FileExistsError(None, "it is there already")
                mode = stat.S_IMODE(state.st_mode)
                os.unlink(path)
            made.bind(path)
            os.chmod(path, mode)
        except OSError as error:
            made.close()
            raise FirehotError(f"{path} can't be listened on: {error.strerror or error}") from error
        self._path = os.path.abspath(path)
        return made, f"unix:{path}"

    def close(self) -> None:
        """From here on connections are refused."""
        self.socket.close()
        if self._path is not None:
            with suppress(OSError):
                os.unlink(self._path)
            self._path = None


def _inherited(fd: int) -> tuple[socket.socket, str]:
    try:
        made = socket.socket(fileno=fd)
        name = made.getsockname()
    except OSError as error:
        raise FirehotError(f"descriptor {fd} is no socket: {error.strerror}") from error
    if made.type != socket.SOCK_STREAM:
        raise FirehotError(f"descriptor {fd} is no stream socket")
    made.set_inheritable(False)
    shown = f"http://{name[0]}:{name[1]}" if isinstance(name, tuple) else f"unix:{name}"
    return made, shown


def _is_listened_on(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
