"""What a template depends on, recorded while it preloads; compared by the host before each fork (`src/stamp`).

Invariant: what is recorded of a file is its state *before* it was read. An edit that falls between the two is then seen
as a change that was not needed, never missed. What could only be looked at after it was read (shared objects, modules
of the interpreter's own start) is trusted when it was last changed before the process was started.

Standard library only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, SourceFileLoader
from json import dumps as _dumps
from posix import listdir
from stat import S_ISREG
from types import FrameType
from typing import Any

from firehot import _audit, _threads
from firehot._questions import Questions, namespace

_SUFFIXES = (".py", ".pyc", *EXTENSION_SUFFIXES)
_NOT_FILES = ("/proc/", "/sys/", "/dev/")
_COARSE_CLOCK = 5
"""CLOCK_REALTIME_COARSE of Linux: what file systems stamp files with; CPython has no name for it."""
_SECOND = 1_000_000_000
_PSEUDO = ("/proc", "/sys")
"""Files below these are another thing for each process, also where a link leads to one (`/etc/mtab`)."""


class Recorder:
    """Collects what the imports depend on, from `start` to `stop`."""

    def __init__(self, launched: int, below: Recorder | None = None) -> None:
        """What counts begins now.

        Args:
            launched: The time, in nanoseconds of the wall clock, before the process was started.
            below: That of the template below, which has in its stamp what is loaded already.
        """
        self._launched = launched
        self._is_layer = below is not None
        self._mapped: set[str] = below._mapped if below is not None else set()
        self._path: list[str] = []
        self._tick = _tick()
        self._files: dict[str, list[int] | None] = {}
        # What imports wrote, renamed or removed themselves; what of it they read as well counts as they left it.
        self._written: set[str] = set()
        self._read_back: set[str] = set()
        self._listings: dict[str, tuple[list[int], list[str]]] = {}
        self._missing: dict[tuple[str, str], None] = {}
        # Module -> who imported it, and its file: also of those that somebody takes out of `sys.modules` again.
        self._importers: dict[str, tuple[str | None, str]] = {}
        self._new_files: list[str] = []
        self._new_names: list[str] = []
        self._at_start = frozenset(sys.modules)
        self._reported = set(self._at_start)
        self._path_stats = SourceFileLoader.path_stats
        self._watched_stats: Any = None
        self._getcwd = os.getcwd
        self._questions = Questions()
        self._recording = False
        self._pseudo = {os.stat(folder).st_dev for folder in _PSEUDO if os.path.isdir(folder)}

    # -- start and stop --------------------------------------------------------------------------

    def start(self) -> None:
        """From here on everything counts."""
        recorder = self
        self._path = list(sys.path)

        def path_stats(loader: SourceFileLoader, path: str) -> Mapping[str, float]:
            status = os.stat(path)
            recorder._note(path, status)
            if loader.name not in recorder._importers:
                recorder._importers[loader.name] = _importer(sys._getframe(1)), path
                recorder._new_names.append(loader.name)
            return {"mtime": status.st_mtime, "size": status.st_size}

        self._watched_stats = path_stats
        SourceFileLoader.path_stats = path_stats  # type: ignore[method-assign, assignment]
        self._questions.start()
        _audit.add(self._hear_open, "open")
        _audit.add(self._hear_listing, "os.listdir", "os.scandir")
        _audit.add(self._hear_change, "os.rename", "os.remove", "os.truncate")
        self._recording = True

    def stop(self) -> None:
        """Leaves everything as it was."""
        self._recording = False
        if SourceFileLoader.path_stats is self._watched_stats:
            SourceFileLoader.path_stats = self._path_stats  # type: ignore[method-assign]
        self._questions.stop(self._at_start)

    def _note(self, path: str, status: os.stat_result | None) -> None:
        if path in self._written:
            self._read_back.add(path)
        elif path not in self._files and (status is None or status.st_dev not in self._pseudo):
            self._files[path] = self._state(status) if status is not None else None
            self._new_files.append(path)

    # Audit events come before what they tell of.

    def _absolute(self, path: object) -> str | None:
        """A path that an event names; `None` for a descriptor, or for what is no file."""
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not self._recording or type(path) is not str or path.startswith(_NOT_FILES):
            return None
        if os.path.isabs(path):
            return path
        self._questions.ask_for_cwd(f"the lookup of {path}")
        return os.path.join(self._getcwd(), path)

    def _hear_open(self, _: str, arguments: tuple[Any, ...]) -> None:
        given, _, flags = arguments
        if type(given) is str and given.endswith(".pyc") and f"{os.sep}__pycache__{os.sep}" in given:
            return  # Its source was recorded; a file of this kind that is not true to it is not used (`_bytecode.py`).
        path = self._absolute(given)
        if path is None or type(flags) is not int:
            return
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self._change(path)
            # A file that is opened for both, and was there before, is read.
            if flags & os.O_RDWR and not flags & (os.O_CREAT | os.O_TRUNC):
                self._read_back.add(path)
        else:
            self._note_data(path)

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
            self._listings[path] = state, names

    def _hear_change(self, _: str, arguments: tuple[Any, ...]) -> None:
        for given in arguments[:2]:
            if (path := self._absolute(given)) is not None:
                self._change(path)

    def _change(self, path: str) -> None:
        self._written.add(path)
        if path in self._files:
            self._read_back.add(path)

    def _note_data(self, path: str) -> None:
        try:
            status = os.stat(path)
        except OSError:
            self._note(path, None)
            return
        if S_ISREG(status.st_mode):
            self._note(path, status)

    # -- what is asked while it goes on ----------------------------------------------------------

    def failed(self, error: BaseException) -> None:
        """An import failed: when it was for a missing module, its coming counts."""
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        if not name:
            return
        parent, _, stem = name.rpartition(".")
        places = namespace(sys.modules.get(parent)).get("__path__", ()) if parent else sys.path
        for place in list(places):
            if isinstance(place, str):
                folder = os.path.join(self._getcwd(), place)
                # One that is there was kept from being imported by something else.
                if not any(os.path.exists(os.path.join(folder, stem + end)) for end in ("", *_SUFFIXES)):
                    self._missing[folder, stem] = None

    def new_files(self) -> list[list[Any]]:
        """The files that were read since the last call, each with its state before that."""
        new, self._new_files = self._new_files, []
        return [[_text(path), self._files[path]] for path in new]

    def new_modules(self) -> list[list[str | None]]:
        """Modules that were loaded since the last call: name, file, who imported it."""
        names: list[str] = []
        # A copy: a thread may be importing.
        for name in reversed(list(sys.modules)):
            if name in self._reported:
                break  # New ones stand at the end.
            names.append(name)
        names.reverse()
        # A module may be gone from `sys.modules` already.
        every = dict.fromkeys((*names, *self._new_names))
        found = [name for name in every if type(name) is str and name not in self._reported]
        self._new_names.clear()
        self._reported.update(found)
        return [self._describe(name) for name in found]

    def _describe(self, name: str) -> list[str | None]:
        importer, path = self._importers.get(name, (None, None))
        return [name, _text(os.path.abspath(path)) if path is not None else _file_of(name), importer]

    def start_modules(self) -> list[list[str | None]]:
        """Modules that the interpreter's own start loaded from outside its library: `sitecustomize` and the like."""
        library = os.path.dirname(os.__file__) + os.sep
        found = [(name, _file_of(name)) for name in self._at_start if type(name) is str]
        return [
            [name, file, None]
            for name, file in sorted(found)
            if file is not None
            and name.partition(".")[0] not in ("firehot", "__main__")
            and not _is_below(file, library)
        ]

    def forget(self) -> None:
        """The template has told everything: what is left is for the recorder of a layer."""
        self._files, self._importers, self._listings, self._missing = {}, {}, {}, {}
        self._at_start, self._reported = frozenset(), set()

    # -- the result ------------------------------------------------------------------------------

    def body(self) -> bytes:
        """What the messages of the imports have not told, as `src/stamp` reads it."""
        self._add_what_was_not_seen()
        self._ask_for_relative_entries()
        asked = self._questions.cwd_asked_by
        read_back = ((path, self._state_now(path)) for path in self._read_back)
        stamp = {
            "files": self.new_files(),
            "written": [_text(path) for path in self._written],
            "read_back": [[_text(path), state] for path, state in read_back if state is not None],
            "listings": [self._listing(path) for path in self._listings],
            "missing": [[_text(place), _text(stem)] for place, stem in self._missing],
            "suffixes": list(_SUFFIXES),
            "variables": [_text(name) for name in self._questions.variables],
            "cwd": _text(asked) if asked is not None else None,
        }
        return _dumps(stamp, separators=(",", ":")).encode("ascii")

    def _listing(self, path: str) -> list[Any]:
        """Path, mtime, inode, whether these say nothing, names, names that imports have made or removed themselves."""
        state, names = self._listings[path]
        own = [os.path.basename(each) for each in self._written if os.path.dirname(each) == path]
        mute = int(bool(own) or state[-1])
        return [_text(path), state[1], state[3], mute, [_text(name) for name in names], [_text(name) for name in own]]

    def _add_what_was_not_seen(self) -> None:
        paths: dict[str, None] = {}
        for name, module in list(sys.modules.items()):
            if self._is_layer and name in self._at_start:
                continue
            if type(name) is str and (name.partition(".")[0] != "firehot" or name in self._importers):
                spec = namespace(module).get("__spec__")
                path = spec.origin if isinstance(spec, ModuleSpec) else None
                if isinstance(path, str) and os.path.isabs(path):
                    paths[path] = None
        mapped = _threads.mapped_files()
        new = [path for path in mapped - self._mapped if not path.startswith(_NOT_FILES)]
        self._mapped = mapped
        for path in (*paths, *new):
            archive = path if path in self._files or path in self._written else _archive_of(path)
            if archive not in self._files and archive not in self._written:
                self._files[archive] = self._state_after(archive)
                self._new_files.append(archive)

    def _ask_for_relative_entries(self) -> None:
        """Where an entry of the path hangs on the working directory, so do the modules that came from there."""
        entries_of_path = [entry for entry in self._path if type(entry) is str]
        if all(os.path.isabs(entry) for entry in entries_of_path):
            return
        cwd = self._getcwd()
        entries = {os.path.normpath(os.path.join(cwd, entry)): entry for entry in entries_of_path}
        for path in self._files:
            folder = os.path.dirname(path)
            while folder not in entries and len(folder) > 1:
                folder = os.path.dirname(folder)
            if folder in entries and not os.path.isabs(entries[folder]):
                self._questions.ask_for_cwd(f"the entry {entries[folder]!r} of sys.path")
                return

    def _state(self, status: os.stat_result) -> list[int]:
        """Size, mtime, ctime, inode, device, and whether it changed so recently that a change may not show.

        A file system stamps a change with the last tick of a clock: two changes within one tick look alike.
        """
        young = abs(time.time_ns() - status.st_ctime_ns) <= self._ticks(status)
        return _numbers(status, young)

    def _state_after(self, path: str) -> list[int] | None:
        """For what was read before anybody could look: it must be older than the process."""
        try:
            status = os.stat(path)
        except OSError:
            return None
        ticks = self._ticks(status)
        return _numbers(status, self._launched - ticks <= status.st_ctime_ns <= time.time_ns() + ticks)

    def _state_now(self, path: str) -> list[int] | None:
        """For what an import wrote itself: as it is when all imports are done."""
        try:
            status = os.stat(path)
        except OSError:
            return None
        return _numbers(status, False) if S_ISREG(status.st_mode) else None

    def _ticks(self, status: os.stat_result) -> int:
        return self._tick if status.st_ctime_ns % _SECOND else 2 * _SECOND


def _numbers(status: os.stat_result, young: bool) -> list[int]:
    return [
        *(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev),
        int(young),
    ]


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
    file = namespace(sys.modules.get(name)).get("__file__")
    return _text(os.path.abspath(file)) if type(file) is str else None


def _importer(frame: FrameType | None) -> str | None:
    """The module whose code asked for the import that goes on in `frame`; none for the template itself."""
    while frame is not None:
        name = frame.f_globals.get("__name__")
        top = name.partition(".")[0] if type(name) is str else ""
        if top not in ("importlib", "_frozen_importlib", "_frozen_importlib_external", "zipimport", ""):
            if name in ("firehot._preload", "firehot._bytecode"):
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
