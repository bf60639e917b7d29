"""The finder of Rust extensions in a child: what the host has built ahead of the call is loaded without another look.

Imported by the template, which imports no extension itself.
"""

from __future__ import annotations

import sys

from firehot import _rust_finder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

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
        self._given = {module: Extension(module, artifact, place) for module, artifact, place in extensions}
        self._loaded: set[str] = set()
        self._builder: Builder | None = None

    def real(self) -> Builder:
        if self._builder is None:
            from firehot._rust_build import Builder

            self._builder = Builder()
        return self._builder

    def find(self, name: str, path: Sequence[str]) -> object:
        return self._given.get(name) or self.real().find(name, path)

    def reasons(self, name: str, path: Sequence[str]) -> list[str]:
        return self.real().reasons(name, path)

    def installed(self, sites: Sequence[str]) -> list[object]:
        others = [each for each in self.real().installed(sites) if each.module not in self._given]
        return [*others, *self._given.values()]

    def artifact(self, extension: Extension | _core.Extension, *, is_reload: bool = False) -> str:
        if isinstance(extension, Extension):
            if not is_reload:
                return extension.artifact
            found = self.real().workshop.at(extension.module, extension.place)
            return self.real().artifact(found, is_reload=True)
        return self.real().artifact(extension, is_reload=is_reload)


class Finder(_rust_finder.Finder):
    """Knows by name what the host has built."""

    def __init__(self, extensions: Sequence[tuple[str, str, str]]) -> None:
        """As they came with the call."""
        super().__init__(_Given(extensions))  # type: ignore[arg-type]
        self._names = frozenset(module for module, _, _ in extensions)

    def _may_hold(self, path: Sequence[str], name: str) -> bool:
        return name in self._names or super()._may_hold(path, name)


def install(extensions: Sequence[tuple[str, str, str]]) -> None:
    """Puts the finder in front, as `firehot.rust.install` does."""
    sys.meta_path.insert(0, Finder(extensions))
