"""Fixtures: nothing may outlive a test; packages and scripts to throw away. Which process runs what."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from rusting import Bench, file
from support import (
    MARK,
    PROC,
    Project,
    Scripts,
    firehot_threads,
    marked_processes,
    open_descriptors,
    wait_until,
    zombies_of,
)

from firehot import Watch, hooks
from firehot.environment import Environment

_PATIENCE = 2.0
# Ignored under nohup, or in the background of a shell, and children ignore what their host does: tests send them.
for ignored in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(ignored, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


# -- several processes of pytest -----------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile`, all that builds Rust runs in one process: cargo builds pyo3 there once for all of it."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return "rust" if _builds_rust(file) else file

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes one process long begins first, so that the others have something to do until its end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not _builds_rust(item.nodeid) and "test_scan_against_ast" not in item.nodeid)


def _builds_rust(nodeid: str) -> bool:
    return "/test_rust_" in nodeid


# -- fixtures ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def nothing_is_left(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Marks every process that a test starts, and asserts that none of them, no descriptor and no thread is left."""
    mark = uuid4().hex
    monkeypatch.setenv(MARK, mark)
    monkeypatch.delenv("FIREHOT_LOG_LEVEL", raising=False)
    # What one test has found out about a package is nothing to the next.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    before = open_descriptors()
    threads = firehot_threads()
    yield mark

    def leftovers() -> dict[str, object]:
        after = open_descriptors()
        found = {
            "processes": marked_processes(mark) if PROC.is_dir() else {},
            "zombies": zombies_of(os.getpid()) if PROC.is_dir() else [],
            "descriptors": {fd: to for fd, to in after.items() if before.get(fd) != to},
            "threads": firehot_threads() if not threads else [],
        }
        return {what: value for what, value in found.items() if value}

    if leftovers():
        # What the test could reach itself may be closed by its destruction.
        request.node.funcargs.clear()
        gc.collect()
    wait_until(lambda: not leftovers(), _PATIENCE)
    left = leftovers()
    # The next test does not suffer from this one.
    for pid in marked_processes(mark):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    assert not left


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A package with a unique name, importable here, and a folder for its third-party modules."""
    made = Project(tmp_path)
    monkeypatch.syspath_prepend(str(made.site))
    monkeypatch.syspath_prepend(str(made.root))
    known = set(sys.modules)
    yield made
    folders = (str(made.root), str(made.site))
    for name in set(sys.modules) - known:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(folders):
            del sys.modules[name]
    for folder in list(sys.path_importer_cache):
        if folder.startswith(folders):
            del sys.path_importer_cache[folder]


@pytest.fixture
def fresh_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks that a test registers are for the rest of the process, by design; they end with the test here."""
    monkeypatch.setattr(hooks, "REGISTRY", hooks.Registry())


@pytest.fixture
def env(project: Project) -> Iterator[Environment]:
    """An open environment of an empty project."""
    with project.open() as environment:
        yield environment


@pytest.fixture
def watch(project: Project) -> Iterator[Watch]:
    """A watch of a project with a few files."""
    project.write("app.py", "one = 1\n")
    project.write("data/table.csv", "a,b\n")
    project.write("sub/deep/module.py", "")
    with project.open() as environment, environment.watch() as opened:
        yield opened


@pytest.fixture
def scripts(tmp_path: Path) -> Scripts:
    """Runs scripts in processes of their own."""
    return Scripts(tmp_path / "scripts")


@pytest.fixture
def script_package(scripts: Scripts) -> str:
    """A package beside the scripts, so that they can import it: `my_package`, as in the example."""
    scripts.save("", "my_package/__init__.py")
    scripts.save("import json\nimport decimal\n", "my_package/app.py")
    return "my_package"


@pytest.fixture(scope="session")
def rust_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder for FIREHOT_RUST_CACHE: one for all tests, since pyo3 takes long to build."""
    return tmp_path_factory.mktemp("rust-cache")


@pytest.fixture(scope="session")
def rust_target(rust_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which cargo builds single files, with pyo3 built there; what comes after needs no registry."""
    folder = tmp_path_factory.mktemp("rust-first")
    (folder / "first.rs").write_text(file(1))
    env = {**os.environ, "FIREHOT_RUST_CACHE": str(rust_cache)}
    code = "import sys, firehot.rust; print(firehot.rust.imp_from_path(sys.argv[1]).value())"
    command = [sys.executable, "-c", code, str(folder / "first.rs")]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr
    # Others may have built in this cache already.
    [target] = {made.parent.parent for made in rust_cache.glob("target-*/debug/libfirst.d")}
    return target


@pytest.fixture
def bench(tmp_path: Path, rust_cache: Path, rust_target: Path) -> Bench:
    """A folder of Rust sources, interpreters that import them, and a cargo that is counted."""
    made = Bench(tmp_path / "sources", tmp_path)
    made.folder.mkdir()
    made.env.update(
        FIREHOT_RUST_CACHE=str(rust_cache), FIREHOT_RUST_TARGET_DIR=str(rust_target), CARGO_NET_OFFLINE="true"
    )
    made.cargo()
    return made
