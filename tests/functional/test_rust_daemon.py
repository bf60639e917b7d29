"""Rust of a project whose programs a daemon runs."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Desk
from rusting import file, needs_cargo


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


@needs_cargo
def test_rust_of_the_project_is_built_for_the_first_run_and_after_each_edit(
    desk: Desk, rust_cache: Path, rust_target: Path
) -> None:
    home = Path.home()
    desk.variables |= {
        "FIREHOT_RUST_CACHE": str(rust_cache),
        "CARGO_HOME": os.environ.get("CARGO_HOME", str(home / ".cargo")),
        "RUSTUP_HOME": os.environ.get("RUSTUP_HOME", str(home / ".rustup")),
    }
    desk.write("uses.py", "import first\nprint(first.value())\n")
    for value in range(1, 4):
        desk.write("first.rs", file(value))
        assert desk.good("run", "uses.py") == f"{value}\n"
    desk.write("first.rs", file(3).replace("fn value", "fn value("))
    done = desk.run("run", "uses.py")
    assert done.returncode == 1 and "RustBuildError" in done.stderr and "error" in done.stderr
    # How firehot was asked is not what is wrong.
    assert done.stderr.count('  File "') == 2, done.stderr
    assert "first" not in json.dumps(desk.json("imports")), "it is the project's own"
