"""What the daemon has done: its last runs, warm or cold and why, and lines for its log."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

_KEPT = 100
"""Runs that `firehot why` can tell of."""


@dataclass
class Run:
    """One run, as its client asked for it.

    Attributes:
        target: What ran.
        warm: Whether in a child of a template.
        reason: Why it was cold; how the template came to be where it was warm.
        began: Seconds since 1970.
        milliseconds: From the request to the process that has its call; `None` for a cold run.
        status: Exit status, or the negative number of the signal that ended it; `None` of a cold run and while it runs.
        saved: Seconds that the template's imports took, and this run did not need.
    """

    target: str
    warm: bool
    reason: str
    began: float = field(default_factory=time.time)
    milliseconds: float | None = None
    status: int | None = None
    saved: float = 0.0


class Journal:
    """The runs of one daemon."""

    def __init__(self) -> None:
        """Empty."""
        self._lock = threading.Lock()
        self._runs: deque[Run] = deque(maxlen=_KEPT)
        self._warm = self._cold = 0
        self._saved = 0.0

    def add(self, run: Run) -> None:
        """Notes a run that has begun."""
        with self._lock:
            self._runs.append(run)
            self._warm += run.warm
            self._cold += not run.warm
            self._saved += run.saved

    def totals(self) -> dict[str, Any]:
        """How many, and what they saved."""
        with self._lock:
            return {"runs": self._warm + self._cold, "warm": self._warm, "saved": self._saved}

    def last(self) -> list[dict[str, Any]]:
        """The last runs, the newest first."""
        with self._lock:
            return [asdict(run) for run in reversed(self._runs)]


def say(text: str) -> None:
    """A line in the log, if there is room on its disk."""
    with suppress(OSError):
        print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=sys.stderr, flush=True)
