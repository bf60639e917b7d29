"""What `firehot serve` and its generations tell each other: lines of JSON, with descriptors. Standard library only."""

from __future__ import annotations

import json
import os
import socket
import threading
from array import array
from contextlib import suppress
from typing import Any

Message = dict[str, Any]

_CHUNK = 1 << 16
_MOST = 64
"""Descriptors that one read takes; the kernel joins no two messages that carry some."""


class Control:
    """One end of the socket pair between the front and a generation."""

    def __init__(self, end: socket.socket) -> None:
        """Takes it over."""
        self.socket = end
        self._lock = threading.Lock()
        self._text = b""
        self._descriptors: list[int] = []

    def fileno(self) -> int:
        """For `select`."""
        return self.socket.fileno()

    def say(self, kind: str, *descriptors: int, **told: Any) -> bool:
        """Tells the other side; false where nobody is there any more."""
        line = json.dumps({"type": kind, "descriptors": len(descriptors), **told}).encode() + b"\n"
        with self._lock:
            try:
                # They travel with the first bytes.
                sent = socket.send_fds(self.socket, [line], list(descriptors)) if descriptors else 0
                self.socket.sendall(line[sent:])
            except OSError:
                return False
        return True

    def hear(self, *, waits: bool = True) -> list[Message] | None:
        """What has come, the descriptors of each as `fds`; `None` at the end."""
        try:
            # `socket.recv_fds` drops its flags.
            flags = 0 if waits else socket.MSG_DONTWAIT
            data, extra, _, _ = self.socket.recvmsg(_CHUNK, socket.CMSG_LEN(_MOST * array("i").itemsize), flags)
        except BlockingIOError:
            return []
        except OSError:
            return None
        for level, kind, content in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors = array("i")
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
                self._descriptors += descriptors
                for fd in descriptors:
                    os.set_inheritable(fd, False)
        if not data:
            return None
        *lines, self._text = (self._text + data).split(b"\n")
        messages: list[Message] = []
        for line in lines:
            message = json.loads(line)
            count = message.pop("descriptors", 0)
            message["fds"], self._descriptors = self._descriptors[:count], self._descriptors[count:]
            messages.append(message)
        return messages

    def close(self) -> None:
        """Lets go of it."""
        for fd in self._descriptors:
            with suppress(OSError):
                os.close(fd)
        self._descriptors = []
        self.socket.close()


def pair() -> tuple[Control, socket.socket]:
    """The front's end, and what a generation inherits."""
    own, given = socket.socketpair()
    return Control(own), given
