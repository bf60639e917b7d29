"""Distributions and virtual environments to throw away, and what the tests about stale templates ask of one.

Imports little: children import this file when they run a function of it.
"""

from __future__ import annotations

import csv
import os
import pkgutil
import shutil
import sys
import sysconfig
import textwrap
import venv
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firehot.environment import Environment

_METADATA = "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
_WHEEL = "Wheel-Version: 1.0\nGenerator: firehot-tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

# -- what a template is asked ----------------------------------------------------------------------


def template_of(environment: Environment) -> int:
    """The process that the next child is forked from."""
    return environment.run(os.getppid)


def value_of(environment: Environment, module: str = "dep_a", name: str = "VALUE") -> Any:
    """What a child finds in a module; from the template's copy when it is preloaded."""
    # A function that travels by name: a new template has no cloudpickle yet, and its import takes longer than a run.
    return environment.run(pkgutil.resolve_name, f"{module}:{name}")


@contextmanager
def rebuilds(environment: Environment, *reasons: str) -> Iterator[None]:
    """What the block does makes the template stale: the next exec has another one, for these reasons."""
    before = template_of(environment)
    yield
    assert template_of(environment) != before, "the template is stale and was kept"
    said = environment.last_rebuild
    assert said is not None and all(reason in said for reason in reasons), said


@contextmanager
def keeps(environment: Environment) -> Iterator[None]:
    """What the block does leaves the template true: it stays."""
    before, said = template_of(environment), environment.last_rebuild
    yield
    after = template_of(environment)
    assert environment.last_rebuild == said
    assert after == before


# -- distributions ---------------------------------------------------------------------------------


def build_wheel(folder: Path, name: str, version: str, files: Mapping[str, str], entry_points: str = "") -> Path:
    """A wheel as build back ends make them: the files, then the dist-info folder with its RECORD."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    contents = {
        **files,
        f"{info}/METADATA": _METADATA.format(name=name, version=version),
        f"{info}/WHEEL": _WHEEL,
    }
    if entry_points:
        contents[f"{info}/entry_points.txt"] = entry_points
    record = "".join(f"{file},,\n" for file in (*contents, f"{info}/RECORD"))
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**contents, f"{info}/RECORD": record}.items():
            archive.writestr(file, textwrap.dedent(text))
    return path


def uninstall(site: Path, name: str) -> None:
    """Removes a distribution as pip does: what its RECORD lists, and the folders that are empty then."""
    for record in site.glob(f"{name}-*.dist-info/RECORD"):
        with record.open(newline="") as lines:
            files = [site / row[0] for row in csv.reader(lines)]
        for file in files:
            file.unlink(missing_ok=True)
        for folder in sorted({parent for file in files for parent in file.parents if site in parent.parents})[::-1]:
            shutil.rmtree(folder / "__pycache__", ignore_errors=True)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def install(site: Path, wheel: Path) -> None:
    """Installs a wheel as pip does, in place of the version that is there."""
    uninstall(site, wheel.name.partition("-")[0])
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        info = next(Path(name).parent for name in archive.namelist() if name.endswith("/RECORD"))
    (site / info / "INSTALLER").write_text("pip\n")
    with (site / info / "RECORD").open("a") as record:
        record.write(f"{info}/INSTALLER,,\n")


class Index:
    """Makes distributions and installs them into one folder."""

    def __init__(self, wheels: Path, site: Path) -> None:
        self.wheels = wheels
        self.site = site

    def install(self, name: str, version: str, files: Mapping[str, str] | None = None, entry_points: str = "") -> None:
        """A distribution with these files; by default a package of its name that knows its version."""
        contents = {f"{name}/__init__.py": f"VALUE = {version!r}\n"} if files is None else files
        install(self.site, build_wheel(self.wheels, name, version, contents, entry_points))

    def uninstall(self, name: str) -> None:
        uninstall(self.site, name)


# -- virtual environments --------------------------------------------------------------------------


class VirtualEnv:
    """A virtual environment that sees this firehot and the packages that it needs; has no pip."""

    def __init__(self, folder: Path, *, symlinks: bool = True) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        self._builder = venv.EnvBuilder(symlinks=symlinks)
        self.create()

    @property
    def site(self) -> Path:
        """Its site-packages."""
        return next((self.folder / "lib").glob("python*")) / "site-packages"

    def create(self) -> None:
        """Makes it, also in place of one that was removed."""
        self._builder.create(self.folder)
        root = Path(sys.modules["firehot"].__file__ or "").parent.parent
        self.pth("_firehot_tests", str(root), sysconfig.get_path("purelib"))

    def recreate(self) -> None:
        """As `rm -r` and `python -m venv` do."""
        shutil.rmtree(self.folder)
        self.create()

    def pth(self, name: str, *lines: str) -> Path:
        path = self.site / f"{name}.pth"
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def install_editable(self, name: str, source: Path, *, by_finder: bool) -> None:
        """An editable install: by a path in a .pth file, or by a finder that one installs, as setuptools does both."""
        info = self.site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(_METADATA.format(name=name, version="1.0"))
        (info / "direct_url.json").write_text(f'{{"url": "file://{source}", "dir_info": {{"editable": true}}}}\n')
        if not by_finder:
            self.pth(f"__editable__.{name}-1.0", str(source))
            return
        finder = f"__editable___{name}_finder"
        (self.site / f"{finder}.py").write_text(_FINDER.format(mapping={name: str(source / name)}))
        self.pth(f"__editable__.{name}-1.0", f"import {finder}; {finder}.install()")

    def command(self, script: Path, *arguments: object) -> Sequence[str]:
        return [str(self.python), str(script), *map(str, arguments)]


# The shape of what setuptools writes.
_FINDER = """\
import sys
from importlib.util import spec_from_file_location
from pathlib import Path

MAPPING = {mapping!r}

class Finder:
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        if fullname in MAPPING:
            return spec_from_file_location(fullname, Path(MAPPING[fullname], "__init__.py"))

def install():
    if Finder not in sys.meta_path:
        sys.meta_path.append(Finder)
"""


def write_zip(path: Path, files: Mapping[str, str]) -> None:
    """Puts an archive in place at once, as installers do."""
    fresh = path.with_name(path.name + ".new")
    with zipfile.ZipFile(fresh, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    os.replace(fresh, path)
