"""What tests of spares run in children, by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def note(path: str) -> int:
    """Leaves a line for each time that it ran."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write("ran\n")
    return os.getpid()


def handlers_and_mask() -> tuple[bool, list[int], list[int]]:
    """Whether Ctrl-C is Python's own, what is blocked, and what is pending."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    return ours, sorted(map(int, blocked)), sorted(map(int, signal.sigpending()))


def interruptible(ready: str) -> str:
    """Ctrl-C is what it is in any run."""
    try:
        Path(ready).touch()
        while True:
            time.sleep(0.05)
    except KeyboardInterrupt:
        return "interrupted"


def descriptors() -> list[int]:
    """Those that are open, but for the one that lists them."""
    found = []
    for fd in range(1024):
        try:
            os.fstat(fd)
        except OSError:
            continue
        found.append(fd)
    return found
