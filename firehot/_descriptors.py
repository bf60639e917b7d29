"""Descriptors that appear while packages are imported, and which of them children must not share.

Harm: a socket or pipe whose bytes go to whoever reads first; a file offset that all writers move; an epoll set to which
all add. A file that is only read, or only appended to, and a socket without an address harm nobody. Standard library
only.
"""

from __future__ import annotations

import _socket
import fcntl
import os
import re
import stat
import sys
from posix import close, dup, fstat, listdir, readlink
from typing import Any, NamedTuple

_FOLDER = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
_F_GETPATH = 50
"""Of macOS."""
_WAITS = re.compile(r"anon_inode:\[?(eventpoll|eventfd|inotify|signalfd|timerfd|io_uring|fanotify)")
_DEVICES = ("/dev/nvidia", "/dev/kfd")
# Anonymous memory is shared by its mapping, not by its offset; libffi keeps such a file open for good.
_MEMORY = re.compile(r"/memfd:|/dev/shm/|.*/ffi\w{6} \(deleted\)$")


class Found(NamedTuple):
    """One new descriptor that children would share.

    Attributes:
        fd: The descriptor.
        kind: What it is, in words.
        detail: Address or path.
        is_harmless: Sharing it does no harm, but is worth telling.
        is_nameless: A pair of sockets or a pipe inside this process.
    """

    fd: int
    kind: str
    detail: str
    is_harmless: bool = False
    is_nameless: bool = False


class Watch:
    """Knows which descriptors there were."""

    def __init__(self) -> None:
        self._own = frozenset(fd for fd in _numbers() if _is_open(fd))
        self._known: dict[int, str] = {}
        self.appends = False

    def new(self) -> list[Found]:
        """What has been opened since the last call and is open still."""
        numbers = [fd for fd in _numbers() if fd not in self._own]
        if not numbers and not self._known:
            return []
        known, self._known = self._known, {}
        found = []
        for fd in numbers:
            try:
                target = _target(fd)
                if known.get(fd) != target and (item := _judge(fd, target)) is not None:
                    found.append(item)
                    self.appends |= item.kind == "append-only file"
            except OSError:
                continue  # The descriptor of the listing itself, mostly.
            self._known[fd] = target
        return found

    def counts(self) -> dict[str, int]:
        """How many sockets and descriptors there are more than at the start."""
        self.new()
        sockets = sum(target.startswith("socket:") for target in self._known.values())
        return {"sockets": sockets, "fds": len(self._known)}


def _numbers() -> list[int]:
    return [int(name) for name in listdir(_FOLDER)]


def _is_open(fd: int) -> bool:
    """Not the descriptor of the listing that named it."""
    try:
        fstat(fd)
    except OSError:
        return False
    return True


def _target(fd: int) -> str:
    """Names what is open: as `/proc` does, and elsewhere by file or number."""
    if sys.platform == "linux":
        return readlink(f"{_FOLDER}/{fd}")
    status = fstat(fd)
    if stat.S_ISSOCK(status.st_mode):
        return f"socket:[{status.st_ino}]"
    if stat.S_ISFIFO(status.st_mode):
        return f"pipe:[{status.st_ino}]"
    if stat.S_IFMT(status.st_mode) == 0:
        return "anon_inode:eventpoll"  # A kqueue has no type.
    try:
        return os.fsdecode(fcntl.fcntl(fd, _F_GETPATH, bytes(1024)).rstrip(b"\0"))
    except OSError:
        return f"inode {status.st_ino}"


def _judge(fd: int, target: str) -> Found | None:
    if target.startswith("socket:"):
        return _judge_socket(fd)
    if target.startswith("pipe:"):
        return Found(fd, "pipe", f"descriptor {fd}", is_nameless=True)
    if found := _WAITS.match(target):
        loop = getattr(sys.modules.get("asyncio.events"), "_event_loop_policy", None)
        has_loop = getattr(getattr(loop, "_local", None), "_loop", None) is not None
        return Found(fd, "event loop", f"asyncio's, on {found[1]}" if has_loop else found[1])
    if target.startswith(_DEVICES):
        return Found(fd, "CUDA context", target)
    if _MEMORY.match(target) or not stat.S_ISREG(fstat(fd).st_mode):
        return None
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if flags & os.O_ACCMODE == os.O_RDONLY:
        return None
    if flags & os.O_APPEND:
        return Found(fd, "append-only file", target, is_harmless=True)
    return Found(fd, "file open for writing", target)


def _judge_socket(fd: int) -> Found | None:
    copy = dup(fd)
    try:
        socket = _socket.socket(fileno=copy)
    except OSError:
        close(copy)
        return None
    try:
        address: Any = _own_address(socket)
        if _option(socket, "SO_ACCEPTCONN"):
            return Found(fd, "listening socket", _show(address))
        try:
            peer = socket.getpeername()
        except OSError:
            # Without an address nothing reaches it. Netlink gives one to each socket that is used.
            bound = isinstance(address, tuple) and len(address) > 1 and bool(address[1])
            return Found(fd, "bound socket", _show(address)) if bound or _is_path(address) else None
        nameless = not peer and not address
        return Found(fd, "connected socket", _show(peer or address), is_nameless=nameless)
    finally:
        socket.close()


def _own_address(socket: _socket.socket) -> Any:
    try:
        return socket.getsockname()
    except OSError:
        return None


def _option(socket: _socket.socket, name: str) -> bool:
    number = getattr(_socket, name, None)
    try:
        return number is not None and bool(socket.getsockopt(_socket.SOL_SOCKET, number))
    except OSError:
        return False


def _is_path(address: Any) -> bool:
    return isinstance(address, (str, bytes)) and bool(address)


def _show(address: Any) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        host, port, *_ = address
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(address, bytes):
        return "@" + address.lstrip(b"\0").decode("utf-8", "replace")
    return str(address) if address else "a pair inside this process"
