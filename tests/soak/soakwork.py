"""What the children of the soak do; run by name. Standard library only, so that a child has it at once."""

from __future__ import annotations

import atexit
import os
import resource
import signal
import socket
import stat
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn


def double(value: int) -> int:
    return value * 2


def give(value: Any) -> Any:
    return value


def block() -> NoReturn:
    """Runs until it is stopped."""
    while True:
        signal.pause()


def announce_and_block(folder: str) -> NoReturn:
    """Makes a file that carries its pid, then runs until it is stopped."""
    announce(folder)
    block()


def tell_template_and_block(path: str) -> NoReturn:
    """Writes the pid of the template that it runs in, then blocks: another call may get another template."""
    part = Path(f"{path}.part")
    part.write_text(str(os.getppid()), "utf-8")
    part.rename(path)
    block()


def told_template(path: str) -> int:
    """What `tell_template_and_block` wrote, for the next one to write again."""
    wait_for(path)
    template = int(Path(path).read_text("utf-8"))
    Path(path).unlink()
    return template


def announce(folder: str) -> None:
    (Path(folder) / str(os.getpid())).touch()


def wait_for(path: str, value: Any = None) -> Any:
    """Returns when a file exists."""
    deadline = time.monotonic() + 600
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.01)
    return value


def announce_and_wait_for(folder: str, go: str, value: Any) -> Any:
    announce(folder)
    return wait_for(go, value)


def work(seconds: float) -> str:
    """Returns after a while, if it is let."""
    time.sleep(seconds)
    return "worked"


# -- children that misbehave -----------------------------------------------------------------------


def fork_a_family(folder: str) -> NoReturn:
    """Forks grandchildren and great-grandchildren, as a pool does; all of them run until they are stopped."""
    for _ in range(3):
        if os.fork() == 0:
            os.fork()
            announce_and_block(folder)
    announce_and_block(folder)


def daemonise(folder: str) -> int:
    """Leaves a process in a session of its own, which holds every descriptor of the child; returns its pid."""
    reader, writer = os.pipe()
    if (first := os.fork()) == 0:
        os.setsid()
        if second := os.fork():
            os.write(writer, str(second).encode())
            os._exit(0)
        announce_and_block(folder)
    os.waitpid(first, 0)
    os.close(writer)
    pid = int(os.read(reader, 32))
    os.close(reader)
    return pid


def close_everything_and_block(folder: str) -> NoReturn:
    announce(folder)
    os.closerange(0, 4096)
    block()


def close_everything_and_return() -> str:
    os.closerange(0, 4096)
    return "nobody hears of this"


def exhaust_memory() -> int:
    """Allocates until there is no more."""
    held = 64 << 20
    with open("/proc/self/statm", encoding="ascii") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + held, used + held))
    blocks = []
    while True:
        blocks.append(bytearray(1 << 20))


def fill_its_pipe(folder: str) -> NoReturn:
    """Writes without end, and reads nothing."""
    line = b"x" * 4095 + b"\n"
    os.write(1, line)
    announce(folder)
    while True:
        os.write(1, line)


def stop_itself(folder: str) -> str:
    announce(folder)
    os.kill(os.getpid(), signal.SIGSTOP)
    return "went on"


def ignore_sigterm(folder: str) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    announce_and_block(folder)


def children_of_mine() -> int:
    """How many processes the template of this child has as children."""
    parent = os.getppid()
    count = 0
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        count += int(fields[1]) == parent
    return count


# -- children that speak out of turn ---------------------------------------------------------------


def own_socket() -> socket.socket:
    """A copy of the private socket of this child: its only one."""
    (found,) = (fd for fd in range(3, 1024) if is_socket(fd))
    return socket.socket(fileno=os.dup(found))


def is_socket(fd: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(fd).st_mode)
    except OSError:
        return False


def frame(header: bytes, body: bytes = b"") -> bytes:
    return struct.pack("<II", len(header), len(body)) + header + body


def send_and_return(data: bytes) -> str:
    """Sends bytes of its own before the outcome."""
    own_socket().sendall(data)
    return "returned"


def send_and_block(data: bytes) -> NoReturn:
    with suppress(OSError):
        own_socket().sendall(data)
    block()


def send_and_exit(data: bytes, code: int) -> NoReturn:
    own_socket().sendall(data)
    os._exit(code)


def send_at_exit(data: bytes) -> str:
    """Sends bytes of its own after the outcome."""
    atexit.register(own_socket().sendall, data)
    return "returned"


def send_from_a_daemon(data: bytes, go: str, done: str) -> str:
    """Leaves a process that sends on the child's socket when the child is no more."""
    sock = own_socket()
    if os.fork() == 0:
        wait_for(go)
        with suppress(OSError):
            sock.sendall(data)
        Path(done).touch()
        os._exit(0)
    return "returned"


def send_descriptors(count: int) -> str:
    """Sends open descriptors along: none of them may stay open in the host."""
    sock = own_socket()
    null = os.open(os.devnull, os.O_RDONLY)
    header = frame(b'{"type":"returned","type_name":"builtins.int"}', b"\x80\x05K\x07.")
    socket.send_fds(sock, [header], [null] * count)
    return "too late"


def descriptors() -> dict[int, str]:
    """What this child has open."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except OSError:
            continue
    return found


def write_raw(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def raise_it(text: str) -> NoReturn:
    raise LookupError(text)


def note_and_double(path: str, value: int) -> int:
    """Leaves a line for each time that it runs."""
    with open(path, "a", encoding="utf-8") as file:
        file.write("ran\n")
    return value * 2
