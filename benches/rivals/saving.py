"""Saving a file of the project, and waiting until somebody has run the new code."""

from __future__ import annotations

import queue
import time
from pathlib import Path

from turns import Answer

_PART = Path("own") / "part.py"
_DEADLINE = 60.0


class Saver:
    """Writes `own/part.py` with a new value each time, as some editors do; `heard` is told what runs return."""

    def __init__(self) -> None:
        self._values: queue.SimpleQueue[tuple[object, int]] = queue.SimpleQueue()
        self._next = 1000

    def heard(self, value: object) -> None:
        self._values.put((value, time.perf_counter_ns()))

    def save(self) -> Answer:
        """Seconds from the save to the first run that returns the new value."""
        self._next += 1
        start = time.perf_counter_ns()
        # In place: jurigged does not see a file that takes the place of another.
        _PART.write_text(f"def answer():\n    return {self._next}\n")
        while True:
            value, at = self._values.get(timeout=_DEADLINE)
            if value == self._next:
                return {"result": (at - start) / 1e9}
