"""What the tests of Rust extensions share: sources to throw away, a counted cargo, interpreters that do as told.

Everything is built in one cache and one target folder: pyo3 takes long to build, and is the same for all.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

HAS_CARGO = shutil.which("cargo") is not None
needs_cargo = pytest.mark.skipif(not HAS_CARGO, reason="no cargo to build extensions with")

PYO3 = 'pyo3 = { version = ">=0.23", features = ["abi3", "extension-module"] }'

# Code comes in a line of JSON, its value goes back in one; what extensions and builds print goes to stderr.
TOLD = """
import json, os, sys, traceback
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
space = {"__name__": "__main__"}
for line in sys.stdin:
    code = json.loads(line)
    value = None
    try:
        try:
            compiled = compile(code, "<told>", "eval")
        except SyntaxError:
            exec(compile(code, "<told>", "exec"), space)
        else:
            value = eval(compiled, space)
        answer = {"value": value}
    except BaseException as error:
        answer = {"error": type(error).__name__, "text": str(error), "traceback": traceback.format_exc()}
        answer["diagnostics"] = getattr(error, "diagnostics", None)
    answers.write(json.dumps(answer, default=repr) + "\\n")
"""


class Raised(AssertionError):
    """What was told has raised."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(answer["traceback"])
        self.kind = answer["error"]
        self.text = answer["text"]
        self.diagnostics = answer["diagnostics"]


class Python:
    """An interpreter that is told what to do."""

    def __init__(self, process: subprocess.Popen[str], said: Path) -> None:
        self.process = process
        self._said = said

    def tell(self, code: str) -> None:
        """Has it do something, without waiting for the end."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(textwrap.dedent(code)) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        """The value of what it was told."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended with {self.process.wait()}:\n{self.said()}"
        answer = json.loads(line)
        if "error" in answer:
            raise Raised(answer)
        return answer["value"]

    def __call__(self, code: str) -> Any:
        self.tell(code)
        return self.answer()

    def raised(self, code: str) -> Raised:
        """What some code raises."""
        try:
            value = self(code)
        except Raised as raised:
            return raised
        raise AssertionError(f"{code} gave {value!r} instead of raising")

    def said(self) -> str:
        """What it has shown until now."""
        return self._said.read_text("utf-8", "replace")


@dataclass
class Bench:
    """A folder of sources that is on the path of its interpreters, and a cargo whose runs are counted."""

    folder: Path
    aside: Path
    env: dict[str, str] = field(default_factory=dict)

    def write(self, name: str, text: str | bytes) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return file

    def cargo(self, before: str = "", after: str = "", name: str = "counted") -> Path:
        """Makes the cargo of this bench: counts itself, and does something before, or after, the real one."""
        program = self.aside / name / "cargo"
        program.parent.mkdir(exist_ok=True)
        real = shlex.quote(shutil.which("cargo") or "cargo")
        run = f'{real} "$@"\nstatus=$?\n{after}\nexit $status' if after else f'exec {real} "$@"'
        program.write_text(f"#!/bin/sh\necho $$ >>{shlex.quote(str(self._log))}\n{before}\n{run}\n")
        program.chmod(0o755)
        self.env["CARGO"] = str(program)
        return program

    @property
    def _log(self) -> Path:
        return self.aside / "runs"

    def runs(self) -> int:
        """How often cargo was run."""
        return len(self._log.read_text().splitlines()) if self._log.exists() else 0

    @contextmanager
    def python(
        self,
        *begin: str,
        env: Mapping[str, str | None] | None = None,
        path: Sequence[Path] | None = None,
        command: Sequence[str] = (),
        install: bool = True,
    ) -> Iterator[Python]:
        """Starts an interpreter with firehot's finder in it, and ends it."""
        said = self.aside / f"said-{os.urandom(4).hex()}"
        folders = [self.folder] if path is None else path
        given = {**os.environ, **self.env, "PYTHONPATH": os.pathsep.join(map(str, folders)), **(env or {})}
        given = {name: value for name, value in given.items() if value is not None}
        with said.open("w") as errors, self._popen([*command, sys.executable, "-c", TOLD], given, errors) as process:
            python = Python(process, said)
            if install:
                python("import importlib, os, sys, firehot.rust; firehot.rust.install()")
            for code in begin:
                python(code)
            yield python

    @contextmanager
    def _popen(
        self, command: Sequence[str], env: Mapping[str, Any], errors: IO[str]
    ) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=self.aside,
            env=env,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        with process:
            try:
                yield process
                assert process.stdin is not None
                process.stdin.close()
                process.wait(30)
            finally:
                if process.poll() is None:
                    process.kill()


def file(value: object, more: str = "") -> str:
    """A single file with a function that gives a value."""
    return f"// firehot:pyo3\nuse pyo3::prelude::*;\n#[pyfunction]\nfn value() -> i64 {{ {value} }}\n{more}"


def manifest(name: str, more: str = "") -> str:
    """The Cargo.toml of a marked crate that is written with pyo3."""
    return raw_manifest(name, f"{PYO3}\n{more}")


def library(name: str, value: object, more: str = "") -> str:
    """Its src/lib.rs."""
    return (
        "use pyo3::prelude::*;\n"
        f"{more}\n"
        f"#[pymodule]\nmod {name} {{\n    use super::*;\n"
        f"    #[pyfunction]\n    fn value() -> i64 {{ {value} }}\n}}\n"
    )


_RAW = """use std::ffi::{c_char, c_int, c_longlong, c_void, CStr};
use std::mem::transmute;
use std::ptr::null;
<more>

#[repr(C)]
struct Method {
    name: *const c_char,
    call: usize,
    flags: c_int,
    doc: *const c_char,
}

#[repr(C)]
struct Definition {
    head: [usize; 5],
    name: *const c_char,
    doc: *const c_char,
    size: isize,
    methods: *mut Method,
    slots_and_rest: [usize; 4],
}

extern "C" {
    fn dlsym(library: isize, name: *const c_char) -> *const c_void;
}

// Found as it runs: linking with what the interpreter has is different on each system.
fn find(name: &CStr) -> *const c_void {
    unsafe { dlsym(if cfg!(target_os = "macos") { -2 } else { 0 }, name.as_ptr()) }
}

extern "C" fn call(_: *mut c_void, _: *mut c_void) -> *mut c_void {
    let number: extern "C" fn(c_longlong) -> *mut c_void = unsafe { transmute(find(c"PyLong_FromLongLong")) };
    number(<value>)
}

#[no_mangle]
pub extern "C" fn PyInit_<name>() -> *mut c_void {
    let methods = Box::leak(Box::new([
        Method { name: c"value".as_ptr(), call: call as *const () as usize, flags: 4, doc: null() },
        Method { name: null(), call: 0, flags: 0, doc: null() },
    ]));
    let definition = Box::leak(Box::new(Definition {
        head: [1, 0, 0, 0, 0],
        name: c"<name>".as_ptr(),
        doc: null(),
        size: -1,
        methods: methods.as_mut_ptr(),
        slots_and_rest: [0; 4],
    }));
    let create: extern "C" fn(*mut Definition, c_int) -> *mut c_void = unsafe { transmute(find(c"PyModule_Create2")) };
    create(definition, 1013)
}
"""


def raw_manifest(name: str, more: str = "") -> str:
    """As `manifest`, of a crate without pyo3: built in no time."""
    return (
        f'# firehot\n[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n'
        f'[lib]\ncrate-type = ["cdylib"]\n[dependencies]\n{more}'
    )


def raw_library(name: str, value: object, more: str = "") -> str:
    """Its src/lib.rs, with the function of `library`."""
    return _RAW.replace("<name>", name).replace("<value>", str(value)).replace("<more>", more)


def plain(name: str, value: object) -> dict[str, str]:
    """A crate that others depend on, as files."""
    return {
        f"{name}/Cargo.toml": f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n',
        f"{name}/src/lib.rs": f"pub const VALUE: i64 = {value};\n",
    }
