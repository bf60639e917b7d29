"""One audit hook for all that listen while imports run. It can't be taken away again, so it goes inert."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_LISTENERS: list[Callable[[str, tuple[Any, ...]], None]] = []


def add(listener: Callable[[str, tuple[Any, ...]], None]) -> None:
    """Tells `listener` of each audit event until `stop`. The first one installs the hook."""
    if not _LISTENERS:
        sys.addaudithook(_hook)
    _LISTENERS.append(listener)


def stop() -> None:
    """Nobody listens any more."""
    _LISTENERS.clear()


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for listener in _LISTENERS:
        listener(event, arguments)
