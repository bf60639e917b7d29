"""Importing firehot costs nothing and changes nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import firehot


def run(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()


def test_importing_firehot_loads_nothing_but_one_file() -> None:
    code = """
import sys, threading, signal
before = set(sys.modules)
import firehot
print(sorted(name for name in sys.modules if name.startswith("firehot")))
print(sorted(set(sys.modules) - before - {"firehot", "typing", "__future__"}
             & {"cloudpickle", "asyncio", "multiprocessing", "uuid"}))
"""
    assert run(code).splitlines() == ["['firehot']", "[]"]


def test_errors_do_not_load_the_engine() -> None:
    code = """
import sys
from firehot import ChildError
print("firehot._core" in sys.modules)
"""
    assert run(code) == "False"


@pytest.mark.parametrize("name", sorted(firehot._HOMES))
def test_every_public_name_can_be_reached(name: str) -> None:
    assert getattr(firehot, name).__name__ == name
    assert name in dir(firehot)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = firehot.nonsense  # type: ignore[attr-defined]


def test_the_compiled_part_has_the_same_version() -> None:
    from firehot import _core

    assert _core.__version__ == firehot.__version__


def test_the_way_to_a_daemon_loads_nothing_that_an_interpreter_has_not() -> None:
    code = """
import sys
before = set(sys.modules)
from firehot import _command, _core, _run
_run.restore_locale()
_run.request(_core.parse_command(["run", "-c", "pass"]), "run")
print(sorted(name for name in set(sys.modules) - before if not name.startswith("firehot")))
"""
    assert run(code) == "['__future__']"
