"""Rust extensions inside an environment: an edit of Rust is seen by the next call, and the template stays."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rusting import raw_library, raw_manifest
from support import Project, is_alive, wait_until

from firehot import ChildError, EnvironmentClosedError, RustBuildError
from firehot.environment import Environment

pytestmark = pytest.mark.skipif(shutil.which("cargo") is None, reason="builds Rust: needs cargo")


@pytest.fixture(autouse=True)
def shared_cache(rust_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREHOT_RUST_CACHE", str(rust_cache))


@pytest.fixture
def cargo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cargo]:
    yield Cargo(tmp_path / "cargo", monkeypatch)


class Cargo:
    """A cargo that notes each run, and waits where a test wants it to."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self.log, self.gate = folder / "log", folder / "gate"
        self.log.touch()
        script = folder / "cargo"
        real = shutil.which("cargo")
        script.write_text(
            f"#!/bin/sh\necho $$ >> '{self.log}'\n"
            f"while [ -e '{self.gate}' ]; do sleep 0.01; done\nexec '{real}' \"$@\"\n"
        )
        script.chmod(0o755)
        monkeypatch.setenv("CARGO", str(script))

    @property
    def runs(self) -> list[int]:
        return [int(line) for line in self.log.read_text().split()]

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.runs) >= count, 20)
        assert len(self.runs) >= count

    def hold(self) -> None:
        self.gate.touch()

    def release(self) -> None:
        self.gate.unlink()


def source(number: int | str) -> str:
    return f"// firehot:pyo3\nuse pyo3::prelude::*;\n\n#[pyfunction]\nfn number() -> i64 {{\n    {number}\n}}\n"


def beside(project: Project, name: str, text: str) -> Path:
    path = project.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def own(project: Project, name: str) -> str:
    """A name of its own: modules of one name at different places share nothing, but are hard to tell apart."""
    return f"{name}_{project.name}"


def number_of(module: str, function: str = "number") -> Any:
    """Runs in the child."""
    from importlib import import_module

    return getattr(import_module(module), function)()


def template_of(environment: Environment) -> int:
    return environment.run(os.getppid)


def loaded(module: str) -> bool:
    return module in sys.modules


@pytest.mark.parametrize("place", ["beside", "inside"])
def test_an_edited_file_is_seen_by_the_next_call_and_the_template_stays(project: Project, place: str) -> None:
    name = own(project, "fast")
    file = project.write("fast.rs", source(1)) if place == "inside" else beside(project, f"{name}.rs", source(1))
    module = f"{project.name}.fast" if place == "inside" else name
    project.write("app.py", f"import {module}\n")
    with project.open() as environment:
        template = template_of(environment)
        assert environment.run(number_of, module) == 1
        file.write_text(source(2))
        assert environment.run(number_of, module) == 2
        environment.update_environment()
        assert environment.run(number_of, module) == 2
        assert template_of(environment) == template
        assert environment.last_rebuild is None
        assert not environment.run(loaded, module), "the template has imported it"


def test_an_edited_crate_and_its_path_dependency_are_seen(project: Project) -> None:
    name = own(project, "native")
    beside(project, f"{name}/Cargo.toml", raw_manifest(name, 'helper = { path = "../helper" }'))
    beside(project, f"{name}/src/lib.rs", raw_library(name, "helper::number()"))
    beside(project, "helper/Cargo.toml", '[package]\nname = "helper"\nversion = "0.1.0"\nedition = "2021"\n')
    helper = beside(project, "helper/src/lib.rs", "pub fn number() -> i64 { 3 }\n")
    project.write("app.py", f"import {name}\n")
    with project.open() as environment:
        template = template_of(environment)
        assert environment.run(number_of, name, "value") == 3
        helper.write_text("pub fn number() -> i64 { 4 }\n")
        assert environment.run(number_of, name, "value") == 4
        assert (template_of(environment), environment.last_rebuild) == (template, None)


def test_warm_first_party_imports_no_extension(project: Project) -> None:
    project.write("fast.rs", source(1))
    project.write("app.py", "from . import fast\nvalue = fast.number()\n")
    module = f"{project.name}.fast"
    with project.open(warm_first_party=True) as environment:
        assert not environment.run(loaded, module)
        assert environment.run(number_of, module) == 1
        project.write("fast.rs", source(2))
        assert environment.run(number_of, module) == 2


@pytest.mark.parametrize("others", [False, True], ids=["the first", "one more"])
@pytest.mark.parametrize("folder", ["", "deep/"])
def test_a_new_file_is_found_by_the_next_call(project: Project, folder: str, others: bool) -> None:
    project.write("deep/__init__.py", "")
    if others:
        project.write("other.rs", source(0))
    module = f"{project.name}.{folder.replace('/', '.')}fast"
    with project.open() as environment:
        with pytest.raises(ChildError, match="No module named"):
            environment.run(number_of, module)
        project.write(f"{folder}fast.rs", source(5))
        assert environment.run(number_of, module) == 5


@pytest.mark.parametrize("folder", ["", "deep/"])
def test_to_import_a_deleted_file_fails_as_in_a_cold_start(project: Project, folder: str) -> None:
    project.write("deep/__init__.py", "")
    file = project.write(f"{folder}fast.rs", source(5))
    module = f"{project.name}.{folder.replace('/', '.')}fast"
    with project.open() as environment:
        assert environment.run(number_of, module) == 5
        file.unlink()
        with pytest.raises(ChildError, match="raised ModuleNotFoundError: No module named"):
            environment.run(number_of, module)
        assert environment.run(max, [1, 2]) == 2


def test_what_does_not_build_is_told_by_the_host_and_mending_mends_it(project: Project) -> None:
    file = project.write("fast.rs", source(1))
    module = f"{project.name}.fast"
    with project.open() as environment:
        assert environment.run(number_of, module) == 1
        file.write_text(source("no_such_name"))
        with pytest.raises(RustBuildError, match="cannot find value `no_such_name`") as caught:
            environment.exec(number_of, module)
        assert "cannot find value `no_such_name`" in caught.value.diagnostics
        assert caught.value.path == str(file)
        file.write_text(source(2))
        assert environment.run(number_of, module) == 2


def test_the_last_good_build_is_kept_where_that_is_wanted(
    project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = project.write("fast.rs", source(1))
    module = f"{project.name}.fast"
    project.settings('[tool.firehot.rust]\non_build_error = "keep"\n')
    with project.open() as environment:
        assert environment.run(number_of, module) == 1
        file.write_text(source("no_such_name"))
        assert environment.run(number_of, module) == 1
        assert environment.run(number_of, module) == 1
        assert capfd.readouterr().err.count("going on with the last build that was good") == 1
        file.write_text(source(2))
        assert environment.run(number_of, module) == 2


def test_an_edit_during_a_build_is_built_too(project: Project, cargo: Cargo) -> None:
    file = project.write("fast.rs", source(1))
    module = f"{project.name}.fast"
    with project.open() as environment:
        assert environment.run(number_of, module) == 1
        file.write_text(source(2))
        cargo.hold()
        before = len(cargo.runs)
        environment.update_environment()
        cargo.wait_for(before + 1)
        file.write_text(source(3))
        cargo.release()
        assert environment.run(number_of, module) == 3


def test_an_update_begins_the_build(project: Project, cargo: Cargo) -> None:
    file = project.write("fast.rs", source(1))
    module = f"{project.name}.fast"
    with project.open() as environment:
        assert environment.run(number_of, module) == 1
        file.write_text(source(2))
        before = len(cargo.runs)
        environment.update_environment()
        cargo.wait_for(before + 1)
        assert environment.run(number_of, module) == 2
        assert len(cargo.runs) == before + 1


@pytest.mark.parametrize("place", ["beside", "inside"])
def test_a_watched_project_is_built_when_a_file_is_saved(project: Project, cargo: Cargo, place: str) -> None:
    name = own(project, "fast")
    file = project.write("fast.rs", source(1)) if place == "inside" else beside(project, f"{name}.rs", source(1))
    module = f"{project.name}.fast" if place == "inside" else name
    with project.open(watch=True) as environment:
        assert environment.run(number_of, module) == 1
        before = len(cargo.runs)
        file.write_text(source(2))
        cargo.wait_for(before + 1)
        assert environment.run(number_of, module) == 2


def test_who_watches_has_the_build_begin(project: Project, cargo: Cargo) -> None:
    file = project.write("fast.rs", source(1))
    module = f"{project.name}.fast"
    with project.open() as environment, environment.watch() as watch:
        assert environment.run(number_of, module) == 1
        before = len(cargo.runs)
        file.write_text(source(2))
        changes = watch.wait(10)
        assert changes is not None and file in changes
        cargo.wait_for(before + 1)
        assert environment.run(number_of, module) == 2


def test_closing_ends_a_build(project: Project, cargo: Cargo) -> None:
    file = project.write("fast.rs", source(1))
    with project.open() as environment:
        assert environment.run(number_of, f"{project.name}.fast") == 1
        file.write_text(source(2))
        cargo.hold()
        before = len(cargo.runs)
        environment.update_environment()
        cargo.wait_for(before + 1)
        began = time.monotonic()
        environment.close()
        assert time.monotonic() - began < 5
        with pytest.raises(EnvironmentClosedError):
            environment.run(max, [1, 2])


def test_ctrl_c_ends_the_wait_for_a_build_and_cargo(project: Project, cargo: Cargo) -> None:
    file = project.write("fast.rs", source(1))
    module = f"{project.name}.fast"

    def interrupt() -> None:
        cargo.wait_for(before + 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with project.open() as environment:
        assert environment.run(number_of, module) == 1
        file.write_text(source(2))
        cargo.hold()
        before = len(cargo.runs)
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            environment.exec(number_of, module)
        thread.join()
        wait_until(lambda: not is_alive(cargo.runs[-1]), 5)
        assert not is_alive(cargo.runs[-1])
        cargo.release()
        assert environment.run(number_of, module) == 2


def test_a_project_without_rust_gives_its_children_no_finder_in_front(project: Project) -> None:
    with project.open() as environment:
        assert environment.run(lambda: type(sys.meta_path[0]).__module__) != "firehot._rust_child"


def test_two_crates_are_built_at_the_same_time(project: Project, cargo: Cargo) -> None:
    names = [own(project, "one"), own(project, "two")]
    for number, name in enumerate(names):
        beside(project, f"{name}/Cargo.toml", raw_manifest(name))
        beside(project, f"{name}/src/lib.rs", raw_library(name, number))
    with project.open() as environment:
        cargo.hold()
        environment.update_environment()
        cargo.wait_for(2)
        cargo.release()
        assert [environment.run(number_of, name, "value") for name in names] == [0, 1]
