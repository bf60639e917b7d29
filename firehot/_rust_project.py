"""The Rust extensions of an environment's project: which there are, and that each is built before a call.

The template never imports one: it is the child that does, after the fork, and so it has the newest build without any
reload. What a run makes itself, or what lies where the host has not looked, is built by the child that imports it.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

from firehot import _background, _core
from firehot.errors import EnvironmentClosedError, FirehotError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from firehot._rust_ready import Builds, Given

# Finding needs no interpreter; what it takes to know ours is spent when there is something to build.
NOBODY: dict[str, object] = {"executable": "", "suffix": "", "free_threaded": False, "venv": None}
_DECIDING = (".rs", ".toml", ".firehot", ".rustimport")


class RustProject:
    """Looks and builds for one environment. Safe to use from several threads."""

    def __init__(self, locations: Sequence[Path]) -> None:
        """Looks beside the package and for what is installed at once, and below its folders on a thread."""
        self._finder = _core.Workshop(NOBODY, os.devnull)
        self._folders = [str(place) for place in locations if place.is_dir()]
        self._roots = sorted({str(_import_root(place)) for place in locations})
        libraries = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
        self._is_library = all(root.startswith(libraries) for root in self._roots)
        self._lock = threading.Lock()
        self._seen: list[int] = []
        self._near: dict[str, _core.Extension] = {}
        self._below: dict[str, _core.Extension] = {}
        self._builds: Builds | None = None
        self._subscribe: Callable[[], _core.Watch] | None = None
        self._watch: _core.Watch | None = None
        self._threads: list[_background.BackgroundThread] = []
        self._is_ahead = self._is_wanted = self._must_look = self._is_closed = False
        self._looking: _background.BackgroundThread | None = None
        if not self._is_library:
            self._look_near()
            self._looking = _background.start(self._look_below, (), name="firehot-rust")

    @property
    def first_party(self) -> list[str]:
        """Names that the template must not import: those beside the package, and all of installed projects.

        What lies below the package is its own anyhow.
        """
        names = set(self._near)
        for name, extension in self._near.items():
            if extension.kind == "project":
                names.add(name.partition(".")[0])
        return sorted(names)

    @property
    def watched(self) -> list[str]:
        """The files and folders that a watcher looks at besides those of the scan."""
        return sorted({str(extension.place) for extension in self._near.values()})

    def look(self) -> None:
        """Looks which there are now."""
        if self._is_library:
            return
        self._look_near()
        self._look_below()

    def ready(self) -> Given | None:
        """Every extension, built; what is fresh costs a `stat` for each source. `None` where there can be none.

        Raises:
            RustBuildError: One does not build.
            EnvironmentClosedError: The environment was closed meanwhile.
        """
        if self._is_library:
            return None
        if (looking := self._looking) is not None:
            looking.join()
            self._looking = None
        if self._dates() != self._seen:
            self.look()
        return self._build()

    def build_ahead(self, *, look: bool = True) -> None:
        """Builds what is stale without waiting, and once more when this is called meanwhile.

        The next call waits for what is not done by then, and raises what has failed.
        """
        if self._is_library:
            return
        with self._lock:
            self._is_wanted = True
            self._must_look |= look
            if self._is_ahead or self._is_closed:
                return
            self._is_ahead = True
            self._threads = [_background.start(self._go_ahead, (), name="firehot-rust"), *self._threads[:1]]

    def follow(self, subscribe: Callable[[], _core.Watch]) -> None:
        """Has builds begin when a file is saved: at once, or as soon as there is an extension."""
        with self._lock:
            self._subscribe = subscribe
        self._follow_if_any()

    def close(self) -> None:
        """Ends what is being built, and the threads."""
        with self._lock:
            self._is_closed = True
            builds, watch = self._builds, self._watch
        if watch is not None:
            watch.close()
        if builds is not None:
            builds.end()
        for thread in (self._looking, *self._threads):
            if thread is not None:
                thread.join()

    # -- building -----------------------------------------------------------------------------

    def _build(self) -> Given:
        with self._lock:
            extensions = {**self._below, **self._near}
            if not extensions:
                return []
            if self._is_closed:
                raise EnvironmentClosedError("the environment is closed")
            if self._builds is None:
                from firehot._rust_ready import Builds

                self._builds = Builds()
        own = (*self._folders, *self._roots)
        theirs = {name for name, extension in extensions.items() if not _is_of(extension, own)}
        return self._builds.ready(list(extensions.values()), theirs)

    def _go_ahead(self) -> None:
        while True:
            with self._lock:
                if not self._is_wanted or self._is_closed:
                    self._is_ahead = False
                    return
                look, self._is_wanted, self._must_look = self._must_look, False, False
            try:
                if look:
                    self.look()
                self._build()
            except (FirehotError, KeyboardInterrupt):
                continue  # The next call says so; or it was ended.

    def _follow_if_any(self) -> None:
        with self._lock:
            if self._subscribe is None or self._watch is not None or self._is_closed:
                return
            if not self._near and not self._below:
                return
            try:
                self._watch = self._subscribe()
            except FirehotError:
                return  # It is being closed.
            thread = _background.start(_follow, (self._watch, weakref.ref(self)), name="firehot-rust-watch")
            self._threads.append(thread)

    # -- looking ------------------------------------------------------------------------------

    def _look_near(self) -> None:
        dates = self._dates()
        sites = [entry for entry in sys.path if type(entry) is str and entry.endswith("-packages")]
        found = {extension.module: extension for extension in self._finder.installed(sites)}
        found |= {extension.module: extension for extension in self._beside()}
        with self._lock:
            self._seen, self._near = dates, found

    def _look_below(self) -> None:
        found = {extension.module: extension for extension in self._finder.discover(self._folders)}
        with self._lock:
            self._below = found
        self._follow_if_any()

    def _dates(self) -> list[int]:
        dates = []
        for folder in (*self._roots, *self._folders):
            try:
                dates.append(os.stat(folder).st_mtime_ns)
            except OSError:
                dates.append(-1)
        return dates

    def _beside(self) -> list[_core.Extension]:
        """Files and crates beside the package: not all that lies below its folder is the project's."""
        found = []
        for root in self._roots:
            try:
                names = sorted(os.listdir(root))
            except OSError:
                continue
            for name in names:
                stem = name[:-3] if name.endswith(".rs") else name
                is_crate = stem == name and os.path.isfile(os.path.join(root, name, "Cargo.toml"))
                if stem.isidentifier() and (is_crate or stem != name):
                    extension = self._find(stem, root)
                    found += [extension] if extension is not None else []
        return found

    def _find(self, name: str, root: str) -> _core.Extension | None:
        try:
            return self._finder.find(name, [root])
        except FirehotError:
            return None  # Whoever imports it hears why.


def _follow(watch: _core.Watch, project: weakref.ref[RustProject]) -> None:
    """Until the watch ends: a build after each burst of changes."""
    while (changes := watch.wait(None)) is not None:
        alive = project()
        if alive is None:
            return
        alive.build_ahead(look=any(str(path).endswith(_DECIDING) for paths in changes for path in paths))
        del alive


def _import_root(location: Path) -> Path:
    """The folder that a top-level module of the package would be imported from."""
    folder = location.parent
    while (folder / "__init__.py").exists() and folder.parent != folder:
        folder = folder.parent
    return folder


def _is_of(extension: _core.Extension, own: Sequence[str]) -> bool:
    """Whether it holds one of the project's folders, or lies below one."""
    place = str(extension.place)
    return any(_holds(place, folder) or _holds(folder, place) for folder in own)


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
