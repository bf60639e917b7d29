"""The little that firehot has to know of a project's configuration of pytest. Says nothing of what is wrong with it."""

from __future__ import annotations

import glob
import os
import shlex
from collections.abc import Iterator
from configparser import ConfigParser, Error
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firehot._toml import tomllib

_FILES = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""In the order in which pytest looks for them."""
_SECTIONS = {"setup.cfg": "tool:pytest"}
_NOT_ENTERED = ("*.egg", ".*", "_darcs", "build", "CVS", "dist", "node_modules", "venv", "{arch}")


@dataclass(frozen=True)
class Configuration:
    """What counts for what is preloaded.

    Attributes:
        folder: Where it lies; the working directory where there is none.
        testpaths: Folders and files, absolute, that are there.
        python_files: Patterns of test files.
        norecursedirs: Patterns of folders without tests.
        pythonpath: Folders, absolute, for the front of `sys.path`.
        addopts: Words in front of those of the command line.
    """

    folder: str
    testpaths: tuple[str, ...] = ()
    python_files: tuple[str, ...] = ("test_*.py", "*_test.py")
    norecursedirs: tuple[str, ...] = _NOT_ENTERED
    pythonpath: tuple[str, ...] = ()
    addopts: tuple[str, ...] = ()

    def places(self) -> tuple[str, ...]:
        """Where the tests are."""
        return self.testpaths or (self.folder,)


def find(start: str, root: str) -> str | None:
    """The file that configures runs of pytest in a folder: the nearest, up to the project's own folder."""
    start = os.path.realpath(start)
    for folder in (Path(start), *Path(start).parents):
        for name in _FILES:
            if _table(folder / name) is not None:
                return str(folder / name)
        if str(folder) == root:
            break
    return None


def read(file: str | None, cwd: str) -> Configuration:
    """What it says; defaults where there is none."""
    if file is None:
        return Configuration(cwd)
    folder = os.path.dirname(file)
    table = _table(Path(file)) or {}
    given: dict[str, Any] = {}
    for name in ("python_files", "norecursedirs", "addopts"):
        if name in table:
            given[name] = tuple(_words(table[name]))
    for name in ("testpaths", "pythonpath"):
        if name in table:
            given[name] = tuple(_paths(table[name], folder))
    return Configuration(folder, **given)


def _paths(value: object, folder: str) -> Iterator[str]:
    for word in _words(value):
        path = os.path.normpath(os.path.join(folder, word))
        # `testpaths` may hold patterns.
        yield from sorted(glob.glob(path, recursive=True)) or [path]


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError:
            return []
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []


def _table(file: Path) -> dict[str, Any] | None:
    """Settings by name; `None` where the file is not there, or configures no pytest."""
    try:
        text = file.read_text("utf-8")
        if file.suffix == ".toml":
            return _from_toml(file.name, tomllib.loads(text))
        parser = ConfigParser(interpolation=None)
        parser.read_string(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, Error):
        return None
    section = _SECTIONS.get(file.name, "pytest")
    if parser.has_section(section):
        return dict(parser[section])
    # A pytest.ini counts when it is empty, too.
    return {} if file.name in ("pytest.ini", ".pytest.ini") else None


def _from_toml(name: str, document: dict[str, Any]) -> dict[str, Any] | None:
    if name != "pyproject.toml":
        found = document.get("pytest", {})
        return found if isinstance(found, dict) else {}
    table = document.get("tool", {}).get("pytest") if isinstance(document.get("tool", {}), dict) else None
    if not isinstance(table, dict):
        return None
    options = table.get("ini_options", table)
    return options if isinstance(options, dict) else None
