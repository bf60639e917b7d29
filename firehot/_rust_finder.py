"""The finder of Rust extensions: which imports are ours. Imports nothing but `sys` and `os` until one is.

It stands at the head of `sys.meta_path`, so every import of a process passes here. What each folder of `sys.path` holds
is known; after a `stat` of each folder that may hold Rust it counts for ten milliseconds, so that an unrelated import
costs two comparisons. Folders of installed packages and of the standard library hold projects only that are installed
editable; these are known by name, and looked for ten times a second at most.

Invariants:
    - What is remembered of a folder was listed after its mtime was taken; a folder that has just changed is not
      remembered, since a further change may not show in that.
    - What nobody else finds is looked for anew at the end of `sys.meta_path`. So Rust that has come within the ten
      milliseconds is found, and only hides nothing that others have.
"""

# No `from __future__ import annotations`, for the sake of each interpreter's start: that is one more file to load.
import os
import sys
from _thread import get_ident
from time import monotonic, time_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from firehot import _core
    from firehot._rust_build import Builder

# A file system's clock ticks every 4 ms (ext4 with 250 Hz) to 10 ms; FAT's is not for source files.
_YOUNG = 20_000_000
_LIBRARY = os.path.dirname(os.__file__)
_LOOK_SECONDS = 0.1
_SURE_SECONDS = 0.01
_NOTHING: frozenset[str] = frozenset()
_EMPTY = (-1, _NOTHING)
"""Of a folder that is never looked at again."""
_NEVER: "tuple[float, list[str], str | None, frozenset[str]]" = (0.0, [], None, _NOTHING)


class Finder:
    """A meta path finder; `firehot.rust.install` puts it there, and `last` at the end."""

    def __init__(self, builder: "Builder", settings: "str | None" = None) -> None:
        """`builder` is asked only for what may be an extension, and for nothing that is written down and still holds.

        `settings` are the builder's, as text; without them nothing is written down.
        """
        self.builder = builder
        self.last = Last(self)
        self._settings = settings
        self._folders: dict[str, tuple[int, frozenset[str]]] = {}
        # Until when, for which path and directory there is nothing but these names.
        self._sure = _NEVER
        # By module: whether only maturin can build it. What else is to know of them takes the engine.
        self._projects: dict[str, bool] = {}
        self._installed: dict[str, _core.Extension] | None = None
        self._sites: dict[str, int] = {}
        self._next_look = 0.0
        self._packages: frozenset[str] = _NOTHING
        # Imported by their place: a reload asks for them by name.
        self._placed: dict[str, _core.Extension] = {}
        self._working: set[int] = set()

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """The spec of an extension, or `None` for everything else.

        Raises:
            RustBuildError: It is one, but says itself that it can't be built.
            ModuleNotFoundError: Nothing of the name can be imported, but there is Rust that has not opted in.
        """
        if path is None:
            until, known, folder, names = self._sure
            is_sure = name not in names and sys.path == known and monotonic() < until
            if is_sure and (folder is None or folder == _directory()):
                return None
        return self.find_anew(name, path, target)

    def find_anew(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """As `find_spec`, by what the disk holds now."""
        # Asked for in each start of an interpreter behind a sitecustomize.py that has installed this.
        if name == "usercustomize":
            return None
        thread = get_ident()
        # What it needs itself is imported as ever.
        if thread in self._working:
            return None
        self._working.add(thread)
        try:
            if path is None:
                if name not in self._names():
                    return None
            else:
                top, _, last = name.partition(".")
                last = last.rpartition(".")[2]
                if top not in self._packages and name not in self._placed and not self._may_hold(path, last):
                    return None
            return self._find(name, path, target)
        finally:
            self._working.discard(thread)

    def place(self, name: str, extension: "_core.Extension") -> None:
        """A module that was imported by its place, for reloads."""
        self._placed[name] = extension
        self._sure = _NEVER

    def invalidate_caches(self) -> None:
        """Forgets what it knows of folders."""
        self._folders.clear()
        self._sites.clear()
        self._next_look = 0.0
        self._sure = _NEVER

    def _names(self) -> "frozenset[str]":
        """What top-level modules may be ours."""
        now = monotonic()
        if now > self._next_look:
            self._look_for_projects()
        path = list(sys.path)
        folder = None
        found = [self._packages, self._projects, self._placed]
        for entry in path:
            if names := self._held(entry):
                found.append(names)
            if folder is None and entry[:1] != "/":
                # Another folder after a chdir.
                folder = _directory()
        names = _NOTHING.union(*found)
        self._sure = (now + _SURE_SECONDS, path, folder, names)
        return names

    def _may_hold(self, path: "Sequence[str]", name: str) -> bool:
        """Whether a folder has `name.rs`, or a crate `name`."""
        return any(name in self._held(entry) for entry in path)

    def _held(self, entry: str) -> "frozenset[str]":
        """What may be ours in a folder."""
        folders = self._folders
        try:
            if entry[:1] != "/":
                entry = f"{os.getcwd()}/{entry}"
            known = folders.get(entry)
            if known is None and _is_library(entry):
                known = folders[entry] = _EMPTY
            if known is _EMPTY:
                return _NOTHING
            mtime = os.stat(entry).st_mtime_ns
        except (AttributeError, OSError, TypeError, ValueError):
            return _NOTHING
        if known is None or known[0] != mtime:
            return self._list(entry, mtime)
        return known[1]

    def _list(self, entry: str, mtime: int) -> "frozenset[str]":
        found = set()
        try:
            with os.scandir(entry) as items:
                for item in items:
                    if item.name.endswith(".rs"):
                        found.add(item.name[:-3])
                    elif "." not in item.name and item.is_dir() and _is_crate(item.path):
                        found.add(item.name)
        except OSError:
            return _NOTHING
        names = frozenset(found)
        # A crate's Cargo.toml may come later than its folder.
        if time_ns() - mtime > _YOUNG:
            self._folders[entry] = (mtime, names)
        return names

    def _look_for_projects(self) -> None:
        """Projects of maturin that are installed editable, and the packages that hold them.

        One that is installed a moment later is imported as it was installed: that is what its sources are.
        """
        self._next_look = monotonic() + _LOOK_SECONDS
        sites = {}
        for entry in sys.path:
            if type(entry) is str and entry.endswith("-packages"):
                try:
                    sites[entry] = os.stat(entry).st_mtime_ns
                except OSError:
                    continue
        if sites == self._sites:
            return
        self._sites = sites
        self._installed = None
        self._projects = self._find_projects() if any(map(_has_projects, sites)) else {}
        self._packages = frozenset(name.partition(".")[0] for name in self._projects if "." in name)

    def _find_projects(self) -> "dict[str, bool]":
        sites = list(self._sites)
        if self._settings is None:
            return {each.module: each.by_maturin for each in self.builder.installed(sites)}
        from firehot._rust_quick import Note

        note = Note("projects", folders=sites)
        found = note.answer()
        if type(found) is not dict:
            extensions, files = self.builder.workshop.installed_by(sites)
            found = {each.module: each.by_maturin for each in extensions}
            if files is not None:
                note.keep(found, files)
        return found

    def _project(self, name: str) -> "_core.Extension | None":
        if name not in self._projects:
            return None
        if self._installed is None:
            self._installed = {each.module: each for each in self.builder.installed(list(self._sites))}
        return self._installed.get(name)

    def _find(self, name: str, path: "Sequence[str] | None", target: "ModuleType | None") -> "ModuleSpec | None":
        extension = self._placed.get(name) if target is not None else None
        if extension is None and name in self._packages and name not in self._projects:
            if target is not None:
                self._refresh(name)
            return None
        note = None
        if extension is None:
            places = [entry for entry in (sys.path if path is None else path) if type(entry) is str]
            if target is None and self._settings is not None:
                from firehot._rust_quick import Note, spec_of_build

                note = Note("import", name, self._settings, folders=places, name=name)
                artifact = note.answer()
                if type(artifact) is str:
                    # What maturin has installed is found where it is.
                    return None if self._projects.get(name) else spec_of_build(name, artifact)
            extension = self._project(name) or self.builder.find(name, places)
        if extension is None:
            if _is_import():
                self._explain(name, path)
            return None
        if extension.by_maturin:
            artifact = self.builder.artifact(extension)
            if note is not None:
                note.keep_build(artifact, extension, self.builder)
            return None
        from firehot._rust_load import spec_of

        return spec_of(name, extension, self.builder, is_reload=target is not None, note=note)

    def _explain(self, name: str, path: "Sequence[str] | None") -> None:
        """Raises with the reasons why Rust that is there does not count, unless there is something else to import."""
        reasons = self.builder.reasons(name, sys.path if path is None else path)
        if not reasons:
            return
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder not in (self, self.last) and find is not None and find(name, path) is not None:
                return
        raise ModuleNotFoundError("; ".join([f"No module named {name!r}", *reasons]), name=name)

    def _refresh(self, package: str) -> None:
        """Before a package is run again: its extensions are loaded anew, where they are new."""
        from firehot._rust_load import drop_stale

        for name in self._projects:
            if name.startswith(package + ".") and (extension := self._project(name)) is not None:
                drop_stale(name, extension, self.builder)


class Last:
    """Stands at the end of `sys.meta_path`: looks for what nobody has found, and the finder has not looked for."""

    def __init__(self, finder: Finder) -> None:
        """Of one finder."""
        self._finder = finder

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """The spec of a top-level module whose Rust has just come."""
        return self._finder.find_anew(name, path, target) if path is None else None


def _is_import() -> bool:
    """Whether an import asks, and no mere question, whose answer is `None`: told by the frame above importlib's."""
    frame = sys._getframe(2)
    while frame.f_back is not None and frame.f_code.co_name != "_find_spec":
        frame = frame.f_back
    return frame.f_back is not None and frame.f_back.f_code.co_name == "_find_and_load_unlocked"


def _is_library(entry: str) -> bool:
    return entry.startswith(_LIBRARY) or entry.endswith((".zip", "-packages")) or "-packages/" in entry


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _is_crate(folder: str) -> bool:
    return os.access(os.path.join(folder, "Cargo.toml"), os.F_OK)


def _has_projects(site: str) -> bool:
    """Whether projects of maturin may be installed editable: few distributions have an URL of their own."""
    try:
        names = os.listdir(site)
    except OSError:
        return False
    for name in names:
        if not name.endswith(".dist-info") or name.startswith("firehot-"):
            continue
        try:
            file = os.path.join(site, name, "direct_url.json")
            if not os.access(file, os.F_OK):
                continue
            with open(file, "rb") as opened:
                said = opened.read()
            if b"editable" in said and _is_maturins(said):
                return True
        except OSError:
            continue
    return False


def _is_maturins(said: bytes) -> bool:
    _, _, rest = said.partition(b"file://")
    folder, _, _ = rest.partition(b'"')
    if b"%" in folder or b"\\" in folder:
        return True
    with open(os.path.join(folder, b"pyproject.toml"), "rb") as file:
        return b"maturin" in file.read()
