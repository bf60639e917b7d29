"""What imports ask of their process: environment variables by name, and the working directory. Standard library only.

Invariant: nobody can tell that it is watched. The methods of `os._Environ` and two functions of `os` are replaced while
imports run, and put back afterwards, unless somebody else has replaced them meanwhile; what an import has bound by name
in between is mended.
"""

from __future__ import annotations

import os
import sys
from _thread import get_ident
from collections.abc import ItemsView, KeysView, ValuesView
from types import FrameType
from typing import Any

_ENVIRON: Any = type(os.environ)
_GET = _ENVIRON.__getitem__
# These read every value, and name none.
_VIEWS = (ItemsView.__iter__.__code__, ValuesView.__iter__.__code__)
_PATHS = ("posixpath", "pathlib", "pathlib._local", "pathlib._abc")
_DROPS_THE_ANSWER = ("tempfile",)
"""Modules that ask for the working directory as a last resort only."""


class Questions:
    """Notes them from `start` to `stop`."""

    def __init__(self) -> None:
        self.variables: dict[str, None] = {}
        self.cwd_asked_by: str | None = None
        # By thread: the keys that a copy of the environment has yet to read, the next one last, and those it has read.
        self._copies: dict[int, tuple[list[Any], list[Any]]] = {}
        self._functions = {"getcwd": os.getcwd, "getcwdb": os.getcwdb}
        self._watched = {"getcwd": self._getcwd, "getcwdb": self._getcwdb}
        self._get: Any = None
        self._keys: Any = None

    def start(self) -> None:
        """Watches."""
        questions = self

        def __getitem__(environ: Any, key: Any) -> Any:
            questions._ask(key)
            return _GET(environ, key)

        def keys(environ: Any) -> Any:
            questions._copy(environ)
            return KeysView(environ)

        self._get, self._keys = __getitem__, keys
        _ENVIRON.__getitem__, _ENVIRON.keys = __getitem__, keys
        for name, function in self._watched.items():
            setattr(os, name, function)

    def stop(self, at_start: frozenset[str]) -> None:
        """Puts everything back, in modules that were loaded since `at_start` too."""
        if _ENVIRON.__dict__.get("__getitem__") is self._get:
            _ENVIRON.__getitem__ = _GET
        if _ENVIRON.__dict__.get("keys") is self._keys:
            del _ENVIRON.keys
        for name, watched in self._watched.items():
            if getattr(os, name, None) is watched:
                setattr(os, name, self._functions[name])
        for module in [module for name, module in list(sys.modules.items()) if name not in at_start]:
            names = namespace(module)
            for name, watched in self._watched.items():
                if names.get(name) is watched:
                    names[name] = self._functions[name]
        for ident in list(self._copies):
            self._end_copy(ident)

    def ask_for_cwd(self, by: str) -> None:
        """Something depends on the working directory."""
        self.cwd_asked_by = self.cwd_asked_by or by

    # -- the working directory -------------------------------------------------------------------

    def _getcwd(self) -> str:
        self._note_asker(sys._getframe(1))
        return self._functions["getcwd"]()  # type: ignore[return-value]

    def _getcwdb(self) -> bytes:
        self._note_asker(sys._getframe(1))
        return self._functions["getcwdb"]()  # type: ignore[return-value]

    def _note_asker(self, frame: FrameType | None) -> None:
        if self.cwd_asked_by is not None:
            return
        while frame is not None and frame.f_globals.get("__name__") in _PATHS:
            frame = frame.f_back
        asker = str(frame.f_globals.get("__name__", "?")) if frame is not None else "?"
        if asker not in _DROPS_THE_ANSWER:
            self.cwd_asked_by = asker

    # -- variables -------------------------------------------------------------------------------

    def _ask(self, key: Any) -> None:
        if sys._getframe(2).f_code in _VIEWS:
            return
        copy = self._copies.get(get_ident())
        if copy is not None:
            waiting, taken = copy
            if waiting and waiting[-1] == key:
                taken.append(waiting.pop())
                if not waiting:
                    self._copies.pop(get_ident(), None)
                return
            self._end_copy(get_ident())
        self._name(key)

    def _copy(self, environ: Any) -> None:
        """`dict(environ)` and its like take all keys, then each value in their order."""
        self._end_copy(get_ident())
        self._copies[get_ident()] = (list(_ENVIRON.__iter__(environ))[::-1], [])

    def _end_copy(self, ident: int) -> None:
        """It was no copy: what was taken for a part of one was a question."""
        _, taken = self._copies.pop(ident, (None, ()))
        for key in taken:
            self._name(key)

    def _name(self, key: Any) -> None:
        if isinstance(key, bytes):
            key = os.fsdecode(key)
        if isinstance(key, str):
            self.variables[key] = None


def namespace(module: object) -> dict[str, Any]:
    """A module's own names; empty for what is no ordinary module. Asks none of its code: a lazy one would be loaded."""
    try:
        names = object.__getattribute__(module, "__dict__")
    except AttributeError:
        return {}
    return names if type(names) is dict else {}
