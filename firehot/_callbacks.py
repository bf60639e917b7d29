"""What is called when a process has returned or ended: for asyncio, the executor and the notebook."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from firehot import _core

Until = Literal["reply", "end"]


@dataclass(frozen=True, slots=True, eq=False)
class _Callback:
    """What is called when a process has come so far."""

    ticket: _core.Ticket
    until: Until
    function: Callable[[], None]

    def is_due(self) -> bool:
        return self.ticket.wait(self.until, 0.0)


class Callbacks:
    """Those of one environment; for any thread."""

    def __init__(self) -> None:
        """None yet."""
        self._lock = threading.Lock()
        self._waiting: dict[int, list[_Callback]] = {}

    def add(self, ticket: _core.Ticket, until: Until, function: Callable[[], None]) -> None:
        """Calls a function when there is a reply (or the end), or the end; at once when that was before."""
        callback = _Callback(ticket, until, function)
        with self._lock:
            self._waiting.setdefault(ticket.id, []).append(callback)
            watched = ticket.watch(until)
        if not watched:
            self.run(ticket.id)

    def run(self, ident: int) -> None:
        """Calls what is due of the ticket with this id."""
        with self._lock:
            callbacks = self._waiting.pop(ident, [])
            later = [callback for callback in callbacks if not callback.is_due()]
            if later:
                self._waiting[ident] = later
        for callback in callbacks:
            if callback not in later:
                callback.function()
