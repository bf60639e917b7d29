"""The project that is measured: a small first-party package over a stack, and generated trees of any size."""

from __future__ import annotations

import compileall
import os
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

# What is called lies in a module that loads nothing, so that the caller's own process can name it.
_ENTRY = """
def run():
    from own.app import work

    return work()


def hold(fifo):
    # Runs, and stays until the other end of the FIFO is closed.
    import os

    run()
    with open(fifo, "rb") as end:
        end.read()
    return os.getpid()
"""
_PART = """
def answer():
    return 42
"""
_APP = """
{imports}
from own.part import answer


def work():
    return answer()
"""


@dataclass(frozen=True, slots=True)
class Project:
    """A package `own` in `source`, and third-party modules of its own making in `packages`; both on PYTHONPATH."""

    source: Path
    packages: Path

    @property
    def paths(self) -> tuple[Path, Path]:
        """What PYTHONPATH holds."""
        return self.source, self.packages

    def write_app(self, modules: Iterable[str]) -> Path:
        """Writes the module that imports the stack; returns it."""
        imports = "\n".join(f"import {module}" for module in modules)
        return _write(self.source / "own" / "app.py", _APP.format(imports=imports))

    def add_files(self, count: int, *, folder: str = "tree", lines: int = 40) -> None:
        """Adds first-party modules, a hundred in each folder; each imports a few modules and its neighbour."""
        for number in range(count):
            name = f"{folder}/part{number // 100}"
            if number % 100 == 0:
                _write(self.source / "own" / name / "__init__.py", "")
            _write(self.source / "own" / name / f"module{number}.py", _module(folder, number, lines))
        _write(self.source / "own" / folder / "__init__.py", "")

    def add_package(self, name: str, modules: int = 40) -> None:
        """Adds a third-party package of that many modules, with ten functions in each."""
        imports = "".join(f"from {name} import module{number}\n" for number in range(modules))
        _write(self.packages / name / "__init__.py", imports)
        body = "\n\n".join(f"def work{number}(a, b=None):\n    return a if b is None else b\n" for number in range(10))
        for number in range(modules):
            _write(self.packages / name / f"module{number}.py", f'"""Module {number}."""\n\n\n{body}')

    def write_distribution(self, name: str, version: str) -> None:
        """Makes the package an installed distribution of that version, as an installer does."""
        for old in self.packages.glob(f"{name}-*.dist-info"):
            shutil.rmtree(old)
        folder = self.packages / f"{name}-{version}.dist-info"
        _write(folder / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        _write(folder / "RECORD", f"{name}/__init__.py,,\n")
        _write(self.packages / name / "version.py", f"VERSION = {version!r}\n")

    def add_packages(self, count: int) -> str:
        """Adds a third-party module that imports that many tiny ones; returns its name."""
        names = [f"tiny.part{number // 100}.module{number}" for number in range(count)]
        _write(self.packages / "tiny" / "__init__.py", "")
        for number, name in enumerate(names):
            path = self.packages.joinpath(*name.split(".")).with_suffix(".py")
            if number % 100 == 0:
                _write(path.parent / "__init__.py", "")
            _write(path, f"VALUE = {number}\n\n\ndef value():\n    return VALUE\n")
        _write(self.packages / "tiny" / "all.py", "".join(f"import {name}\n" for name in names))
        return "tiny.all"

    def add_ballast(self, megabytes: int) -> str:
        """Adds a third-party module that keeps that much written memory; returns its name."""
        text = f"PAGES = bytearray({megabytes} << 20)\nPAGES[::4096] = b'x' * len(PAGES[::4096])\n"
        _write(self.packages / "ballast.py", text)
        return "ballast"

    def compile(self) -> None:
        """Writes the bytecode of every file, in a later second than the sources: younger bytecode is not trusted."""
        time.sleep(1.0 - time.time() % 1.0 + 0.05)
        for folder in self.paths:
            compileall.compile_dir(folder, quiet=2, workers=os.cpu_count() or 1)


def make(folder: Path, modules: Sequence[str]) -> Project:
    """Writes the project over the stack's modules into an empty folder."""
    project = Project(folder / "source", folder / "packages")
    project.packages.mkdir(parents=True)
    _write(project.source / "own" / "__init__.py", "")
    _write(project.source / "own" / "entry.py", _ENTRY)
    _write(project.source / "own" / "part.py", _PART)
    project.write_app(modules)
    return project


def _module(folder: str, number: int, lines: int) -> str:
    package = f"own.{folder}.part{number // 100}"
    before = f"from {package} import module{number - 1}\n" if number % 100 else ""
    imports = f"import json\nimport os.path\nfrom collections.abc import Iterable\n{before}"
    body = "".join(f"    # line {line}\n    total += {line}\n" for line in range(lines // 2))
    start = "def work(items: Iterable[int]) -> int:\n    total = sum(items)\n"
    return f'"""Module {number}."""\n\n{imports}\n\n{start}{body}    return total\n'


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path
