"""What `firehot.rust` does beside installing its finder: imports by name and by place, and builds of whole folders."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

from firehot import _core
from firehot._rust_build import Builder
from firehot._rust_finder import Finder
from firehot._rust_load import Loader
from firehot._rust_settings import Settings
from firehot.errors import RustBuildError


def imp(name: str, settings: Settings | None) -> ModuleType:
    """See `firehot.rust.imp`."""
    if name in sys.modules:
        return sys.modules[name]
    builder = Builder(settings)
    parent, _, _ = name.rpartition(".")
    path: Sequence[str] = sys.path
    if parent:
        __import__(parent)
        path = sys.modules[parent].__path__
    sites = [entry for entry in sys.path if type(entry) is str and entry.endswith("-packages")]
    extension = builder.find(name, path) or _named(builder.installed(sites), name)
    if extension is None:
        reasons = builder.reasons(name, path)
        text = f"no Rust extension {name!r} on {'the path of ' + parent if parent else 'sys.path'}"
        raise ModuleNotFoundError("; ".join([text, *reasons]), name=name)
    return _load(name, extension, builder)


def imp_from_path(path: str | os.PathLike[str], name: str | None, settings: Settings | None) -> ModuleType:
    """See `firehot.rust.imp_from_path`."""
    place = os.path.abspath(path)
    if not os.path.exists(place):
        raise FileNotFoundError(f"there is no {place} to build a Rust extension from")
    builder = Builder(settings)
    module = name or Path(place).stem.replace("-", "_")
    extension = builder.workshop.at(module, place)
    loaded = _load(module, extension, builder)
    for finder in sys.meta_path:
        if isinstance(finder, Finder):
            finder.place(module, extension)
    return loaded


def build(
    roots: Sequence[str | os.PathLike[str]], settings: Settings | None, *, force: bool = False
) -> dict[str, Path]:
    """See `firehot.rust.build`."""
    builder = Builder(Settings(force=True).over(settings or Settings()) if force else settings)
    extensions = builder.workshop.discover([os.path.abspath(root) for root in roots or ["."]])
    built, errors = build_all(builder, extensions)
    if errors:
        raise errors[0]
    return built


def build_all(builder: Builder, extensions: Sequence[_core.Extension]) -> tuple[dict[str, Path], list[RustBuildError]]:
    """Builds what is stale, each on a thread of its own: cargo itself makes those wait that share a folder."""
    errors: list[RustBuildError] = []
    built: dict[str, Path] = {}
    lock = threading.Lock()

    def one(extension: _core.Extension) -> None:
        try:
            path = Path(builder.artifact(extension))
        except RustBuildError as error:
            with lock:
                errors.append(error)
        else:
            with lock:
                built[extension.module] = path

    if len(extensions) == 1:
        one(extensions[0])
    elif extensions:
        with ThreadPoolExecutor(min(len(extensions), os.cpu_count() or 1), "firehot-rust") as pool:
            list(pool.map(one, extensions))
    return built, errors


def _named(extensions: Sequence[_core.Extension], name: str) -> _core.Extension | None:
    return next((each for each in extensions if each.module == name), None)


def _load(name: str, extension: _core.Extension, builder: Builder) -> ModuleType:
    spec = ModuleSpec(name, Loader(extension, builder))  # type: ignore[arg-type]
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        Loader(extension, builder).exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
