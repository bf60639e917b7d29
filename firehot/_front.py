"""What the fronts share that start runs of `firehot` again and again: `--watch` and `serve`."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from firehot import _core, _daemons
from firehot.errors import FirehotError

_RECENT = 5.0
"""Seconds for which a file's own time is believed."""


def say(text: str) -> None:
    """A line for the user."""
    with suppress(OSError):
        os.write(2, f"firehot: {text}\n".encode(errors="backslashreplace"))


def stdin_modes() -> list[Any] | None:
    """The terminal's modes; `None` where stdin is none."""
    if not os.isatty(0):
        return None
    import termios

    with suppress(termios.error):
        return termios.tcgetattr(0)
    return None


def command_line() -> list[str]:
    """The command as it was given: by its script, which puts no folder of the project into `sys.path`, or by `-m`."""
    is_module = os.path.basename(sys.argv[0]) == "__main__.py"
    return [sys.executable, *(["-m", "firehot"] if is_module else [sys.argv[0]])]


def time_of(changed: list[Path]) -> float:
    """When the last of these was saved; now, where that can't be told."""
    now, times = time.time(), []
    for path in changed:
        with suppress(OSError):
            times.append(path.stat().st_mtime)
    last = max(times, default=now)
    return last if 0 <= now - last < _RECENT else now


def span(seconds: float) -> str:
    """A time for the user, in milliseconds below a second."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else _daemons.span(seconds)


def follow(request: dict[str, Any]) -> str:
    """Has the template follow the project, before anything runs: what that did, for the user."""
    began = time.monotonic()
    try:
        told = json.loads(_core.client_warm(request) or "{}")
    except (FirehotError, OSError) as error:
        return f"no template: {error}"
    if problem := told.get("problem") or told.get("failed"):
        return f"no template: {problem}"
    took = span(time.monotonic() - began)
    return {"layer": f"layer added in {took}", "template": f"template rebuilt in {took}"}.get(
        told.get("update", ""), "nothing to rebuild"
    )
