"""New Rust extensions that build as they are: a file, a crate, a project of maturin. Overwrites nothing."""

from __future__ import annotations

import keyword
import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from firehot import _core
from firehot._command import UsageError
from firehot.errors import FirehotError

# The newest that firehot itself is built with.
PYO3 = "0.30"

_ADD = """\
/// The sum of two numbers.
#[pyfunction]
fn add(a: i64, b: i64) -> i64 {
    a + b
}
"""

_FILE = f"""\
// firehot:pyo3
//
// The module that Python imports is made from the functions and classes below; `firehot rust show` prints it.
// A comment that begins with "//: " is a line of Cargo.toml.
use pyo3::prelude::*;

{_ADD}"""

_LIBRARY = """\
use pyo3::prelude::*;

#[pymodule]
mod {module} {{
    use pyo3::prelude::*;

{add}}}
"""

_MANIFEST = """\
[package]
name = "{name}"
version = "0.1.0"
edition = "2021"

[lib]
name = "{module}"
crate-type = ["cdylib"]

[dependencies]
pyo3 = {{ version = "{pyo3}", features = ["abi3-py310"] }}
"""

_ALONE = """
# It belongs to no workspace of a folder above.
[workspace]
"""

_PYPROJECT = """\
[build-system]
requires = ["maturin>=1.9,<2"]
build-backend = "maturin"

[project]
name = "{name}"
version = "0.1.0"
requires-python = ">=3.10"

[tool.maturin]
manifest-path = "rust/Cargo.toml"
python-source = "src"
"""

_PACKAGE = '''\
"""The Python side of {module}."""

from {module}.{module} import add

__all__ = ["add"]
'''

_IGNORED = "/target\n__pycache__/\n*.so\n"


@dataclass(frozen=True, slots=True)
class Made:
    """What was made, and what its user does next."""

    place: Path
    next_steps: list[str]


def make(path: Path, *, is_mixed: bool) -> Made:
    """Makes an extension at a path.

    Raises:
        UsageError: No module can have such a name.
        FirehotError: Something is there.
        OSError: It can't be written.
    """
    place = Path(os.path.abspath(path))
    is_file = place.suffix == ".rs"
    if is_file and is_mixed:
        raise UsageError(f"--mixed makes a folder, {path} names a file")
    name = place.stem if is_file else place.name
    module = name.replace("-", "_") if is_mixed else name
    _check_name(module, place)
    is_empty = not is_file and place.is_dir() and not place.is_symlink() and not any(place.iterdir())
    if os.path.lexists(place) and not is_empty:
        raise FirehotError(f"{place} is there, and nothing is overwritten")
    place.parent.mkdir(parents=True, exist_ok=True)
    if is_file:
        _write_file(place)
        return Made(place, _steps(place, module))
    _write_folder(place, _project(name, module, place) if is_mixed else _crate(module, place))
    return Made(place, _project_steps(place, module) if is_mixed else _steps(place, module))


def _check_name(module: str, place: Path) -> None:
    if not module.isidentifier() or keyword.iskeyword(module):
        raise UsageError(f"Python can't import {module!r}: use letters, digits and _ in the last part of {place}")
    problem = _core.rust_name_problem(module, str(place))
    if problem is not None:
        raise UsageError(problem)


def _crate(module: str, place: Path) -> dict[str, str]:
    manifest = _MANIFEST.format(name=module, module=module, pyo3=PYO3)
    return {
        "Cargo.toml": f"# firehot\n{manifest}{_alone(place)}",
        "src/lib.rs": _library(module),
        ".gitignore": _IGNORED,
    }


def _project(name: str, module: str, place: Path) -> dict[str, str]:
    manifest = _MANIFEST.format(name=name, module=module, pyo3=PYO3)
    return {
        "pyproject.toml": _PYPROJECT.format(name=name),
        "rust/Cargo.toml": f"{manifest}{_alone(place)}",
        "rust/src/lib.rs": _library(module),
        f"src/{module}/__init__.py": _PACKAGE.format(module=module),
        ".gitignore": _IGNORED.replace("/target", "target/"),
    }


def _library(module: str) -> str:
    add = "".join(f"    {line}" for line in _ADD.splitlines(keepends=True))
    return _LIBRARY.format(module=module, add=add)


def _alone(place: Path) -> str:
    """Cargo takes a crate below a workspace for a lost member of it."""
    for folder in place.parents:
        try:
            if b"[workspace" in (folder / "Cargo.toml").read_bytes():
                return _ALONE
        except OSError:
            continue
    return ""


def _write_file(place: Path) -> None:
    aside = Path(mkdtemp(prefix=".firehot-new-", dir=place.parent))
    try:
        written = aside / place.name
        written.write_text(_FILE, "utf-8")
        try:
            # Unlike a rename, it fails where there is one by now.
            os.link(written, place)
        except FileExistsError:
            raise FirehotError(f"{place} is there, and nothing is overwritten") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _write_folder(place: Path, files: dict[str, str]) -> None:
    aside = Path(mkdtemp(prefix=".firehot-new-", dir=place.parent))
    try:
        for name, text in files.items():
            file = aside / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        aside.chmod(0o777 & ~_umask())
        # Takes the place of an empty folder, and of nothing else.
        aside.rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _steps(place: Path, module: str) -> list[str]:
    root, dotted = place.parent, module
    while (root / "__init__.py").is_file():
        root, dotted = root.parent, f"{root.name}.{dotted}"
    code = f"import firehot.rust; firehot.rust.install(); import {dotted}; print({dotted}.add(1, 2))"
    return [f"next: cd {shlex.quote(str(root))} && {_python()} -c {shlex.quote(code)}"]


def _project_steps(place: Path, module: str) -> list[str]:
    code = f"import firehot.rust; firehot.rust.install(); import {module}; print({module}.add(1, 2))"
    return [
        f"next: {_python()} -m pip install --editable {shlex.quote(str(place))}",
        f"then: {_python()} -c {shlex.quote(code)}",
    ]


def _python() -> str:
    return shlex.quote(sys.executable or "python3")
