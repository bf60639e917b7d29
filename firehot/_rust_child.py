"""The finder of Rust extensions in a child: what the host has built ahead of the call is loaded without another look.

Imported by the template, which imports no extension itself.
"""

from __future__ import annotations

import _imp
import os
import sys

from firehot import _rust_finder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from firehot import _core
    from firehot._rust_build import Builder


class Extension:
    """What the host has told of one; as `_core.Extension`, which a child loads only when it builds itself."""

    __slots__ = ("artifact", "module", "place")

    def __init__(self, module: str, artifact: str, place: str) -> None:
        """Dotted name, published file, and where it comes from."""
        self.module = module
        self.artifact = artifact
        self.place = place


class _Given:
    """A builder that has built already, and a real one for everything else."""

    def __init__(self, extensions: Sequence[tuple[str, str, str]]) -> None:
        self.extensions = {module: Extension(module, artifact, place) for module, artifact, place in extensions}
        self._builder: Builder | None = None

    def real(self) -> Builder:
        if self._builder is None:
            from firehot._rust_build import Builder

            self._builder = Builder()
        return self._builder

    def find(self, name: str, path: Sequence[str]) -> object:
        return self.real().find(name, path)

    def reasons(self, name: str, path: Sequence[str]) -> list[str]:
        return self.real().reasons(name, path)

    def installed(self, sites: Sequence[str]) -> list[object]:
        return list(self.real().installed(sites))

    def artifact(self, extension: Extension | _core.Extension, *, is_reload: bool = False) -> str:
        if isinstance(extension, Extension):
            if extension.artifact and not is_reload:
                return extension.artifact
            return self.real().artifact(self._found(extension), is_reload=is_reload)
        return self.real().artifact(extension, is_reload=is_reload)

    def _found(self, extension: Extension) -> _core.Extension:
        """What the host means, as this process finds it itself."""
        sites = [entry for entry in sys.path if type(entry) is str and entry.endswith("-packages")]
        for each in self.real().installed(sites):
            if each.module == extension.module:
                return each
        return self.real().workshop.at(extension.module, extension.place)


class Finder(_rust_finder.Finder):
    """Knows by name what the host has built."""

    def __init__(self, extensions: Sequence[tuple[str, str, str]]) -> None:
        """As they came with the call."""
        given = _Given(extensions)
        super().__init__(given)  # type: ignore[arg-type]
        self._given = given.extensions

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of what the host has built; for everything else, as in any process."""
        given = self._given.get(name)
        if given is None or (path is None and _is_hidden(name, os.path.dirname(given.place))):
            return super().find_spec(name, path, target)
        from firehot._rust_load import spec_of

        return spec_of(name, given, self.builder, is_reload=target is not None)  # type: ignore[arg-type]

    def _look_for_projects(self) -> None:
        """The host has told of all that are installed."""


class Last:
    """Where the host knows of no extension: asked for what no other finder has, so that nothing else pays for it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of an extension that has come after the host's last look."""
        stem = name.rpartition(".")[2]
        for entry in sys.path if path is None else path:
            if type(entry) is not str or entry.endswith((".zip", "-packages")):
                continue
            place = os.path.join(entry, stem)
            if os.path.isfile(place + ".rs") or os.path.isfile(os.path.join(place, "Cargo.toml")):
                return Finder(()).find_spec(name, path, target)
        return None


def install(extensions: Sequence[tuple[str, str, str]]) -> None:
    """Puts the finder in front, as `firehot.rust.install` does; at the end where there is nothing to find."""
    if extensions:
        finder = Finder(extensions)
        sys.meta_path.insert(0, finder)
        sys.meta_path.append(finder.last)
    else:
        sys.meta_path.append(Last())


def _is_hidden(name: str, root: str) -> bool:
    """Whether a folder before the extension's own has something of that name, as the folder of a script may."""
    for entry in sys.path:
        if type(entry) is not str:
            continue
        folder = os.path.abspath(entry)
        if folder == root:
            return False
        if folder.startswith(_rust_finder._LIBRARY) or folder.endswith((".zip", "-packages")):
            continue
        place = os.path.join(folder, name)
        if any(os.path.exists(place + end) for end in ("", ".py", ".rs", *_imp.extension_suffixes())):
            return True
    return False
