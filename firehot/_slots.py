"""The daemon's templates: at most four, and which of them a run takes. What one of them does is `_slot`'s."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from firehot import _background, _targets
from firehot._request import Request
from firehot._slot import Slot

MOST = 4
"""Templates that a daemon keeps; the one that was used least recently goes first."""
_VARIANTS = 2
"""Of these, for one program: where its imports have read variables that callers set in different ways."""
_PATIENCE = 10.0
"""Seconds after which a template that could not be built is tried again."""


class Slots:
    """All of them."""

    def __init__(self, root: str, folder: str) -> None:
        """None yet.

        Args:
            root: The project's folder.
            folder: For files that live as long as the daemon.
        """
        self._root = root
        self._folder = folder
        self._lock = threading.Lock()
        self._all: list[Slot] = []

    def of(self, request: Request) -> list[Slot]:
        """Those of this program, the last used first."""
        wanted = _targets.identity(request, self._root)
        with self._lock:
            found = [slot for slot in self._all if slot.identity == wanted]
        return sorted(found, key=lambda slot: slot.used, reverse=True)

    def all(self) -> list[Slot]:
        """Every one."""
        with self._lock:
            return list(self._all)

    def add(self, request: Request) -> Slot:
        """Begins to build a template for this program, in the place of the one that is needed least."""
        slot = Slot(request, self._root, self._folder)
        with self._lock:
            by_age = sorted(self._all, key=lambda slot: slot.used)
            same = [other for other in by_age if other.identity == slot.identity]
            leaving = same[: max(0, len(same) - _VARIANTS + 1)]
            left = [other for other in by_age if other not in leaving]
            leaving += left[: max(0, len(left) - MOST + 1)]
            self._all = [other for other in self._all if other not in leaving] + [slot]
        for other in leaving:
            other.retire()
        try:
            _background.start(slot.open, (), name="firehot-open")
        except RuntimeError as error:
            slot.fail(str(error))
        return slot

    def drop(self, slot: Slot) -> None:
        """Forgets one that is of no use."""
        with self._lock:
            self._all = [other for other in self._all if other is not slot]
        slot.retire()

    def close(self) -> None:
        """Ends them all."""
        closing: list[Callable[[], None]] = [slot.close for slot in self.all()]
        threads = []
        for close in closing:
            try:
                threads.append(_background.start(close, (), name="firehot-close"))
            except RuntimeError:
                close()
        for thread in threads:
            thread.join()


def is_due(slot: Slot) -> bool:
    """Whether a template that could not be built is worth another try."""
    return slot.failed is not None and time.monotonic() - slot.used > _PATIENCE
