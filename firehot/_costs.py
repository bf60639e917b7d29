"""What each module of a preload costs: its time, how much the template grows meanwhile, and whose import it is part of.

The ends of imports are noted by `_learn`, in whose locks no frame of firehot stands while a module runs. How large the
process is, is asked at each end only, which is half of the cost: what an import allocates before its own imports counts
for the first of these. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable
from posix import pread
from typing import Any, TypeAlias

from firehot import _learn

Cost: TypeAlias = list[Any]
"""Microseconds without what it imported and with it, bytes, and the module during whose import its own began."""

_NOTHING: Cost = [0, 0, 0, None]


class Costs:
    """Of one preload, from its making to `close`."""

    def __init__(self, sizes: int, page: int) -> None:
        """Imports are noted from here on.

        Args:
            sizes: `/proc/self/statm`, opened; negative where there is none.
            page: Bytes of a page.
        """
        self._page = page
        self._ended: list[tuple[_learn.Ended, bytes]] = []
        self._high = _pages(_sample(sizes))
        _learn.watch(_noting(self._ended, sizes))

    def take(self, modules: list[list[str | None]]) -> list[Cost]:
        """The costs of these, of the imports that have ended since the last call."""
        ended = self._ended[:]
        del self._ended[: len(ended)]
        found: dict[str, Cost] = {}
        open_ones: dict[int, list[tuple[int, int, str]]] = {}
        for (name, began, end, thread), sample in ended:
            inner = open_ones.setdefault(thread, [])
            total, nested, beside = end - began, 0, []
            # What began later ended as a part of this one.
            while inner and inner[-1][0] >= began:
                each = inner.pop()
                nested += each[1]
                if name.startswith(f"{each[2]}."):
                    beside.append(each)  # importlib loads a package within the import of its submodule.
                else:
                    found[each[2]][3] = name
            own = max(0, total - nested)
            total -= sum(each[1] for each in beside)
            inner += [*reversed(beside), (began, total, name)]
            size = _pages(sample)
            found[name] = [own // 1000, total // 1000, max(0, size - self._high) * self._page, None]
            self._high = max(self._high, size)
        return [found.get(name or "", _NOTHING) for name, *_ in modules]

    @staticmethod
    def close() -> None:
        """Imports are noted no more."""
        _learn.unwatch()


def _noting(ended: list[tuple[_learn.Ended, bytes]], sizes: int) -> Callable[[_learn.Ended], None]:
    append, read = ended.append, pread
    if sizes < 0:
        return lambda each: append((each, b""))

    def note(each: _learn.Ended) -> None:
        try:
            append((each, read(sizes, 64, 0)))
        except OSError:  # An import may close what it does not know.
            append((each, b""))

    return note


def _sample(sizes: int) -> bytes:
    try:
        return pread(sizes, 64, 0) if sizes >= 0 else b""
    except OSError:
        return b""


def _pages(sample: bytes) -> int:
    """Those that are resident."""
    try:
        return int(sample.split(None, 2)[1])
    except (IndexError, ValueError):
        return 0
