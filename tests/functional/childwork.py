"""Functions that children run by name. Imports only the standard library, so that a child has it at once."""

from __future__ import annotations

import atexit
import importlib
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEPT: list[Any] = []


def double(value: int) -> int:
    return value * 2


def use(*names: str) -> dict[str, bool]:
    """Imports modules by name, as plug-ins are; says which were there before."""
    there = {name: name in sys.modules for name in names}
    for name in names:
        importlib.import_module(name)
    return there


def block() -> None:
    """Runs until it is stopped.

    Not by `signal.pause`: the Python handler of a signal that comes just before that call would wait for the next one.
    """
    while True:
        time.sleep(0.05)


def ignore_sigterm(ready: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(ready).touch()
    block()


def announce_and_block(ready: str) -> None:
    Path(ready).write_text(str(os.getpid()), "utf-8")
    block()


def wait_for(path: str, value: Any = None) -> Any:
    """Returns when a file exists."""
    deadline = time.monotonic() + 60
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.005)
    return value


def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)
    block()


def write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def raise_it(error: BaseException) -> None:
    raise error


def leave_a_file_at_exit(path: str) -> str:
    atexit.register(Path(path).write_text, "ran")
    return "returned"


@dataclass(frozen=True)
class Point:
    x: int
    y: int

    def moved(self, by: int) -> Point:
        return Point(self.x + by, self.y + by)

    @staticmethod
    def origin() -> Point:
        return Point(0, 0)

    @classmethod
    def diagonal(cls, at: int) -> Point:
        return cls(at, at)


class NeedsTwo(Exception):
    """Cannot be rebuilt from its args alone, as pickle does it."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code} because of {reason}")
        self.code = code
        self.reason = reason


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("this one stays at home")


def leave_files_behind(folder: str) -> str:
    """Leaves an exit function, an open file with unwritten text, and a thread that still works."""
    root = Path(folder)
    atexit.register((root / "exit-function").write_text, "ran")
    file = open(root / "open-file", "w")  # noqa: SIM115
    file.write("buffered")
    KEPT.append(file)

    def work() -> None:
        wait_for(str(root / "go"))
        (root / "thread").write_text("finished")

    threading.Thread(target=work).start()
    return "returned"


def daemonise() -> int:
    """Leaves a grandchild in a session of its own, which holds every descriptor of the child; returns its pid."""
    reader, writer = os.pipe()
    first = os.fork()
    if first == 0:
        os.setsid()
        second = os.fork()
        if second:
            os.write(writer, str(second).encode())
            os._exit(0)
        block()
    os.waitpid(first, 0)
    os.close(writer)
    pid = int(os.read(reader, 32))
    os.close(reader)
    return pid


def give(value: Any) -> Any:
    return value


class RebuildFails:
    """Raises while it is unpickled."""

    def __reduce__(self) -> Any:
        return divmod, (1, 0)


def speak(value: Any) -> Any:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            print("spoken", file=stream, flush=True)
    return value


def speak_and_block() -> None:
    print("early", flush=True)
    block()


def loaded_modules() -> list[str]:
    return list(sys.modules)


def handlers() -> dict[int, str]:
    """What each signal does: a number for default and ignored, else the handler's name."""
    found = {}
    for number in sorted(signal.valid_signals()):
        handler = signal.getsignal(number)
        found[int(number)] = getattr(handler, "__name__", None) or str(handler)
    return found


def tell_of_sigterm() -> None:
    """Says when it is asked to end, and does not."""
    # Not by `print`: the signal may come while the other one is still in its write, which may not be entered twice.
    signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"terminated\n"))
    print("ready", flush=True)
    block()


def clean_up_at_sigterm(ready: str, cleaned: str) -> None:
    """Takes its time to end."""

    def clean_up(*_: object) -> None:
        wait_for(ready)
        Path(cleaned).touch()
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, clean_up)
    Path(ready).touch()
    block()


def leave_a_writer(go: str, done: str) -> None:
    """Forks a process that outlives this one and writes when it is told to."""
    if os.fork() == 0:
        os.setsid()
        wait_for(go)
        os.write(1, b"still here\n")
        Path(done).touch()
        os._exit(0)


def fork_and_fail() -> int:
    """The exit code of a forked process that raises."""
    pid = os.fork()
    if pid == 0:
        raise ValueError("in the forked one")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def give_a_lambda() -> Any:
    """Something that pickle refuses."""
    return lambda: 3
