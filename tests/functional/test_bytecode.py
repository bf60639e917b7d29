"""Children run what the source says, also when CPython would take an older `.pyc` for fresh."""

from __future__ import annotations

import importlib
import os

import pytest
from support import Project


def test_edits_in_one_second_that_keep_the_size_are_seen(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setattr("sys.flags", _Writing())
    source = project.write("value.py", "def value(): return 0\n")
    value = importlib.import_module(f"{project.name}.value").value
    with project.open() as env:
        seen = []
        for number in range(10):
            source.write_text(f"def value(): return {number}\n")
            os.utime(source, ns=(10**18, 10**18 + number))  # One second, whatever the clock says.
            # As if it had been written at once: what CPython trusts.
            seen.append(env.run(value))
            for bytecode in source.parent.glob("__pycache__/value.*.pyc"):
                os.utime(bytecode, ns=(10**18, 10**18))
    assert list(source.parent.glob("__pycache__/value.*.pyc")), "no bytecode was written: nothing was tested"
    assert seen == list(range(10))


def test_edits_that_keep_the_size_and_set_the_date_are_seen(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setattr("sys.flags", _Writing())
    source = project.write("value.py", "def value(): return 0\n")
    value = importlib.import_module(f"{project.name}.value").value
    with project.open() as env:
        seen = []
        for number in range(5):
            fresh = source.with_suffix(".new")
            fresh.write_text(f"def value(): return {number}\n")
            os.utime(fresh, (10**9, 10**9))
            os.replace(fresh, source)
            seen.append(env.run(value))
    assert list(source.parent.glob("__pycache__/value.*.pyc")), "no bytecode was written: nothing was tested"
    assert seen == list(range(5))


def test_bytecode_of_an_older_source_is_used(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setattr("sys.flags", _Writing())
    source = project.write("value.py", "def value(): return 1\n")
    value = importlib.import_module(f"{project.name}.value").value
    os.utime(source, (10**9, 10**9))
    with project.open() as env:
        env.run(value)
        (bytecode,) = source.parent.glob("__pycache__/value.*.pyc")
        # Written in a later second than the source was changed, whatever the clock says.
        written = source.stat().st_ctime_ns + 10 * 10**9
        os.utime(bytecode, ns=(written, written))
        assert env.run(value) == 1
    assert bytecode.stat().st_mtime_ns == written


class _Writing:
    """`sys.flags` of an interpreter that writes bytecode, whatever runs the tests."""

    def __getattr__(self, name: str) -> int:
        return 0
