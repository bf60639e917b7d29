"""The finder of Rust extensions: which imports are ours. Imports nothing but `sys` and `os` until one is.

It stands at the head of `sys.meta_path`, so every import of a process passes here: an unrelated one costs a `stat` of
each folder of `sys.path` that may hold Rust. Folders of installed packages and of the standard library hold projects
only that are installed editable; these are known by name, and looked for ten times a second at most.

Invariant: what is remembered of a folder was listed after its mtime was taken; a folder that has just changed is not
remembered, since a further change may not show in that.
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
_NOTHING: frozenset[str] = frozenset()
_EMPTY = (-1, _NOTHING)
"""Of a folder that is never looked at again."""


class Finder:
    """A meta path finder; `firehot.rust.install` puts it there."""

    def __init__(self, builder: "Builder", settings: "str | None" = None) -> None:
        """`builder` is asked only for what may be an extension, and for nothing that is written down and still holds.

        `settings` are the builder's, as text; without them nothing is written down.
        """
        self.builder = builder
        self._settings = settings
        self._folders: dict[str, tuple[int, frozenset[str]]] = {}
        self._projects: dict[str, _core.Extension] = {}
        self._sites: dict[str, int] = {}
        self._next_look = 0.0
        self._packages: frozenset[str] = _NOTHING
        # Imported by their place: a reload asks for them by name.
        self.placed: dict[str, _core.Extension] = {}
        self._working: set[int] = set()

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """The spec of an extension, or `None` for everything else.

        Raises:
            RustBuildError: It is one, but says itself that it can't be built.
            ModuleNotFoundError: Nothing of the name can be imported, but there is Rust that has not opted in.
        """
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
                if monotonic() > self._next_look:
                    self._look_for_projects()
                if not self._may_hold(sys.path, name) and not self._is_known(name):
                    return None
            else:
                top, _, last = name.partition(".")
                last = last.rpartition(".")[2]
                if top not in self._packages and name not in self.placed and not self._may_hold(path, last):
                    return None
            return self._find(name, path, target)
        finally:
            self._working.discard(thread)

    def invalidate_caches(self) -> None:
        """Forgets what it knows of folders."""
        self._folders.clear()
        self._sites.clear()
        self._next_look = 0.0

    def _may_hold(self, path: "Sequence[str]", name: str) -> bool:
        """Whether a folder has `name.rs`, or a crate `name`."""
        folders = self._folders
        stat = os.stat
        for entry in path:
            try:
                if entry[:1] != "/":
                    # Another folder after a chdir.
                    entry = f"{os.getcwd()}/{entry}"
                known = folders.get(entry)
                if known is _EMPTY:
                    continue
                mtime = stat(entry).st_mtime_ns
            except (OSError, TypeError, ValueError):
                continue
            if known is None or known[0] != mtime:
                known = self._list(entry, mtime)
            if name in known[1]:
                return True
        return False

    def _is_known(self, name: str) -> bool:
        return name in self._projects or name in self._packages or name in self.placed

    def _list(self, entry: str, mtime: int) -> tuple[int, frozenset[str]]:
        if entry.startswith(_LIBRARY) or entry.endswith((".zip", "-packages")):
            self._folders[entry] = _EMPTY
            return _EMPTY
        names = set()
        try:
            with os.scandir(entry) as found:
                for item in found:
                    if item.name.endswith(".rs"):
                        names.add(item.name[:-3])
                    elif "." not in item.name and item.is_dir() and _is_crate(item.path):
                        names.add(item.name)
        except OSError:
            return _EMPTY
        listed = (mtime, frozenset(names))
        # A crate's Cargo.toml may come later than its folder.
        if time_ns() - mtime > _YOUNG:
            self._folders[entry] = listed
        return listed

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
        projects = self.builder.installed(list(sites)) if any(map(_has_projects, sites)) else []
        self._projects = {extension.module: extension for extension in projects}
        self._packages = frozenset(name.partition(".")[0] for name in self._projects if "." in name)

    def _find(self, name: str, path: "Sequence[str] | None", target: "ModuleType | None") -> "ModuleSpec | None":
        extension = self.placed.get(name) if target is not None else None
        extension = extension or self._projects.get(name)
        if extension is None and name in self._packages:
            if target is not None:
                self._refresh(name)
            return None
        note = None
        if extension is None:
            places = [entry for entry in (sys.path if path is None else path) if type(entry) is str]
            if target is None and self._settings is not None:
                from firehot._rust_quick import Note

                note = Note(name, places, self._settings)
                if (spec := note.spec()) is not None:
                    return spec
            extension = self.builder.find(name, places)
        if extension is None:
            # By its frame an import is told from a mere question, whose answer is None.
            if sys._getframe(3).f_code.co_name == "_find_and_load_unlocked":
                self._explain(name, path)
            return None
        if extension.by_maturin:
            # It is installed where others find it, once it is built.
            self.builder.artifact(extension)
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
            if finder is not self and find is not None and find(name, path) is not None:
                return
        raise ModuleNotFoundError("; ".join([f"No module named {name!r}", *reasons]), name=name)

    def _refresh(self, package: str) -> None:
        """Before a package is run again: its extensions are loaded anew, where they are new."""
        from firehot._rust_load import drop_stale

        for name, extension in self._projects.items():
            if name.startswith(package + "."):
                drop_stale(name, extension, self.builder)


def _is_crate(folder: str) -> bool:
    try:
        os.stat(os.path.join(folder, "Cargo.toml"))
    except OSError:
        return False
    return True


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
            with open(os.path.join(site, name, "direct_url.json"), "rb") as file:
                said = file.read()
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
