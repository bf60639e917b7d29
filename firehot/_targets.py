"""What a program of the daemon's imports: from its request to what the engine scans. Imports nothing of the project."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from firehot import _core, _rust_project, context
from firehot._config import Settings
from firehot._request import Request

MAIN = "__main__"
_INSTALLED = ("site-packages", "dist-packages")


def first_entry(request: Request) -> list[str]:
    """What the interpreter puts in front of `sys.path` for this program."""
    if request.has_option("IP") or (request.environ.get("PYTHONSAFEPATH") and not request.has_option("E")):
        return []
    if request.kind == "code":
        return [""]
    if request.kind in ("module", "function"):
        # `-m` looks there itself; a function is called by a `-c` that does.
        return [request.cwd] if request.kind == "module" else [""]
    script = os.path.join(request.cwd, request.target)
    if os.path.isdir(script) or _is_archive(script):
        return [request.target]
    return [os.path.dirname(os.path.realpath(script))]


def identity(request: Request, root: str) -> tuple[object, ...]:
    """What runs of the same program have in common: they share a template."""
    if request.header.get("asked") == "pytest":
        from firehot import _test_targets

        return _test_targets.identity(request, root)
    if (program := request.debugged()) is not None:
        return "debugpy", *identity(program, root)
    if request.header.get("asked") == "serve":
        from firehot import _serve_targets

        return _serve_targets.identity(request)
    if request.kind == "code":
        statements = _core.imports_of(request.code)
        names = {(module or "", name) for _, _, module, names, _ in statements for name, _ in names}
        what: object = tuple(sorted(names))
    elif request.kind == "script":
        what = os.path.realpath(os.path.join(request.cwd, request.target))
    else:
        what = request.target
    return request.kind, what, request.header.get("asked"), request.executable, request.options


def scan(request: Request, root: str, path: Sequence[str], settings: Settings, folder: str) -> dict[str, Any]:
    """What the engine scans for this program, as `_core.Engine` takes it.

    Args:
        request: The program.
        root: The project's folder: what lies below it, and is not installed, is first-party.
        path: The whole `sys.path` of the program.
        settings: `[tool.firehot]`.
        folder: Where the text of `-c` is kept, for the scan to read.
    """
    if (program := request.debugged()) is not None:
        found = scan(program, root, [*first_entry(program), *path], settings, folder)
        return found | {"preload": [*found["preload"], "debugpy"]}
    tests: dict[str, Any] = {"modules": [], "folders": [], "ignored": [], "preload": []}
    if request.header.get("asked") == "pytest":
        from firehot import _test_targets

        tests = _test_targets.additions(request, root, path)
        entry: tuple[str, str | None, list[str]] = (MAIN, None, [])
    elif request.header.get("asked") == "serve":
        from firehot import _serve_targets

        tests = _serve_targets.additions(request, root, path)
        entry = (MAIN, None, [])
    else:
        entry = _entry(request, root, path)
    package, location, preload = entry
    if location is None:
        location = _written(folder, request.code)
    entries = [os.path.join(request.cwd, entry) for entry in [*tests["folders"], *path]]
    return {
        "package": package,
        "locations": [location],
        "own_folders": [root],
        "only_reached": True,
        "modules": tests["modules"],
        "first_party": [*settings.first_party, *_written_in_rust(root)],
        "ignored": [*settings.ignored_modules, *tests["ignored"]],
        "preload": [*settings.preload, *tests["preload"], *preload],
        "watched": [],
        **context.interpreter(entries),
    }


def _entry(request: Request, root: str, path: Sequence[str]) -> tuple[str, str | None, list[str]]:
    """The module that the scan begins with, its file, and what is preloaded besides."""
    if request.kind == "script":
        script = os.path.join(request.cwd, request.target)
        if os.path.isdir(script):
            script = os.path.join(script, "__main__.py")
        return MAIN, script if os.path.isfile(script) and not _is_archive(script) else None, []
    if request.kind == "code":
        return MAIN, None, []
    name = request.target.partition(":")[0]
    spec = find(name, path)
    if spec is not None and spec.submodule_search_locations is not None and request.kind == "module":
        package = spec
        name, spec = f"{name}.__main__", _below(f"{name}.__main__", package)
    file = None if spec is None or not spec.has_location else spec.origin
    if file is not None and file.endswith(".py") and is_own(file, root):
        return name, file, []
    # `-m` runs a module that nobody has imported, after its parents.
    wanted = name if request.kind == "function" else name.rpartition(".")[0]
    return MAIN, None, [wanted] if wanted and find(wanted, path) is not None else []


def _written_in_rust(root: str) -> list[str]:
    """Modules of the project that no Python file tells of."""
    return [extension.module for extension in _core.Workshop(_rust_project.NOBODY, os.devnull).discover([root])]


def is_own(file: str, root: str) -> bool:
    """Whether a file is the project's own: below its folder, and not installed there."""
    try:
        below = Path(os.path.realpath(file)).relative_to(os.path.realpath(root))
    except ValueError:
        return False
    return not any(part in _INSTALLED for part in below.parts)


def find(name: str, path: Sequence[str]) -> ModuleSpec | None:
    """Where a module lies; nothing is imported, not even its parents."""
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    PathFinder.invalidate_caches()
    top, *below = name.split(".")
    spec = PathFinder.find_spec(top, list(path))
    for part in below:
        if spec is None or spec.submodule_search_locations is None:
            return None
        spec = _below(f"{spec.name}.{part}", spec)
    return spec


def _below(name: str, package: ModuleSpec) -> ModuleSpec | None:
    return PathFinder.find_spec(name, list(package.submodule_search_locations or ()))


def _is_archive(path: str) -> bool:
    if not os.path.isfile(path):
        return False  # To open a pipe is to wait for who writes to it, and to take that from the program.
    try:
        with open(path, "rb") as file:
            return file.read(2) == b"PK"
    except OSError:
        return False


def _written(folder: str, text: bytes) -> str:
    """A file with this text: the scan reads files."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    name = hashlib.sha256(text).hexdigest()[:16]
    path = os.path.join(folder, f"{name}.py")
    if not os.path.exists(path):
        partial = f"{path}.{os.getpid()}"
        with open(partial, "wb") as file:
            file.write(text)
        os.replace(partial, path)
    return path
