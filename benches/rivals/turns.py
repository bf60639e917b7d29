"""What every rival's process does: it obeys one command a line and answers with the seconds that it measured itself.

A rival is a script that calls `serve` with an object; its public methods are the commands. Runs in the interpreter of a
stack, so it imports the standard library only. The answers go where stdout was; whatever else writes there goes
to stderr.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import traceback
from typing import Any, Protocol

Answer = dict[str, Any]


class Rival(Protocol):
    """One way of running the project's function."""

    def open(self) -> Answer:
        """Makes it ready for `exec`."""

    def close(self) -> Answer:
        """Leaves no process."""


def serve(rival: Rival) -> None:
    """Obeys until stdin ends. A failure ends the process at once, whatever threads the rival has."""
    try:
        _serve(rival)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def _serve(rival: Rival) -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.set_inheritable(answers.fileno(), False)
    os.dup2(2, 1)
    commands = os.fdopen(os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    name = ""
    for line in commands:
        name, arguments = json.loads(line)
        answers.write(json.dumps(getattr(rival, name)(**arguments)) + "\n")
    if name not in ("", "close"):
        # Whoever measures was interrupted: no thread of the rival's keeps this process.
        rival.close()


class Held:
    """Keeps a child that runs `own.entry.hold`: after `wait` it has run the function, and it stays until `release`."""

    def __init__(self) -> None:
        self.path = os.path.join(tempfile.mkdtemp(), "hold")
        os.mkfifo(self.path)

    def wait(self) -> None:
        # Opening a FIFO waits for its other end.
        self._end = os.open(self.path, os.O_WRONLY)

    def release(self) -> None:
        os.close(self._end)
        shutil.rmtree(os.path.dirname(self.path))


def modules() -> list[str]:
    """The modules to preload, as the runner gave them."""
    return [name for name in sys.argv[1].split(",") if name]


def settings() -> dict[str, Any]:
    """What else the runner gave."""
    found: dict[str, Any] = json.loads(sys.argv[2])
    return found


def seconds(start: int) -> float:
    """Since `time.perf_counter_ns()` was `start`."""
    return (time.perf_counter_ns() - start) / 1e9


def check(result: object) -> None:
    """Every rival has to have run the same function."""
    if result != 42:
        raise AssertionError(f"the project's function returned {result!r}")
