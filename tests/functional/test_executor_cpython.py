"""CPython's own tests of `ProcessPoolExecutor` pass with `Executor`, as far as they apply: see `cpythonwork.py`."""

from __future__ import annotations

import importlib.util
import re
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from support import Scripts

_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
# At least so many of them apply, in each version from 3.10 to 3.13.
CLASSES = {
    "TestProcessPool": 9,
    "TestShutdown": 3,
    "TestWait": 8,
    "TestAsCompleted": 5,
    "TestInitializer": 1,
    "TestDeadlock": 12,
}


def folder_of_tests() -> Path | None:
    """The package `test`, with what is needed of it: the interpreter's own, or Debian's of the same version."""
    spec = importlib.util.find_spec("test")
    places = [*((spec and spec.submodule_search_locations) or ()), f"/usr/lib/python{_VERSION}/test"]
    found = [Path(place) for place in places if any(Path(place).glob("test_concurrent_futures*"))]
    return found[0] if found else None


@pytest.mark.skipif(
    folder_of_tests() is None,
    reason="this Python came without its own tests: pyenv and python.org's sources install them, and Debian has them "
    f"in libpython{_VERSION}-testsuite",
)
def test_the_tests_of_cpython_pass(scripts: Scripts, tmp_path: Path) -> None:
    folder = folder_of_tests()
    assert folder is not None
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "test").symlink_to(folder)
    env = {"PYTHONPATH": str(tmp_path / "path")}
    file = str(Path(__file__).with_name("cpythonwork.py"))
    with ExitStack() as opened:
        # They wait for each other's sleeps otherwise.
        processes = {
            name: opened.enter_context(scripts.popen([sys.executable, "-W", "error", file, name], env=env))
            for name in CLASSES
        }
        for name, process in processes.items():
            _, said = process.communicate(timeout=100)
            assert process.returncode == 0, said
            ran = re.search(r"^Ran (\d+) tests? in .*\n\nOK$", said, re.MULTILINE)
            assert ran and int(ran[1]) >= CLASSES[name], said
