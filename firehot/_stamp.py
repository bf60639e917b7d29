"""What a template depends on, recorded while it preloads; compared by the host before each fork (`src/stamp`).

Invariant: what is recorded of a file is its state *before* it was read. An edit that falls between the two is then seen
as a change that was not needed, never missed. What could only be looked at after it was read (shared objects, modules
of the interpreter's own start) is trusted when it was last changed before the process was started.

Standard library only.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from importlib.machinery import SourceFileLoader
from posix import listdir
from stat import S_ISDIR, S_ISREG
from types import FrameType
from typing import Any

from firehot import _audit

_NOT_FILES = ("/proc/", "/sys/", "/dev/")
_COARSE_CLOCK = 5
"""CLOCK_REALTIME_COARSE of Linux: what file systems stamp files with; CPython has no name for it."""
_SECOND = 1_000_000_000
_BULK_CALLERS = ("tempfile",)
"""Modules that ask for the working directory as a last resort, and drop the answer."""


class Recorder:
    """Collects what the imports depend on, from `start` to `stop`."""

    def __init__(self, launched: int) -> None:
        """`launched` is the time, in nanoseconds of the wall clock, before the process was started."""
        self._launched = launched
        self._path: list[str] = []
        self._tick = _tick()
        self._files: dict[str, list[int] | None] = {}
        self._written: set[str] = set()
        self._listings: dict[str, list[Any]] = {}
        self._missing: dict[tuple[str, str], None] = {}
        self._variables: dict[str, None] = {}
        # Module -> who imported it, and its file: also of those that somebody takes out of `sys.modules` again.
        self._importers: dict[str, tuple[str | None, str]] = {}
        self._new_files: list[str] = []
        self._new_names: list[str] = []
        self._at_start = frozenset(sys.modules)
        self._reported = set(self._at_start)
        self._path_stats = SourceFileLoader.path_stats
        self._getcwd = os.getcwd
        self._cwd_asked_by: str | None = None
        self._recording = False

    # -- start and stop --------------------------------------------------------------------------

    def start(self) -> None:
        """From here on everything counts."""
        recorder = self
        self._path = list(sys.path)

        def path_stats(loader: SourceFileLoader, path: str) -> Mapping[str, float]:
            status = os.stat(path)
            recorder._note(path, recorder._state(status))
            if loader.name not in recorder._importers:
                recorder._importers[loader.name] = _importer(sys._getframe(1)), path
                recorder._new_names.append(loader.name)
            return {"mtime": status.st_mtime, "size": status.st_size}

        SourceFileLoader.path_stats = path_stats  # type: ignore[method-assign, assignment]
        _watch_environ(self._variables)
        os.getcwd = self._watched_getcwd
        _audit.add(self._hear_open, "open")
        _audit.add(self._hear_listing, "os.listdir", "os.scandir")
        _audit.add(self._hear_change, "os.rename", "os.remove", "os.truncate")
        self._recording = True

    def stop(self) -> None:
        """Leaves everything as it was; what imports bound in between is mended."""
        self._recording = False
        SourceFileLoader.path_stats = self._path_stats  # type: ignore[method-assign]
        _unwatch_environ()
        wrapper, os.getcwd = os.getcwd, self._getcwd
        for name in [name for name in sys.modules if name not in self._at_start]:
            namespace = getattr(sys.modules[name], "__dict__", None)
            if type(namespace) is dict and namespace.get("getcwd") is wrapper:
                namespace["getcwd"] = self._getcwd

    def _note(self, path: str, state: list[int] | None) -> None:
        if path not in self._files:
            self._files[path] = state
            self._new_files.append(path)

    def _watched_getcwd(self) -> str:
        if self._cwd_asked_by is None:
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and frame.f_globals.get("__name__") in ("posixpath", "pathlib", "pathlib._local"):
                frame = frame.f_back
            asked = frame.f_globals.get("__name__", "?") if frame is not None else "?"
            if asked not in _BULK_CALLERS:
                self._cwd_asked_by = str(asked)
        return self._getcwd()

    # Audit events come before what they tell of.

    def _absolute(self, path: object) -> str | None:
        """A path that an event names; `None` for a descriptor, or for what is no file."""
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not self._recording or type(path) is not str or path.startswith(_NOT_FILES):
            return None
        if os.path.isabs(path):
            return path
        self._cwd_asked_by = self._cwd_asked_by or f"the lookup of {path}"
        return os.path.join(self._getcwd(), path)

    def _hear_open(self, _: str, arguments: tuple[Any, ...]) -> None:
        given, _, flags = arguments
        if type(given) is str and given.endswith(".pyc") and f"{os.sep}__pycache__{os.sep}" in given:
            return  # Its source was recorded; a file of this kind that is not true to it is not used (`_bytecode.py`).
        path = self._absolute(given)
        if path is None or type(flags) is not int:
            return
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self._written.add(path)
        elif path not in self._files:
            self._note(path, self._state_of(path))

    def _hear_listing(self, _: str, arguments: tuple[Any, ...]) -> None:
        if _is_of_importlib(sys._getframe(2)):
            return  # It lists every folder of the path; what is installed there is compared by the host.
        path = self._absolute("." if arguments[0] is None else arguments[0])
        if path is not None and path not in self._listings:
            try:
                status, names = os.stat(path), listdir(path)
            except OSError:
                return
            state = self._state(status)
            self._listings[path] = [state[1], state[3], state[4], [_text(name) for name in sorted(names)]]

    def _hear_change(self, _: str, arguments: tuple[Any, ...]) -> None:
        for given in arguments[:2]:
            if (path := self._absolute(given)) is not None:
                self._written.add(path)

    # -- what is asked while it goes on ----------------------------------------------------------

    def failed(self, error: BaseException) -> None:
        """An import failed: when it was for a missing module, its coming counts."""
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        if not name:
            return
        parent, _, stem = name.rpartition(".")
        places = getattr(sys.modules.get(parent), "__path__", ()) if parent else sys.path
        for place in list(places):
            if isinstance(place, str):
                self._missing[os.path.join(self._getcwd(), place), stem] = None

    def new_files(self) -> list[list[Any]]:
        """The files that were read since the last call, each with its state before that."""
        new, self._new_files = self._new_files, []
        return [[_text(path), self._files[path]] for path in new]

    def new_modules(self) -> list[list[str | None]]:
        """Modules that were loaded since the last call: name, file, who imported it."""
        names: list[str] = []
        for name in reversed(sys.modules):
            if name in self._reported:
                break  # New ones stand at the end.
            names.append(name)
        names.reverse()
        # A module may be gone from `sys.modules` already.
        found = [name for name in dict.fromkeys((*names, *self._new_names)) if name not in self._reported]
        self._new_names.clear()
        self._reported.update(found)
        return [self._describe(name) for name in found]

    def _describe(self, name: str) -> list[str | None]:
        importer, path = self._importers.get(name, (None, None))
        return [name, _text(os.path.abspath(path)) if path is not None else _file_of(name), importer]

    def start_modules(self) -> list[list[str | None]]:
        """Modules that the interpreter's own start loaded from outside its library: `sitecustomize` and the like."""
        library = os.path.dirname(os.__file__) + os.sep
        found = [(name, _file_of(name)) for name in self._at_start]
        return [
            [name, file, None]
            for name, file in sorted(found)
            if file is not None
            and name.partition(".")[0] not in ("firehot", "__main__")
            and not _is_below(file, library)
        ]

    # -- the result ------------------------------------------------------------------------------

    def body(self) -> bytes:
        """What the messages of the imports have not told, as `src/stamp` reads it."""
        self._add_what_was_not_seen()
        self._ask_for_relative_entries()
        stamp = {
            "files": self.new_files(),
            "written": [_text(path) for path in self._written],
            "listings": [[_text(path), *state] for path, state in self._listings.items()],
            "missing": [[_text(place), _text(stem)] for place, stem in self._missing],
            "variables": [_text(name) for name in self._variables],
            "cwd": self._cwd_asked_by,
        }
        return json.dumps(stamp, separators=(",", ":")).encode("ascii")

    def _add_what_was_not_seen(self) -> None:
        paths: dict[str, None] = {}
        for name in list(sys.modules):
            if name.partition(".")[0] != "firehot" or name in self._importers:
                path = getattr(getattr(sys.modules[name], "__spec__", None), "origin", None)
                if isinstance(path, str) and os.path.isabs(path):
                    paths[path] = None
        for path in (*paths, *_mapped_files()):
            archive = path if path in self._files else _archive_of(path)
            self._note(archive, self._state_after(archive))

    def _ask_for_relative_entries(self) -> None:
        """Where an entry of the path hangs on the working directory, so do the modules that came from there."""
        if self._cwd_asked_by is not None or all(os.path.isabs(entry) for entry in self._path):
            return
        cwd = self._getcwd()
        entries = {os.path.normpath(os.path.join(cwd, entry)): entry for entry in self._path}
        for path in self._files:
            folder = os.path.dirname(path)
            while folder not in entries and len(folder) > 1:
                folder = os.path.dirname(folder)
            if folder in entries and not os.path.isabs(entries[folder]):
                self._cwd_asked_by = f"the entry {entries[folder]!r} of sys.path"
                return

    def _state_of(self, path: str) -> list[int] | None:
        try:
            status = os.stat(path)
        except OSError:
            return None
        if S_ISDIR(status.st_mode) or not S_ISREG(status.st_mode):
            self._written.add(path)  # Not a file whose content could be compared.
        return self._state(status)

    def _state(self, status: os.stat_result) -> list[int]:
        """Size, mtime, inode, and whether it changed so short a time ago that another change may leave no trace.

        A file system stamps a change with the last tick of a clock: two changes within one tick look alike.
        """
        tick = self._tick if status.st_ctime_ns % _SECOND else 2 * _SECOND
        young = abs(time.time_ns() - status.st_ctime_ns) <= tick
        return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, int(young)]

    def _state_after(self, path: str) -> list[int] | None:
        """For what was read before anybody could look: it must be older than the process."""
        try:
            status = os.stat(path)
        except OSError:
            return None
        tick = self._tick if status.st_ctime_ns % _SECOND else 2 * _SECOND
        young = self._launched - tick <= status.st_ctime_ns <= time.time_ns() + tick
        return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, int(young)]


def _tick() -> int:
    """Nanoseconds between two ticks of the clock that file systems use."""
    try:
        return int(time.clock_getres(_COARSE_CLOCK) * _SECOND) + 1_000_000 if sys.platform == "linux" else 11_000_000
    except OSError:
        return 11_000_000


def _text(path: str) -> str:
    """A path as JSON can hold any: each character is one byte."""
    return os.fsencode(path).decode("latin-1")


def _file_of(name: str) -> str | None:
    module = sys.modules.get(name)
    # The dictionary, not the attributes: a lazy module would be loaded by the question.
    file = getattr(module, "__dict__", {}).get("__file__")
    return _text(os.path.abspath(file)) if type(file) is str else None


def _importer(frame: FrameType | None) -> str | None:
    """The module whose code asked for the import that goes on in `frame`; none for the template itself."""
    while frame is not None:
        name = frame.f_globals.get("__name__")
        top = name.partition(".")[0] if type(name) is str else ""
        if top not in ("importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport", ""):
            if name in ("firehot._template", "firehot._bytecode"):
                return None
            if name != "firehot._stamp":
                return str(name)
        frame = frame.f_back
    return None


def _is_of_importlib(frame: FrameType | None) -> bool:
    """Whether the import system itself, or its reader of metadata, runs in a frame."""
    while frame is not None:
        name = frame.f_globals.get("__name__")
        if type(name) is not str or name.partition(".")[0] != "firehot":
            top = str(name).partition(".")[0]
            return top in ("importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport")
        frame = frame.f_back
    return False


def _is_below(file: str, library: str) -> bool:
    return file.startswith(library) and "site-packages" not in file and "dist-packages" not in file


def _mapped_files() -> list[str]:
    """Files that are mapped into this process: shared objects, mostly."""
    found: dict[str, None] = {}
    try:
        with open("/proc/self/maps", "rb") as maps:
            for line in maps:
                at = line.find(b"/")
                if at > 0 and not line.endswith(b" (deleted)\n"):
                    found[os.fsdecode(line[at:-1])] = None
    except OSError:
        return []
    return [path for path in found if not path.startswith(_NOT_FILES)]


def _archive_of(path: str) -> str:
    """The zip file that a module came from, or the path itself."""
    if os.path.exists(path):
        return path
    archive = os.path.dirname(path)
    while len(archive) > 1:
        if os.path.isfile(archive):
            return archive
        archive = os.path.dirname(archive)
    return path


# -- environment variables -----------------------------------------------------------------------


class _Plain(Mapping[Any, Any]):
    """The environment as it is, for views: reading all of it names nothing."""

    def __init__(self, environ: Any) -> None:
        self._environ = environ

    def __getitem__(self, key: Any) -> Any:
        return _BASE.__getitem__(self._environ, key)

    def __iter__(self) -> Iterator[Any]:
        return iter(_BASE.__iter__(self._environ))

    def __len__(self) -> int:
        return len(self._environ)


_BASE: Any = type(os.environ)
_NAMES: dict[str, None] = {}


class _WatchedEnviron(_BASE):  # type: ignore[misc]
    """`os.environ` while imports run: notes each name that is asked for."""

    def __getitem__(self, key: Any) -> Any:
        name = key if isinstance(key, str) else os.fsdecode(key) if isinstance(key, bytes) else None
        copying: list[Any] | None = self.__dict__.get("_firehot_copying")
        if copying and copying[-1] == key:
            copying.pop()  # `dict(environ)` and its like take all keys, then each value in their order.
            if not copying:
                del self.__dict__["_firehot_copying"]
        else:
            if copying:
                # It was no copy: what was taken for a part of one was a question.
                taken = [each for each in _BASE.__iter__(self) if each not in copying]
                _NAMES.update(dict.fromkeys(os.fsdecode(each) for each in taken))
                del self.__dict__["_firehot_copying"]
            if name is not None:
                _NAMES[name] = None
        return _BASE.__getitem__(self, key)

    def keys(self) -> Any:
        self.__dict__["_firehot_copying"] = list(_BASE.__iter__(self))[::-1]
        return KeysView(_Plain(self))

    def items(self) -> Any:
        return ItemsView(_Plain(self))

    def values(self) -> Any:
        return ValuesView(_Plain(self))


def _environs() -> list[Any]:
    return [os.environ, *([os.environb] if os.supports_bytes_environ else [])]


def _watch_environ(names: dict[str, None]) -> None:
    global _NAMES
    _NAMES = names
    for environ in _environs():
        if type(environ) is _BASE:
            environ.__class__ = _WatchedEnviron


def _unwatch_environ() -> None:
    for environ in _environs():
        if type(environ) is _WatchedEnviron:
            environ.__class__ = _BASE
            environ.__dict__.pop("_firehot_copying", None)
