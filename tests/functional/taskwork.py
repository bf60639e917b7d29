"""What tasks of an executor run by name. Imports the standard library and no more, so that a child has it at once."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

import childwork  # The same.

KEPT: list[Any] = []


def kept() -> list[Any]:
    """What was left in this process."""
    return KEPT


class Plain:
    """Can be referred to weakly."""

    def __init__(self, value: int) -> None:
        self.value = value


def return_before_the_end(go: str) -> Plain:
    """Returns at once; the process ends when that file is there."""
    atexit.register(childwork.wait_for, go, None)
    return Plain(1)


class RebuildExits:
    """Ends the process while it is unpickled, if that is let."""

    def __reduce__(self) -> Any:
        return sys.exit, (1,)


def keep_and_count(value: Any) -> int:
    """How often this was called in this process."""
    KEPT.append(value)
    return len(KEPT)


def own_pid(*_: object) -> int:
    return os.getpid()
