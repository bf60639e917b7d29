"""What `firehot pytest` has preloaded: from the configuration of pytest to what the engine scans.

One template serves all runs of pytest in a project: the configuration decides what is in it, not the arguments. It
holds pytest, what its plug-ins import, and what the tests import; never the plug-ins themselves, since pytest rewrites
their `assert` statements while they are imported, and warns of those that it comes too late for. A package that is
more than a plug-in (anyio, hypothesis) is preloaded where something else imports it; see `_rewriting`.

Imports nothing of the project, and not pytest.
"""

from __future__ import annotations

import ast
import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from firehot import _plugins, _pytest_config, _targets
from firehot._request import Request

_LEFT_TO_RUNS = ("pytester", "pytester_assertions")
"""Plug-ins that come with pytest, and are not loaded unless they are asked for: then with other asserts."""
_VALUED = ("-p", "-c", "-k", "-m", "-o", "-n", "-W", "-r")
_SWITCHES = (
    *("--exitfirst", "--verbose", "--quiet", "--lf", "--last-failed", "--ff", "--failed-first", "--nf", "--new-first"),
    *("--pdb", "--trace", "--sw", "--stepwise", "--co", "--collect-only", "--pyargs", "--no-header", "--no-summary"),
    *("--showlocals", "--strict", "--strict-markers", "--strict-config", "--doctest-modules", "--cache-clear", "--"),
)
"""Long options that no value follows."""


@dataclass
class Tests:
    """The files that a run of pytest may import.

    Attributes:
        modules: Each with the name that it gets.
        tests: Those of them that tests are collected from.
        folders: Those that pytest puts in front of `sys.path` for them.
    """

    modules: dict[str, str] = field(default_factory=dict)
    tests: dict[str, None] = field(default_factory=dict)
    folders: dict[str, None] = field(default_factory=dict)

    def add(self, file: str) -> None:
        """Adds a file, and what is imported before it: the packages that it is in."""
        if not file.endswith(".py"):
            return
        base, name = _base(file)
        self.folders[base] = None
        for package in accumulate(name.split(".")[:-1], os.path.join, initial=base):
            if package != base:
                self.modules[os.path.join(package, "__init__.py")] = ".".join(Path(package).relative_to(base).parts)
        self.modules[file] = name
        if os.path.basename(file) != "conftest.py":
            self.tests[file] = None


def identity(request: Request, root: str) -> tuple[object, ...]:
    """What runs share that share a template; arguments and working directory are not among it."""
    file = _pytest_config.find(request.cwd, root)
    return "pytest", file, request.kind, request.target, request.executable, request.options


def additions(request: Request, root: str, path: Sequence[str]) -> dict[str, Any]:
    """What the engine scans, and does not: `modules`, `folders` (in front of the path), `ignored` and `preload`.

    Those of `modules` that tests are collected from are `tests`.
    """
    words = [*_words(request.environ.get("PYTEST_ADDOPTS", "")), *request.args]
    configuration = _pytest_config.read(_pytest_config.find(request.cwd, root), request.cwd)
    words = [*configuration.addopts, *words]
    tests = _tests(configuration, words, request.cwd, root)
    plugins = _plugins.installed(path)
    named = [*_named_plugins(words), *_split(request.environ.get("PYTEST_PLUGINS", "")), *plugins.modules]
    folders = [] if _import_mode(words) == "importlib" else list(tests.folders)
    folders = [*configuration.pythonpath, *folders]
    preload = _own_modules(path)
    left = {*plugins.packages, *(f"_pytest.{name}" for name in _LEFT_TO_RUNS)}
    sources = [*tests.modules, *_files(named, [*folders, *path])]
    # A plug-in may name others, and so on.
    for source in sources:
        told = _told_by(source)
        fresh = [name for name in told.plugins if name not in named]
        named += fresh
        sources += [file for file in _files(fresh, [*folders, *path]) if file not in sources]
        left.update(told.rewritten)
        if _targets.is_own(source, root):
            tests.modules.setdefault(source, _base(source)[1])
        else:
            preload += told.imports
    left.update(named)
    return {
        "modules": [(name, file) for file, name in tests.modules.items()],
        "tests": list(tests.tests),
        "folders": folders,
        "ignored": sorted(left),
        "preload": [name for name in dict.fromkeys(preload) if not _covers({*left, "__future__"}, name)],
    }


# -- the tests -----------------------------------------------------------------------------------


def _tests(configuration: _pytest_config.Configuration, words: list[str], cwd: str, root: str) -> Tests:
    found = Tests()
    places = [os.path.normpath(os.path.join(cwd, word.partition("::")[0])) for word in positional(words, cwd)]
    for place in dict.fromkeys([*configuration.places(), *places]):
        for folder in _above(place, configuration.folder):
            conftest = os.path.join(folder, "conftest.py")
            if os.path.isfile(conftest):
                found.add(conftest)
        if os.path.isfile(place):
            found.add(place)
            continue
        for file in _below(place, configuration):
            if _targets.is_own(file, root):
                found.add(file)
    return found


def _below(top: str, configuration: _pytest_config.Configuration) -> Iterator[str]:
    """The conftest.py and test files of a folder, as pytest collects them."""
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not _is_passed_over(folder, name, configuration))
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name == "conftest.py" or (name.endswith(".py") and _matches(path, configuration.python_files)):
                yield path


def _is_passed_over(folder: str, name: str, configuration: _pytest_config.Configuration) -> bool:
    path = os.path.join(folder, name)
    environment = any(os.path.isfile(os.path.join(path, file)) for file in ("pyvenv.cfg", "conda-meta/history"))
    return name == "__pycache__" or environment or _matches(path, configuration.norecursedirs)


def _matches(path: str, patterns: Iterable[str]) -> bool:
    name = os.path.basename(path)
    return any(fnmatch(path, f"*/{pattern}") if "/" in pattern else fnmatch(name, pattern) for pattern in patterns)


def _above(place: str, top: str) -> Iterator[str]:
    """The folders from `top` down to a place; only its own where it lies elsewhere."""
    folder = place if os.path.isdir(place) else os.path.dirname(place)
    above = [Path(folder), *Path(folder).parents]
    below_top = [path for path in above if path == Path(top) or Path(top) in path.parents]
    return map(str, reversed(below_top or above[:1]))


def _base(file: str) -> tuple[str, str]:
    """The folder that pytest puts into `sys.path` for a file, and the name that it imports it by."""
    folder, name = os.path.split(file)
    parts = [] if name == "__init__.py" else [name[: -len(".py")]]
    while os.path.isfile(os.path.join(folder, "__init__.py")) and os.path.basename(folder).isidentifier():
        folder, name = os.path.split(folder)
        parts.insert(0, name)
    return folder, ".".join(parts)


# -- the command line ----------------------------------------------------------------------------


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return []  # pytest says what is wrong with it.


def positional(words: list[str], cwd: str) -> Iterator[str]:
    """The files, folders and tests that are asked for. What might belong to an option does."""
    for before, word in pairwise(["", *words]):
        is_value = before in _VALUED or (before.startswith("--") and "=" not in before and before not in _SWITCHES)
        if not word.startswith("-") and not is_value and os.path.exists(os.path.join(cwd, word.partition("::")[0])):
            yield word


def _values(words: list[str], option: str) -> Iterator[str]:
    """What an option is given, in each of its forms."""
    for before, word in pairwise(["", *words]):
        if before == option:
            yield word
        elif word.startswith(option) and word != option:
            yield word[len(option) :].removeprefix("=")


def _named_plugins(words: list[str]) -> list[str]:
    names = (word.strip() for word in _values(words, "-p"))
    return [name for name in names if not name.startswith("no:")]


def _import_mode(words: list[str]) -> str:
    return ([*_values(words, "--import-mode")] or ["prepend"])[-1]


# -- plug-ins ------------------------------------------------------------------------------------


def _split(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


@dataclass
class _Told:
    """What a source says at its module level, as far as it stands there as text."""

    imports: list[str] = field(default_factory=list)
    plugins: list[str] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)


def _told_by(file: str) -> _Told:
    told = _Told()
    try:
        body = ast.parse(Path(file).read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError):
        return told
    for statement in body:
        if isinstance(statement, ast.Import):
            told.imports += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            told.imports.append(statement.module)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if "pytest_plugins" in [getattr(target, "id", "") for target in targets]:
                told.plugins += [name for text in _texts(statement.value) for name in _split(text)]
        elif isinstance(statement, ast.Expr) and isinstance(call := statement.value, ast.Call):
            called = getattr(call.func, "id", getattr(call.func, "attr", ""))
            if called == "register_assert_rewrite":
                told.rewritten += [text for argument in call.args for text in _texts(argument)]
    return told


def _texts(value: ast.AST | None) -> Iterator[str]:
    for node in ast.walk(value) if value is not None else ():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _own_modules(path: Sequence[str]) -> list[str]:
    """pytest, and the modules that each run of it loads."""
    spec = _targets.find("_pytest", path)
    if spec is None:
        return []
    names = ["pytest", "pluggy", "iniconfig"]
    for folder in spec.submodule_search_locations or ():
        files = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        stems = (name[: -len(".py")] for name in files if name.endswith(".py"))
        names += [f"_pytest.{stem}" for stem in stems if not stem.startswith("_") and stem not in _LEFT_TO_RUNS]
    return names


def _files(names: Iterable[str], path: Sequence[str]) -> Iterator[str]:
    """The sources of modules."""
    for name in names:
        spec = _targets.find(name, path)
        if spec is not None and spec.has_location and spec.origin is not None and spec.origin.endswith(".py"):
            yield spec.origin


def _covers(names: Iterable[str], module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)
