"""The Rust extensions of an environment's project: which there are, and that each is built before a call.

The template never imports one: it is the child that does, after the fork, and so it has the newest build without any
reload. What lies elsewhere (a project installed editable from another place, an extension that a run makes itself) is
built by the child when it imports it.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import threading
from collections.abc import Sequence
from pathlib import Path

from firehot import _core
from firehot._rust_api import build_all
from firehot._rust_build import Builder
from firehot.errors import FirehotError, RustBuildError

Given = list[tuple[str, str, str]]
"""Module, published file, and the `.rs` file or folder that it comes from."""


class RustProject:
    """Builds for one environment. Safe to use from several threads."""

    def __init__(self, locations: Sequence[Path]) -> None:
        """Looks for extensions in the folders of a package, and beside it."""
        self._builder = Builder()
        self._folders = [str(place) for place in locations if place.is_dir()]
        self._roots = sorted({str(_import_root(place)) for place in locations})
        libraries = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
        self._is_library = all(root.startswith(libraries) for root in self._roots)
        self._lock = threading.Lock()
        self._seen: list[int] = []
        self._extensions: dict[str, _core.Extension] = {}
        self._ahead: threading.Thread | None = None
        self.look()

    @property
    def modules(self) -> list[str]:
        """The dotted names."""
        return list(self._extensions)

    @property
    def sources(self) -> list[str]:
        """Where they come from."""
        return [str(extension.place) for extension in self._extensions.values()]

    def look(self) -> None:
        """Looks which there are now."""
        found: dict[str, _core.Extension] = {}
        if not self._is_library:
            self._seen = self._dates()
            workshop = self._builder.workshop
            sites = [entry for entry in sys.path if entry.endswith("-packages")]
            for extension in [*self._beside(), *workshop.discover(self._folders), *self._installed(sites)]:
                found.setdefault(extension.module, extension)
        with self._lock:
            self._extensions = found

    def ready(self) -> Given:
        """Every extension, built; what is fresh costs a `stat` for each source.

        Raises:
            RustBuildError: One does not build.
        """
        if not self._is_library and self._dates() != self._seen:
            self.look()
        with self._lock:
            extensions = list(self._extensions.values())
        if not extensions:
            return []
        built, errors = build_all(self._builder, extensions)
        if errors:
            raise errors[0]
        return [(each.module, str(built[each.module]), str(each.place)) for each in extensions]

    def build_ahead(self) -> None:
        """Looks again, and builds what is stale without waiting: the next call waits for what is not done by then."""
        self.look()
        with self._lock:
            running = self._ahead is not None and self._ahead.is_alive()
            if running or not self._extensions:
                return
            self._ahead = threading.Thread(target=self._build_quietly, name="firehot-rust", daemon=True)
            self._ahead.start()

    def close(self) -> None:
        """Waits for a build ahead."""
        if self._ahead is not None:
            self._ahead.join()

    def _build_quietly(self) -> None:
        try:
            self.ready()
        except (RustBuildError, FirehotError):
            return  # The next call says so.

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
                    extension = self._builder.workshop.find(stem, [root])
                    found += [extension] if extension is not None else []
        return found

    def _installed(self, sites: list[str]) -> list[_core.Extension]:
        """Projects that are installed editable, and hold the package or lie below its folder."""
        own = [*self._folders, *self._roots]
        return [
            extension
            for extension in self._builder.workshop.installed(sites)
            if any(_holds(str(extension.place), folder) or _holds(folder, str(extension.place)) for folder in own)
        ]


def _import_root(location: Path) -> Path:
    """The folder that a top-level module of the package would be imported from."""
    folder = location.parent
    while (folder / "__init__.py").exists() and folder.parent != folder:
        folder = folder.parent
    return folder


def _holds(folder: str, path: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)
