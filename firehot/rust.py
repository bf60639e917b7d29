"""Rust extensions of a project, built when they are imported and again when they have changed.

`import fast` finds `fast.rs` whose first line is `// firehot`, a crate folder that is marked (a file `.firehot`, or
`# firehot` as the first line of its Cargo.toml), or a project of maturin that is installed editable.

Importing this module and `install` load next to nothing; the engine is loaded when the first extension is met.

Example:
    >>> import firehot.rust
    >>> firehot.rust.install()
    >>> firehot.rust.uninstall()
    True
"""

# No `from __future__ import annotations`, for the sake of each interpreter's start: that is one more file to load.
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from firehot._rust_finder import Finder
    from firehot._rust_settings import Settings as Settings
    from firehot.errors import RustBuildError as RustBuildError

__all__ = ["RustBuildError", "Settings", "build", "imp", "imp_from_path", "install", "uninstall"]

_HOMES = {"Settings": "firehot._rust_settings", "RustBuildError": "firehot.errors"}


def install(
    settings: "Settings | None" = None,
    *,
    background: bool = False,
    settings_for: "Callable[[str, Path], Settings | None] | None" = None,
) -> None:
    """Has imports of this process build Rust extensions that are stale. Called again, it changes the settings.

    `importlib.reload(module)` builds and loads anew what has changed, and does nothing when the build is the same to
    the byte. Who holds the module sees the new content; objects of old classes are not instances of new ones,
    `from module import name` elsewhere stays what it was, and nothing is ever unloaded.

    Args:
        settings: How to build; see `Settings` for what counts before it.
        background: Build on a thread, so that this one never waits but for the first build: an import or a reload gives
            the last good build, and the next reload the new one.
        settings_for: Called with a module's name and its place; returns settings for this one, or `None`.

    Example:
        >>> import firehot.rust
        >>> firehot.rust.install(firehot.rust.Settings(release=True))
        >>> firehot.rust.uninstall()
        True
    """
    from firehot._rust_finder import Finder

    uninstall()
    builder = _Lazy(settings, background, settings_for)
    is_plain = not background and settings_for is None and (settings is None or settings.is_plain)
    finder = Finder(builder, repr(settings) if is_plain else None)  # type: ignore[arg-type]
    sys.meta_path.insert(0, finder)
    sys.meta_path.append(finder.last)


def uninstall() -> bool:
    """Takes the finder away; modules that were imported stay.

    Returns:
        Whether it was there.
    """
    finder = _finder()
    if finder is not None:
        sys.meta_path[:] = [each for each in sys.meta_path if each not in (finder, finder.last)]
    return finder is not None


def imp(name: str, *, settings: "Settings | None" = None) -> "ModuleType":
    """Imports a Rust extension by name, installed or not.

    Raises:
        ModuleNotFoundError: There is none of this name; the message says what is there and why it does not count.
        RustBuildError: It does not build.

    Example:
        >>> import firehot.rust
        >>> firehot.rust.imp("no_such_extension")
        Traceback (most recent call last):
        ModuleNotFoundError: no Rust extension 'no_such_extension' on sys.path
    """
    from firehot._rust_api import imp as imp_

    return imp_(name, settings)


def imp_from_path(
    path: "str | os.PathLike[str]", name: "str | None" = None, *, settings: "Settings | None" = None
) -> "ModuleType":
    """Imports a Rust extension by its place: a `.rs` file, or the folder of a crate. It needs no marker.

    Called again, it makes a module of the newest build; `importlib.reload` of it works while the finder is installed.

    Args:
        path: The file or folder.
        name: What to import it as; the file's or folder's name by default.
        settings: How to build.

    Raises:
        FileNotFoundError: There is nothing.
        RustBuildError: It does not build.
    """
    from firehot._rust_api import imp_from_path as imp_from_path_

    return imp_from_path_(path, name, settings)


def build(
    *roots: "str | os.PathLike[str]", settings: "Settings | None" = None, force: bool = False
) -> "dict[str, Path]":
    """Builds every extension below some folders (the working directory by default), several at once.

    Returns:
        The file to load for each module, by name.

    Raises:
        RustBuildError: One of them does not build; the others are built nevertheless.
    """
    from firehot._rust_api import build as build_

    return build_(roots, settings, force=force)


class _Lazy:
    """A builder that loads what it needs when it is first asked."""

    def __init__(self, *arguments: object) -> None:
        self._arguments = arguments

    def __getattr__(self, name: str) -> object:
        from firehot._rust_build import Builder

        settings, background, choose = self._arguments
        builder = Builder(settings, background=background, choose=choose)  # type: ignore[arg-type]
        finder = _finder()
        if finder is not None and finder.builder is self:  # type: ignore[comparison-overlap]
            finder.builder = builder
        return getattr(builder, name)


def _finder() -> "Finder | None":
    module = sys.modules.get("firehot._rust_finder")
    if module is None:
        return None
    return next((each for each in sys.meta_path if isinstance(each, module.Finder)), None)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value
