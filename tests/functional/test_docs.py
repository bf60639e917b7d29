"""The examples of the documentation run."""

from __future__ import annotations

import doctest
import importlib
import re
import sys
from pathlib import Path

import pytest
from support import Scripts

ROOT = Path(__file__).resolve().parents[2]
MODULES = ["_pool", "context", "environment", "errors", "executor", "hooks", "joblib", "naming", "process", "watch"]


def code_blocks(file: str) -> list[str]:
    text = (ROOT / file).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.usefixtures("fresh_hooks")
def test_the_examples_of_the_docstrings_are_true(module: str) -> None:
    if module == "joblib":
        pytest.importorskip("joblib")
    found = importlib.import_module(f"firehot.{module}")
    failed, tried = doctest.testmod(found, optionflags=doctest.ELLIPSIS)
    assert tried or module == "environment"
    assert not failed


def test_the_example_of_the_readme_runs(scripts: Scripts, script_package: str) -> None:
    (example,) = code_blocks("README.md")
    assert script_package in example
    printed = scripts.run(example).ok().splitlines()
    # The first two run at the same time.
    assert sorted(line.partition("] ")[2].partition(" (")[0] for line in printed) == [
        f"Running with value: {value}" for value in (1, 2, 3)
    ]


def test_the_examples_of_the_guide_run(scripts: Scripts, script_package: str) -> None:
    blocks = code_blocks("docs/guide.md")
    assert len(blocks) > 5
    scripts.save("", "my_other_package.py")
    finished = scripts.run_command([sys.executable, str(scripts.save("\n".join(blocks)))], text="\n", timeout=100.0)
    assert "hello" in finished.ok()
