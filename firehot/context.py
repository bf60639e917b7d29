"""`isolate_imports`: finds a package without importing it, and opens an environment for it."""

from __future__ import annotations

import importlib
import os
import pkgutil
import site
import sys
import sysconfig
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from firehot import _call, _config, _core, _forks, _host
from firehot._rust_project import RustProject
from firehot.environment import Environment, Output
from firehot.errors import FirehotError, PackageNotFoundError

__all__ = ["isolate_imports", "resolve_package_metadata"]


@dataclass(frozen=True, slots=True)
class _Package:
    """Where a package's source lies: one folder, several (a namespace package), or one file."""

    name: str
    locations: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """What a finder says of a module: the folders of a package, or a file."""

    folders: list[str] | None
    file: str | None

    @classmethod
    def of(cls, spec: ModuleSpec) -> _Place:
        folders = spec.submodule_search_locations
        return cls(None if folders is None else list(folders), spec.origin)


@contextmanager
def isolate_imports(
    package: str,
    *,
    ignored_modules: Iterable[str] | None = None,
    preload: Iterable[str] = (),
    first_party: Iterable[str] = (),
    output: Output = "prefix",
    import_timeout: float | None = None,
    learn: bool | None = None,
    warm_first_party: bool | None = None,
    watch: bool | None = None,
    spares: int | None = None,
) -> Generator[Environment, None, None]:
    """Opens an environment in which the third-party imports of a package are done.

    Scans the package, starts a template process that imports what it finds, and closes both at the end of the block.
    What is given here is added to `[tool.firehot]` in the package's pyproject.toml.

    Args:
        package: A package, a namespace package, a single-file module, or a dotted name. It is not imported.
        ignored_modules: Modules that are not preloaded, with what is below them.
        preload: Modules to preload that no import statement names (plug-ins, drivers).
        first_party: More modules that are the project's own: never preloaded, and scanned with it.
        output: Where the output of children goes: `"prefix"`, `"inherit"` or `"capture"`.
        import_timeout: Seconds that the import of one module may take before it is left out; 60 by default.
        learn: Whether third-party modules that runs import by themselves (plug-ins, lazy imports inside packages) are
            preloaded from then on, and remembered for the project in the user's cache folder. True by default.
        warm_first_party: Whether the project's own modules are imported ahead as well, in a template above the one that
            is free of them, again after each edit. False by default.
        watch: Whether the project's files are watched, so that `update_environment` looks at changed ones only; off by
            default. `Environment.watch` needs no such word.
        spares: How many processes are forked ahead of need and wait for a call, for each template that is in use; 1 by
            default. A call that finds one pays a wake-up instead of a fork. Where memory is short none are kept.

    Yields:
        The environment.

    Raises:
        PackageNotFoundError: There is no such package, or it has no source files.
        TemplateError: The template can't be started.
        FirehotError: The call was reached while multiprocessing or a child imports the main module again.

    Example:
        >>> from firehot import isolate_imports
        >>> with isolate_imports("json") as env:
        ...     env.run(sum, [1, 2, 3])
        6
    """
    _core.configure_logging(os.environ.get("FIREHOT_LOG_LEVEL"))
    _refuse_recursion()
    found = _locate(package)
    settings = _config.read(found.locations[0])
    rust = RustProject(found.locations)
    scan: dict[str, Any] = {
        "package": found.name,
        "locations": [str(path) for path in found.locations],
        "own_folders": [],
        "only_reached": False,
        "modules": [],
        "first_party": [*settings.first_party, *_names("first_party", first_party), *rust.first_party],
        "ignored": [*settings.ignored_modules, *_names("ignored_modules", ignored_modules or ())],
        "preload": [*settings.preload, *_names("preload", preload)],
        "watched": rust.watched,
        **interpreter(_host.search_path()),
    }
    limit = settings.import_timeout if import_timeout is None else import_timeout
    count = settings.spares if spares is None else _config.checked_spares("spares", spares)
    fork = _forks.ForkSettings(
        words=settings.fork,
        first_party=(found.name, *scan["first_party"]),
        folders=tuple(str(path.parent if path.is_file() else path) for path in found.locations),
    )
    environment = Environment(
        scan,
        output=output,
        import_timeout=limit,
        spares=count,
        fork=fork,
        learn=settings.learn if learn is None else learn,
        warm_first_party=settings.warm_first_party if warm_first_party is None else warm_first_party,
        watch=settings.watch if watch is None else watch,
        rust=rust,
    )
    with environment:
        yield environment


def resolve_package_metadata(package: str) -> tuple[str, str]:
    """The folder that holds a package's source, and its name.

    Args:
        package: As for `isolate_imports`.

    Returns:
        Folder and name; of a namespace package the first folder, of a single file the one that it lies in.

    Raises:
        PackageNotFoundError: There is no such package, or it has no source files.

    Example:
        >>> from firehot.context import resolve_package_metadata
        >>> folder, name = resolve_package_metadata("json")
        >>> folder.endswith("json"), name
        (True, 'json')
    """
    found = _locate(package)
    first = found.locations[0]
    return str(first.parent if first.is_file() else first), found.name


def _names(option: str, names: Iterable[str]) -> list[str]:
    if isinstance(names, str):
        raise TypeError(f"{option} takes several names: [{names!r}], not {names!r}")
    return list(names)


def _refuse_recursion() -> None:
    """A script without a `__main__` guard comes here again when a process of its own imports it."""
    if _call.LOADING.active:
        raise FirehotError(
            "isolate_imports was reached while a child imports the module that its function lives in: "
            'put the call under `if __name__ == "__main__":`, or into a function'
        )
    process = sys.modules.get("multiprocessing.process")
    if process is not None and getattr(process.current_process(), "_inheriting", False):
        raise FirehotError(
            "isolate_imports was reached while multiprocessing imports the main module again: "
            'put the call under `if __name__ == "__main__":`'
        )


def _locate(package: str) -> _Package:
    """Finds a package as `import` would, but imports nothing, not even its parents."""
    if not package or not all(part.isidentifier() for part in package.split(".")):
        raise PackageNotFoundError(f"{package!r} is no name of a package", name=package)
    importlib.invalidate_caches()
    parts = package.split(".")
    place = _find_top(parts[0])
    for end in range(2, len(parts) + 1):
        if place is not None and place.folders is None:
            raise PackageNotFoundError(f"{'.'.join(parts[: end - 1])!r} is a module, not a package", name=package)
        place = place and _find_below(".".join(parts[:end]), place.folders or [])
    if place is None:
        raise PackageNotFoundError(
            f"there is no package {package!r} on sys.path of {sys.executable}; install it there "
            "(pip install -e . in its folder), or start Python in the folder that holds it",
            name=package,
        )
    if place.folders is not None:
        locations = tuple(Path(os.path.abspath(folder)) for folder in place.folders)
    elif place.file is not None and place.file.endswith(".py"):
        locations = (Path(os.path.abspath(place.file)),)
    else:
        locations = ()
    locations = tuple(location for location in locations if location.exists())
    if not locations:
        raise PackageNotFoundError(f"{package!r} has no source files to scan", name=package)
    return _Package(package, locations)


def _find_top(name: str) -> _Place | None:
    """A top-level module, by the finders that `import` asks (editable installs bring their own)."""
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find is not None and (spec := find(name, None, None)) is not None:
            return _Place.of(spec)
    return None


def _find_below(name: str, folders: list[str]) -> _Place | None:
    """A submodule, in the folders of its parent. The finders of `import` would want the parent imported first."""
    portions: list[str] = []
    for folder in folders:
        importer = pkgutil.get_importer(folder)
        spec = importer.find_spec(name) if importer is not None else None
        if spec is None:
            continue
        if spec.loader is not None:
            return _Place.of(spec)
        portions += spec.submodule_search_locations or []
    return _Place(portions, None) if portions else None


def interpreter(entries: Iterable[str]) -> dict[str, list[str]]:
    """Where this interpreter finds modules with these entries of `sys.path`, for the scan."""
    path = [os.path.abspath(entry) for entry in entries]
    paths = sysconfig.get_paths()
    folders = {paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    if hasattr(site, "getsitepackages"):
        folders.update(site.getsitepackages())
    user = getattr(site, "getusersitepackages", lambda: None)()
    if user is not None:
        folders.add(user)
    folders.update(entry for entry in path if Path(entry).name in ("site-packages", "dist-packages", "lib-dynload"))
    return {
        "sys_path": path,
        "site_folders": sorted(os.path.abspath(folder) for folder in folders),
        "builtin_modules": list(sys.builtin_module_names),
        "stdlib_modules": sorted(sys.stdlib_module_names),
    }
