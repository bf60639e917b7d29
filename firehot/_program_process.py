"""What a program expects of its process, besides the interpreter: terminal, limits, signals, descriptors.

The standard streams come with the call; the rest is in `state["program"]`, see `_program`. Standard library only.
"""

from __future__ import annotations

import errno
import os
import signal
from typing import Any

from firehot import _process

IGNORED_BY_PYTHON = frozenset(int(getattr(signal, name)) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name))
"""Signals that every interpreter ignores."""


def take_terminal(path: str | None) -> None:
    """Leaves the template's session; the terminal, if any, becomes the controlling one of the new session."""
    os.setsid()
    if path is None:
        return
    import fcntl
    import termios

    fd = os.open(path, os.O_RDWR)  # Linux makes it the controlling terminal by this already.
    try:
        fcntl.ioctl(fd, termios.TIOCSCTTY, 0)
    finally:
        os.close(fd)


def apply_limits(program: dict[str, Any]) -> None:
    """Limits, affinity and priority, as far as they can be had: whoever asks knows what can't."""
    if limits := program.get("limits"):
        import resource

        for name, (soft, hard) in limits.items():
            number = getattr(resource, name)
            now = resource.getrlimit(number)[1]
            try:
                resource.setrlimit(number, (soft, hard))
            except (OSError, ValueError):
                resource.setrlimit(number, (soft if now == resource.RLIM_INFINITY else min(soft, now), now))
    if (affinity := program.get("affinity")) is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, affinity)
    if (nice := program.get("nice")) is not None and (more := nice - os.nice(0)) > 0:
        os.nice(more)


def hand_down(numbers: list[int], given: list[int]) -> bool:
    """Gives the caller's other descriptors the numbers that they have there.

    Returns:
        False where an import holds a file under one of these: it has lost it, so the program can't run here.

    Raises:
        OSError: One did not come, for want of room.
    """
    if len(given) != len(numbers):
        raise OSError(errno.EMFILE, f"{len(numbers) - len(given)} descriptors could not be handed on (ulimit -n)")
    is_free = not any(_is_open(number) for number in set(numbers).difference(given))
    left = list(given)
    for number in numbers:
        fd = left.pop(0)
        if fd == number:
            os.set_inheritable(number, True)
            continue
        if number in left:
            left[left.index(number)] = os.dup(number)
        os.dup2(fd, number, inheritable=True)
        os.close(fd)
    return is_free


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def restore_signals(ignored: list[int], ignored_before: frozenset[int]) -> None:
    """Signals that the template's parents ignored, and the caller does not, do what they do in a fresh process.

    The others are as the imports left them, or as the caller has them.
    """
    for number in ignored_before.difference(ignored, IGNORED_BY_PYTHON):
        if _process.is_ignored(number):
            handler = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            _process.set_handler(number, handler)
