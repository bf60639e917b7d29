"""Coverage of tests that run in forks: what a fork has measured goes to the process that reports it.

The data of `coverage` is a file that belongs to one process. In a fork it is in memory instead, and travels at the end.
"""

from __future__ import annotations

import sys
from typing import Any


def _current() -> Any:
    """The measurement that goes on, if there is one."""
    module = sys.modules.get("coverage")
    kind = getattr(module, "Coverage", None)
    return kind.current() if kind is not None else None


class Measured:
    """What forks have measured, in the process that they were forked from."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        """Keeps a part."""
        if part:
            self._parts.append(part)

    def merge(self) -> None:
        """Adds all of it to what this process has measured itself."""
        parts, self._parts = self._parts, []
        if not parts or (coverage := _current()) is None:
            return
        from coverage import CoverageData

        data = coverage.get_data()
        for part in parts:
            loaded = CoverageData(no_disk=True)
            loaded.loads(part)
            data.update(loaded)
            _close(loaded)


def _close(data: Any) -> None:
    """Closes what is in memory alone: from 3.13 on a connection that is dropped open is warned of."""
    try:
        data.close(force=True)
    except TypeError:  # An older one needs no force.
        data.close()


def enter_fork() -> None:
    """In a fork: from now on the measurement is its own."""
    coverage = _current()
    collector: Any = getattr(coverage, "_collector", None)
    if collector is None:
        return
    from coverage import CoverageData

    context = getattr(collector.covdata, "_current_context", None)
    data = CoverageData(no_disk=True)
    data.set_context(context)
    # What was there before the fork is told by the process that it was forked from.
    getattr(collector, "_clear_data", lambda: None)()
    coverage._data = collector.covdata = data


def of_fork() -> bytes:
    """What this fork has measured; nothing is measured from here on."""
    coverage = _current()
    if coverage is None or getattr(coverage, "_collector", None) is None:
        return b""
    coverage.stop()
    data = coverage.get_data()
    return bytes(data.dumps()) if data.measured_files() else b""
