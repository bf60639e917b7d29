"""Loads Rust extensions into this process, and again: a new build has a new path, which the system's loader takes so.

What a reload can't do: objects of old classes are not instances of new ones, `from module import name` elsewhere stays
what it was, and no old build is ever unloaded.
"""

from __future__ import annotations

import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from firehot import _core
    from firehot._rust_build import Builder
    from firehot._rust_quick import Note

# What a module has from the import system stays the module's own.
_OF_IMPORT = ("__name__", "__loader__", "__package__", "__spec__", "__file__")

# For each file, the module that was made from it first, and what was in it then. A library that makes its module in one
# phase (pyo3 before 0.26) gives that same object again; by then a reload may have filled it with another build.
_MADE: dict[str, tuple[ModuleType, dict[str, object]]] = {}


class Loader:
    """Builds when the module is made, not when it is found: asking for a spec costs nothing."""

    def __init__(self, extension: _core.Extension, builder: Builder, note: Note | None = None) -> None:
        """Of one extension; `note` is where its build is written down for the next process."""
        self.extension = extension
        self.builder = builder
        self._note = note

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module of the newest build.

        Raises:
            RustBuildError: It does not build.
        """
        try:
            path = self.builder.artifact(self.extension)
        except ImportError as error:
            # How the build was asked for is not what is wrong.
            raise error.with_traceback(None) from None
        if self._note is not None:
            self._note.keep_build(path, self.extension, self.builder)
        spec.origin = path
        spec.has_location = True
        return ExtensionFileLoader(spec.name, path).create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Runs it; on a reload, takes over what the newest build has, unless that is loaded already.

        Raises:
            RustBuildError: It does not build; the module stays as it was.
        """
        spec = module.__spec__
        if spec is None or spec.loader_state != "reload":
            # What the module says itself may be where a later build lies that it was filled with.
            path = str((spec and spec.origin) or module.__file__)
            contents = _contents(module, ExtensionFileLoader(module.__name__, path), path)
            if module.__dict__ != contents:
                _fill(module, contents, path)
            return
        try:
            path = self.builder.artifact(self.extension, is_reload=True)
        except ImportError as error:
            raise error.with_traceback(None) from None
        if path != module.__file__:
            _replace(module, path)
        spec.loader_state = None
        spec.origin = module.__file__
        spec.has_location = True

    def get_filename(self, name: str | None = None) -> str:
        """The published file, for whoever asks the loader (`runpy`, `pkgutil`)."""
        return self.builder.artifact(self.extension)


def spec_of(
    name: str, extension: _core.Extension, builder: Builder, *, is_reload: bool, note: Note | None = None
) -> ModuleSpec:
    """The spec of an extension. On a reload it has no location: the module keeps its own until it has changed."""
    state = "reload" if is_reload else None
    return ModuleSpec(name, Loader(extension, builder, note), loader_state=state)  # type: ignore[arg-type]


def drop_stale(name: str, extension: _core.Extension, builder: Builder) -> None:
    """Takes a loaded extension out of `sys.modules` when there is a newer build of it.

    Raises:
        RustBuildError: It does not build.
    """
    module = sys.modules.get(name)
    if module is not None and builder.artifact(extension, is_reload=True) != getattr(module, "__file__", None):
        _forget(name)
        sys.modules.pop(name, None)


def _replace(module: ModuleType, path: str) -> None:
    """Gives a module the content of another build; everyone who holds the module has it then."""
    name = module.__name__
    spec = ModuleSpec(name, ExtensionFileLoader(name, path), origin=path)
    spec.has_location = True
    loader = ExtensionFileLoader(name, path)
    try:
        fresh = loader.create_module(spec)
        if not _is_made(fresh, path):
            for attribute, value in (("__spec__", spec), ("__loader__", loader), ("__file__", path)):
                setattr(fresh, attribute, value)
            fresh.__package__ = spec.parent
        contents = _contents(fresh, loader, path)
    finally:
        # A module that is not made in two phases puts itself there.
        sys.modules[name] = module
    _forget(name)
    _fill(module, contents, path)


def _contents(module: ModuleType, loader: ExtensionFileLoader, path: str) -> dict[str, object]:
    """What is in a module that was made from a file, after it was run."""
    if _is_made(module, path):
        return _MADE[path][1]
    loader.exec_module(module)
    contents = dict(module.__dict__)
    _MADE.setdefault(path, (module, contents))
    return contents


def _is_made(module: ModuleType, path: str) -> bool:
    return path in _MADE and _MADE[path][0] is module


def _fill(module: ModuleType, contents: dict[str, object], path: str) -> None:
    own = {attribute: module.__dict__[attribute] for attribute in _OF_IMPORT if attribute in module.__dict__}
    module.__dict__.clear()
    module.__dict__.update(contents)
    module.__dict__.update(own)
    module.__file__ = path


def _forget(name: str) -> None:
    """What an extension has put below itself (submodules) is the old build's."""
    for below in [key for key in sys.modules if key.startswith(name + ".")]:
        del sys.modules[below]
