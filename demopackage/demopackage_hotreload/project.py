"""A copy of an installed package's sources, to be edited while the original stays as it is."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Project:
    """A package in a folder of its own, which comes first on `sys.path`."""

    package: str
    path: Path

    @property
    def sources(self) -> Path:
        return self.path / self.package

    def set_constant(self, file: str, name: str, value: str) -> None:
        """Give a module-level string constant another value."""
        self._edit(file, rf"^{name} = .*$", f'{name} = "{value}"')

    def add_import(self, file: str, module: str) -> None:
        """Import one more module, above the first import of the file."""
        self._edit(file, r"^(?=(?:import|from) (?!__future__))", f"import {module}\n")

    def _edit(self, file: str, pattern: str, replacement: str) -> None:
        path = self.sources / file
        text = path.read_text(encoding="utf-8")
        edited, count = re.subn(pattern, lambda _: replacement, text, count=1, flags=re.MULTILINE)
        if count == 0:
            raise ValueError(f"{path} has no line like {pattern}")
        path.write_text(edited, encoding="utf-8")


@contextmanager
def copy_of(package: str) -> Iterator[Project]:
    """Copy an installed package, without importing it; an import now finds the copy."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not installed", name=package)
    with tempfile.TemporaryDirectory(prefix="firehot-demo-") as folder:
        project = Project(package, Path(folder).resolve())
        shutil.copytree(
            spec.submodule_search_locations[0],
            project.sources,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        sys.path.insert(0, str(project.path))
        try:
            yield project
        finally:
            sys.path.remove(str(project.path))
            # An exception that came back from a child has brought its class along, from the copy.
            for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
                del sys.modules[name]
