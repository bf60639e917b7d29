"""The projects with Rust that are measured: a single file, a crate, a mixed project, and one of 2,000 sources.

They lie outside the checkout, whose Cargo.toml is no workspace of theirs; their one answer is what is edited.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benches import environments

FILES = 2_000
_LIB = """// rustimport:pyo3
use pyo3::prelude::*;
{modules}
#[pyfunction]
fn answer() -> i64 {{
    {number}
}}

#[pymodule]
mod {name} {{
    #[pymodule_export]
    use super::answer;
}}
"""
_CARGO = """[package]
name = "{name}"
version = "0.1.0"
edition = "2021"

[lib]
name = "{name}"
crate-type = ["cdylib"]

[dependencies]
pyo3 = "0.27"

[workspace]
"""
_PYPROJECT = """[build-system]
requires = ["maturin>=1.9,<2"]
build-backend = "maturin"

[project]
name = "{package}"
version = "0.1.0"

[tool.maturin]
python-source = "python"
module-name = "{package}.{name}"
"""


@dataclass(frozen=True, slots=True)
class RustProject:
    """One of them.

    Attributes:
        subject: As the table calls it.
        module: What is imported.
        root: Its folder.
        lib: The file that is edited.
        path: What is put on `sys.path` for it.
        modules: How many sources it has besides.
        tools: Who knows this kind.
    """

    subject: str
    module: str
    root: Path
    lib: Path
    path: Path
    modules: int
    tools: tuple[str, ...]

    def text(self, number: int) -> str:
        """The edited file, with this answer."""
        modules = "".join(f"mod part{each};\n" for each in range(self.modules))
        return _LIB.format(modules=modules, number=number, name=self.module.rpartition(".")[2])

    def write(self, number: int) -> None:
        """Edits it: its answer is `number`."""
        self.lib.write_text(self.text(number))


def make(base: Path) -> dict[str, RustProject]:
    """All of them, by subject, in a folder."""
    python = environments.of_rust()
    hook = "maturin-import-hook"
    crate = base / "crate" / "smallcrate"
    single = base / "single"
    found = [
        RustProject("single file", "fast", single, single / "fast.rs", single, 0, ("firehot", "rustimport", hook)),
        RustProject("crate", "smallcrate", crate, crate / "src" / "lib.rs", crate.parent, 0, ("firehot", "rustimport")),
        _mixed("mixed project", base / "mixedproj", 0),
        _mixed(f"mixed project of {FILES:,} sources", base / "largeproj", FILES),
    ]
    for project in found:
        _make(project, python)
    return {project.subject: project for project in found}


def _mixed(subject: str, root: Path, modules: int) -> RustProject:
    lib = root / "src" / "lib.rs"
    tools = ("firehot", "maturin-import-hook")
    return RustProject(subject, f"{root.name}._native", root, lib, root / "python", modules, tools)


def _make(project: RustProject, python: Path) -> None:
    project.lib.parent.mkdir(parents=True, exist_ok=True)
    project.write(0)
    if project.lib.name != "lib.rs":
        return
    name = project.module.rpartition(".")[2]
    _put(project.root / "Cargo.toml", _CARGO.format(name=name))
    for each in range(project.modules):
        text = f"#[allow(dead_code)]\npub fn part(x: u64) -> u64 {{\n    x.wrapping_mul({each})\n}}\n"
        _put(project.root / "src" / f"part{each}.rs", text)
    if "." not in project.module:
        _put(project.root / ".rustimport", "")
        return
    package = project.module.partition(".")[0]
    _put(project.root / "pyproject.toml", _PYPROJECT.format(package=package, name=name))
    _put(project.root / "python" / package / "__init__.py", "")
    print(f"installing {package} with maturin", file=sys.stderr)
    command = [str(python), "-m", "maturin", "develop", "--quiet"]
    command += ["--manifest-path", str(project.root / "Cargo.toml")]
    subprocess.run(command, check=True, env=variables(python, ()), stdout=sys.stderr)


def variables(python: Path, paths: tuple[Path, ...]) -> dict[str, str]:
    """As any process under measurement has them, and where the toolchain is."""
    kept = {name: os.environ[name] for name in ("CARGO_HOME", "RUSTUP_HOME") if name in os.environ}
    return {**environments.variables(python, paths), **kept}


def copy_for_cargo(project: RustProject) -> RustProject:
    """The same crate for cargo alone, with a target folder of its own."""
    root = project.root.parent / f"{project.root.name}-cargo"
    if not root.exists():
        skipped = shutil.ignore_patterns("target", "__pycache__", "*.so")
        shutil.copytree(project.root, root, ignore=skipped)
    if project.lib.name != "lib.rs":
        _put(root / "Cargo.toml", _CARGO.format(name=project.module).replace("[lib]", '[lib]\npath = "fast.rs"'))
    return RustProject(
        project.subject,
        project.module,
        root,
        root / project.lib.relative_to(project.root),
        project.path,
        project.modules,
        (),
    )


def _put(file: Path, text: str) -> None:
    if not file.exists() or file.read_text() != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
