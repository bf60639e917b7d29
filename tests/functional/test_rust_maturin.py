"""Projects of maturin in an environment: installed once, edited often; real ones, installed by maturin."""

from __future__ import annotations

import faulthandler
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rusting

_MATURIN = Path(sys.executable).with_name("maturin")
pytestmark = [
    pytest.mark.skipif(shutil.which("cargo") is None, reason="builds Rust: needs cargo"),
    pytest.mark.skipif(not _MATURIN.exists(), reason="needs maturin beside the interpreter (dependency group build)"),
]

SETTINGS = """
[build-system]
requires = ["maturin"]
build-backend = "maturin"

[project]
name = "{name}"
version = "0.1.0"
"""

CARGO = """
[package]
name = "{name}"
version = "0.1.0"
edition = "2021"
"""

PYO3 = '[lib]\ncrate-type = ["cdylib"]\n[dependencies]\npyo3 = "*"\n'

MODULE = """
use pyo3::prelude::*;

#[pymodule]
mod {module} {{
    use pyo3::prelude::*;

    #[pyfunction]
    fn number() -> i64 {{
        {number}
    }}

    #[pyfunction]
    fn is_debug() -> bool {{
        cfg!(debug_assertions)
    }}
}}
"""

# What each script begins with: functions that run in the child, and what it prints at the end.
PRELUDE = """
import json, os, subprocess, sys
from pathlib import Path
import firehot

def ask(module, function="number"):
    from importlib import import_module
    found = import_module(module)
    return getattr(found, function)()

def loaded(prefix):
    return [name for name in sys.modules if name.partition(".")[0] == prefix]

def file_of(module):
    from importlib import import_module
    return import_module(module).__file__
"""


class Venv:
    """A virtual environment that sees what this one has, and its own."""

    def __init__(self, folder: Path, cache: Path, target: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.python = folder / "bin" / "python"
        (folder / "bin" / "maturin").symlink_to(_MATURIN)
        self.folder, self.cache, self.target = folder, cache, target
        self.site = Path(self.evaluate("import sysconfig; print(sysconfig.get_path('purelib'))"))
        outer = [entry for entry in sys.path if entry.endswith("site-packages")]
        (self.site / "outer.pth").write_text("".join(f"import site; site.addsitedir({entry!r})\n" for entry in outer))

    @property
    def environ(self) -> dict[str, str]:
        names = {
            "VIRTUAL_ENV": str(self.folder),
            "FIREHOT_RUST_CACHE": str(self.cache),
            # What pyo3 needs is compiled once for all tests, and once by maturin.
            "FIREHOT_RUST_TARGET_DIR": str(self.target),
            "CARGO_TARGET_DIR": str(self.folder / "target"),
        }
        return {**os.environ, **names}

    def evaluate(self, code: str) -> str:
        return subprocess.run([self.python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()

    def develop(self, root: Path, *options: str) -> None:
        done = subprocess.run(
            [_MATURIN, "develop", *options], cwd=root, env=self.environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def run(self, folder: Path, code: str, **environ: str) -> Any:
        """Runs a script beside the package `app`; what it gives to `answer`."""
        script = folder / "script.py"
        body = textwrap.indent(textwrap.dedent(code), "    ")
        script.write_text(
            f"{PRELUDE}\nif __name__ == '__main__':\n    answer = {{}}\n{body}\n    print(json.dumps(answer))\n"
        )
        done = subprocess.run(
            [self.python, script], cwd=folder, env={**self.environ, **environ}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def session_venv(tmp_path_factory: pytest.TempPathFactory, rust_cache: Path, rust_target: Path) -> Venv:
    return Venv(tmp_path_factory.mktemp("maturin") / "venv", rust_cache, rust_target)


@pytest.fixture
def venv(session_venv: Venv) -> Iterator[Venv]:
    before = set(session_venv.site.iterdir())
    yield session_venv
    for path in set(session_venv.site.iterdir()) - before:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The folder of a package `app` that imports nothing yet."""
    (tmp_path / "work" / "app").mkdir(parents=True)
    (tmp_path / "work" / "app" / "__init__.py").write_text("")
    return tmp_path / "work"


def make(root: Path, name: str, *, mixed: bool = False, cargo: str = PYO3, number: str = "1") -> Path:
    """A project; returns its source."""
    (root / "src").mkdir(parents=True)
    module = "_native" if mixed else name
    settings = SETTINGS.format(name=name)
    if mixed:
        settings += f'[tool.maturin]\nmodule-name = "{name}._native"\n'
        (root / name).mkdir()
        (root / name / "__init__.py").write_text("from ._native import number, is_debug\n")
    (root / "pyproject.toml").write_text(settings)
    (root / "Cargo.toml").write_text(CARGO.format(name=name) + cargo)
    source = root / "src" / "lib.rs"
    source.write_text(MODULE.format(module=module, number=number))
    return source


def symbols(file: str) -> set[str]:
    names = subprocess.run(["nm", "-D", "--defined-only", file], check=True, capture_output=True, text=True).stdout
    return {line.split()[-1] for line in names.splitlines() if "PyInit" in line}


@pytest.mark.parametrize("mixed", [False, True], ids=["pure", "mixed"])
def test_an_installed_project_is_built_before_the_call_and_never_in_the_template(
    venv: Venv, app: Path, mixed: bool
) -> None:
    name = "mixed_project" if mixed else "pure_project"
    root = app.parent / name
    source = make(root, name, mixed=mixed, cargo=PYO3 + 'helper = { path = "helper" }\n[workspace]\n')
    (root / "helper" / "src").mkdir(parents=True)
    (root / "helper" / "Cargo.toml").write_text(CARGO.format(name="helper"))
    helper = root / "helper" / "src" / "lib.rs"
    helper.write_text("pub fn number() -> i64 { 1 }\n")
    source.write_text(source.read_text().replace("        1\n", "        helper::number()\n"))
    venv.develop(root)
    (app / "app" / "main.py").write_text(f"import {name}\n")
    module = f"{name}._native" if mixed else f"{name}.{name}"
    answer = venv.run(
        app,
        f"""
        helper = Path({str(helper)!r})
        with firehot.isolate_imports("app", learn=False) as env:
            answer["loaded"] = env.run(loaded, {name!r})
            template = env.run(os.getppid)
            answer["first"] = env.run(ask, {name!r})
            answer["installed"] = env.run(file_of, {module!r})
            helper.write_text("pub fn number() -> i64 {{ 2 }}\\n")
            answer["second"] = env.run(ask, {name!r})
            answer["debug"] = env.run(ask, {name!r}, "is_debug")
            answer["built"] = env.run(file_of, {module!r})
            answer["kept"] = [env.run(os.getppid) == template, env.last_rebuild]
        """,
    )
    assert answer["loaded"] == []
    assert (answer["first"], answer["second"], answer["kept"], answer["debug"]) == (1, 2, [True, None], True)
    assert symbols(answer["built"]) == symbols(answer["installed"]) != set()


def test_an_optimised_build_that_somebody_has_installed_is_used_until_the_next_edit(
    venv: Venv, app: Path, tmp_path: Path
) -> None:
    # Without pyo3, which would be compiled once more for this.
    number = "{} + if cfg!(debug_assertions) {{ 10 }} else {{ 0 }}"
    cargo = '[lib]\ncrate-type = ["cdylib"]\n[dependencies]\npyo3-ffi = "*"\n'
    source = make(app / "quick", "quick", mixed=True, cargo=cargo)
    source.write_text(rusting.raw_library("_native", number.format(1)))
    (app / "quick" / "quick" / "__init__.py").write_text("from ._native import value\n")
    venv.develop(app / "quick")
    wrapper, log = tmp_path / "cargo", tmp_path / "log"
    log.touch()
    wrapper.write_text(f"#!/bin/sh\necho run >> '{log}'\nexec '{shutil.which('cargo')}' \"$@\"\n")
    wrapper.chmod(0o755)
    code = """
        with firehot.isolate_imports("app") as env:
            answer["value"] = env.run(ask, "quick", "value")
    """
    sys_path = {"PYTHONPATH": str(app), "CARGO": str(wrapper)}
    (app / "app" / "main.py").write_text("import quick\n")
    assert venv.run(app, code, **sys_path) == {"value": 11}
    source.write_text(rusting.raw_library("_native", number.format(2)))
    assert venv.run(app, code, **sys_path) == {"value": 12}
    runs = log.read_text()
    venv.develop(app / "quick", "--release")
    assert venv.run(app, code, **sys_path) == {"value": 2}
    assert log.read_text() == runs, "cargo was asked"
    source.write_text(rusting.raw_library("_native", number.format(3)))
    assert venv.run(app, code, **sys_path) == {"value": 13}


def test_what_a_project_tracks_and_tells_rustc_counts(venv: Venv, app: Path, tmp_path: Path) -> None:
    root = app / "tracker"
    source = make(root, "tracker", mixed=True)
    with (root / "pyproject.toml").open("a") as settings:
        settings.write('rustc-args = ["--cfg", "special"]\n')
    source.write_text("//d: ../data/*.txt\n" + source.read_text().replace("cfg!(debug_assertions)", "cfg!(special)"))
    (root / "data").mkdir()
    venv.develop(root)
    wrapper, log = tmp_path / "cargo", tmp_path / "log"
    wrapper.write_text(f"#!/bin/sh\necho run >> '{log}'\nexec '{shutil.which('cargo')}' \"$@\"\n")
    wrapper.chmod(0o755)
    answer = venv.run(
        app,
        f"""
        root, log = Path({str(root)!r}), Path({str(log)!r})
        source = root / "src" / "lib.rs"
        def state():
            return [env.run(ask, "tracker"), env.run(ask, "tracker", "is_debug"), len(log.read_text().split())]
        with firehot.isolate_imports("app") as env:
            source.write_text(source.read_text().replace("        1\\n", "        2\\n"))
            answer["edited"] = state()
            (root / "data" / "new.txt").write_text("1")
            answer["come"] = state()
            (root / "data" / "new.txt").write_text("2")
            answer["changed"] = state()
            (root / "data" / "other.bin").write_text("")
            answer["other"] = state()
        """,
        PYTHONPATH=str(app),
        CARGO=str(wrapper),
    )
    assert answer == {"edited": [2, True, 1], "come": [2, True, 2], "changed": [2, True, 3], "other": [2, True, 3]}


def test_a_project_of_cffi_is_handed_to_maturin(venv: Venv, app: Path) -> None:
    root = app / "foreign"
    source = make(root, "foreign", cargo='[lib]\ncrate-type = ["cdylib"]\n')
    (root / "pyproject.toml").write_text(SETTINGS.format(name="foreign") + '[tool.maturin]\nbindings = "cffi"\n')
    header = root / "target" / "header.h"
    header.parent.mkdir()
    header.write_text("int number(void);\n")
    source.write_text('#[no_mangle]\npub extern "C" fn number() -> i32 { 1 }\n')
    venv.develop(root)
    answer = venv.run(
        app,
        f"""
        source = Path({str(source)!r})
        def number():
            import foreign
            return foreign.lib.number()
        with firehot.isolate_imports("app") as env:
            answer["first"] = env.run(number)
            source.write_text(source.read_text().replace("1 }}", "2 }}"))
            answer["second"] = env.run(number)
            source.write_text("no rust")
            try:
                env.exec(number)
            except firehot.RustBuildError as error:
                answer["error"] = error.diagnostics
        """,
    )
    assert (answer["first"], answer["second"]) == (1, 2)
    assert "no rust" in answer["error"]


@pytest.mark.skipif(not os.environ.get("FIREHOT_SOAK"), reason="compiles uniffi, which takes minutes: run by make soak")
@pytest.mark.timeout(900)
def test_a_project_of_uniffi_is_handed_to_maturin(venv: Venv, app: Path) -> None:
    # uniffi and its generator of bindings are compiled first: longer than any other test may take.
    faulthandler.cancel_dump_traceback_later()
    root = app / "spoken"
    generator = '[[bin]]\nname = "uniffi-bindgen"\npath = "generator.rs"\n'
    dependency = (
        '[dependencies]\nuniffi = { version = "0.29", features = ["cli"] }\n[workspace]\n[profile.dev]\ndebug = false\n'
    )
    source = make(root, "spoken", cargo=f'[lib]\ncrate-type = ["cdylib"]\n{generator}{dependency}')
    (root / "generator.rs").write_text("fn main() { uniffi::uniffi_bindgen_main() }\n")
    source.write_text("#[uniffi::export]\nfn number() -> i64 { 1 }\nuniffi::setup_scaffolding!();\n")
    venv.develop(root)
    answer = venv.run(
        app,
        f"""
        source = Path({str(source)!r})
        def more():
            import spoken
            return spoken.more()
        with firehot.isolate_imports("app") as env:
            answer["first"] = env.run(ask, "spoken")
            text = source.read_text().replace("1 }}", "2 }}")
            # A function that the Python side has to learn of.
            source.write_text(text + "#[uniffi::export]\\nfn more() -> i64 {{ 3 }}\\n")
            answer["second"] = [env.run(ask, "spoken"), env.run(more)]
        """,
        FIREHOT_RUST_TARGET_DIR=str(venv.folder / "target"),
    )
    assert answer == {"first": 1, "second": [2, 3]}


def test_a_program_is_handed_to_maturin(venv: Venv, app: Path) -> None:
    root = app / "app"
    (root / "src").mkdir()
    (app / "pyproject.toml").write_text(
        SETTINGS.format(name="a-tool") + '[tool.maturin]\nmanifest-path = "app/Cargo.toml"\n'
    )
    (root / "Cargo.toml").write_text(CARGO.format(name="a-tool"))
    source = root / "src" / "main.rs"
    source.write_text('fn main() { println!("1"); }\n')
    venv.develop(app)
    answer = venv.run(
        app,
        f"""
        source = Path({str(source)!r})
        def said():
            tool = os.path.join(sys.prefix, "bin", "a-tool")
            return subprocess.run([tool], capture_output=True, text=True).stdout.strip()
        with firehot.isolate_imports("app") as env:
            answer["first"] = env.run(said)
            source.write_text('fn main() {{ println!("2"); }}')
            answer["second"] = env.run(said)
        """,
    )
    assert answer == {"first": "1", "second": "2"}
