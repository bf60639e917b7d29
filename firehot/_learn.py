"""What a child imports itself, and how long that took: told to the host, so that a later template has it.

The import system holds a lock for each module that it imports, from before it looks for it until it is loaded. The two
methods that begin and end this are replaced: so no frame of firehot stands in a traceback, none is on the stack while a
module runs, and nothing is imported for it. That costs half a microsecond an import.

Invariant: what goes wrong here is nobody's concern. The run has told its outcome before anything is sent.

Standard library only.
"""

from __future__ import annotations

import os
import re
import sys
from _thread import get_ident
from collections.abc import Callable, Iterator
from importlib import _bootstrap
from importlib.machinery import ModuleSpec
from posix import fstat, getpid
from time import perf_counter_ns
from typing import Any, TypeAlias

from firehot import _wire
from firehot._questions import namespace

_LOCKS = ("_ModuleLockManager", "_HierarchicalLockManager")
"""The second one is there from 3.15 on, for dotted names."""
_MOST = 5_000
"""Modules that one message tells of, at most."""
_NOT_TOLD = re.compile(r"__(mp_)?main__|firehot(\.|$)").match

Ended: TypeAlias = tuple[str, int, int, int]
"""An import that has ended: module, begin and end in nanoseconds, thread."""
_ended: list[Ended] = []
_plain: dict[Any, tuple[Callable[..., None], Callable[..., None]]] = {}
"""The locks whose methods are replaced, with those that they came with."""
_loaded = sys.modules


# -- in the template -----------------------------------------------------------------------------


def watch(note: Callable[[Ended], None] = _ended.append) -> None:
    """From now on, imports of this process and its forks are noted; by this, if they are not for a child to tell."""
    unwatch()
    for name in _LOCKS:
        lock: Any = getattr(_bootstrap, name, None)
        if lock is not None:
            _plain[lock] = lock.__init__, lock.__exit__
            lock._began = 0
            lock.__init__, lock.__exit__ = _timed(lock.__init__, lock.__exit__, note)
    _ended.clear()


def unwatch() -> None:
    """Imports that begin from now on are not noted."""
    for lock, methods in _plain.items():
        lock.__init__, lock.__exit__ = methods
    _plain.clear()


def _timed(
    begin: Callable[..., None], end: Callable[..., None], note: Callable[[Ended], None]
) -> tuple[Callable[..., None], Callable[..., None]]:
    clock, thread, loaded = perf_counter_ns, get_ident, _loaded
    names = begin.__code__.co_names, end.__code__.co_names
    if names == (("_name", "_lock"), ("_lock", "release")):
        # The same without calls of what is replaced: half of the cost.
        def init(self: Any, name: str) -> None:
            self._name = name
            self._lock = None
            self._began = 0 if name in loaded else clock()

        def leave(self: Any, *args: Any, **kwargs: Any) -> None:
            try:
                if self._began and (not args or args[0] is None):
                    note((self._name, self._began, clock(), thread()))
            finally:
                self._lock.release()

        return _hidden(init, "__init__"), _hidden(leave, "__exit__")

    def __init__(self: Any, name: str) -> None:
        begin(self, name)
        # The lock is also taken for a module that is there: to see whether it is complete, or to load it again.
        self._began = 0 if name in loaded else clock()

    def __exit__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            if self._began and (not args or args[0] is None):
                note((self._name, self._began, clock(), thread()))
        finally:
            end(self, *args, **kwargs)

    return _hidden(__init__, "__init__"), _hidden(__exit__, "__exit__")


def _hidden(function: Callable[..., None], name: str) -> Callable[..., None]:
    """An interrupt may fall into it: Python leaves its own import system out of what it shows."""
    function.__code__ = function.__code__.replace(co_filename="<frozen importlib._bootstrap>", co_name=name)
    return function


# -- in the child --------------------------------------------------------------------------------


class Teller:
    """Tells the host what this child has imported."""

    def __init__(self, sock: int, path: list[str]) -> None:
        """`sock` is the child's private socket, `path` what `sys.path` is when the call begins."""
        self._sock = sock
        self._file = fstat(sock)
        self._path = path
        self._pid = getpid()
        self._known: set[str] = set()
        _ended.clear()

    def tell(self) -> None:
        """Sends what has been imported since the last time, if anything has; a fork of the child sends nothing."""
        if not _ended or self._pid != getpid():
            return
        sock, self._sock = self._sock, -1
        try:
            # The call may have closed it, and opened a file of its own there.
            if sock < 0 or not os.path.samestat(fstat(sock), self._file):
                return
            if modules := list(self._describe()):
                _wire.send(sock, {"type": "imported", "modules": modules})
        except (Exception, RecursionError):
            return
        # After half a message nothing more can be said.
        self._sock = sock

    def _describe(self) -> Iterator[list[Any]]:
        places = _Places(self._path)
        ended = _ended[:]
        del _ended[: len(ended)]
        for name, own, total in sorted_by_begin(ended)[:_MOST]:
            # One that is gone again, or was made by hand, is nothing that an import of its name would give.
            spec = namespace(_loaded.get(name)).get("__spec__")
            if type(spec) is not ModuleSpec or spec.name != name or name in self._known or _NOT_TOLD(name):
                continue
            self._known.add(name)
            if (file := spec.origin) in ("built-in", "frozen"):
                yield [name, None, own // 1000, total // 1000]
            elif spec.has_location and type(file) is str and places.are_common(file):
                # Each byte of it is one character.
                text = file if file.isascii() else os.fsencode(file).decode("latin-1")
                yield [name, text, own // 1000, total // 1000]


class _Places:
    """Whether another process with the path that this one began with would find a file, too."""

    def __init__(self, path: list[str]) -> None:
        at_start = [os.path.abspath(entry) for entry in path if type(entry) is str]
        added = [os.path.abspath(entry) for entry in sys.path if type(entry) is str and entry not in path]
        # What a finder of its own has brought lies below none of these: an editable install does, and so does what
        # is made for this run alone.
        temporary = [os.path.realpath(os.environ.get("TMPDIR") or "/tmp"), "/tmp", "/var/tmp"]
        entries = dict.fromkeys((*temporary, *added), False) | dict.fromkeys(at_start, True)
        self._entries = sorted(((_with_end(entry), common) for entry, common in entries.items()), key=_longest_first)
        self._known: dict[str, bool] = {}

    def are_common(self, file: str) -> bool:
        folder = file[: file.rfind(os.sep) + 1]
        found = self._known.get(folder)
        if found is None:
            # The longest entry is the one that it was found in.
            covering = (common for entry, common in self._entries if folder.startswith(entry))
            found = self._known[folder] = os.path.isabs(folder) and next(covering, True)
        return found


def _with_end(folder: str) -> str:
    return folder if folder.endswith(os.sep) else folder + os.sep


def _longest_first(entry: tuple[str, bool]) -> int:
    return -len(entry[0])


def sorted_by_begin(ended: list[Ended]) -> list[tuple[str, int, int]]:
    """Modules in the order in which their imports began: name, nanoseconds without and with what they imported."""
    found: list[tuple[int, str, int, int]] = []
    open_ones: dict[int, list[tuple[int, int]]] = {}
    for name, began, end, thread in ended:
        # An inner import ends before the outer one, in the same thread: those that began later are its own.
        inner = open_ones.setdefault(thread, [])
        total, nested = end - began, 0
        while inner and inner[-1][0] >= began:
            nested += inner.pop()[1]
        inner.append((began, total))
        found.append((began, name, max(total - nested, 0), total))
    found.sort()
    return [(name, own, total) for _, name, own, total in found]
