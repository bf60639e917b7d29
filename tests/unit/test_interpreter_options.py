"""The options that make a template's interpreter behave as the host's: told by an interpreter started with them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

CODE = """
import json, sys
from firehot._host import interpreter_options
print(json.dumps([interpreter_options(), list(sys.flags), sys.warnoptions,
                  {str(k): str(v) for k, v in sys._xoptions.items()}]))
"""


def state(options: list[str], **environment: str) -> list[object]:
    run = subprocess.run(
        [sys.executable, *options, "-c", CODE],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
        timeout=60,
    )
    result: list[object] = json.loads(run.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["-O"],
        ["-OO", "-B"],
        ["-W", "error"],
        ["-W", "error", "-W", "ignore::DeprecationWarning"],
        ["-X", "dev"],
        ["-X", "utf8", "-X", "faulthandler"],
        ["-X", "dev", "-W", "error"],
        ["-bb"],
        ["-b", "-W", "error"],
        ["-s", "-u", "-q"],
        ["-I"],
        ["-E"],
    ],
    ids=" ".join,
)
def test_an_interpreter_with_the_same_options_is_the_same(options: list[str]) -> None:
    found, *host = state(options)
    assert isinstance(found, list)
    again, *template = state(found)
    assert template == host
    assert again == found


def test_options_from_the_environment_are_not_doubled() -> None:
    found, _, warnings, _ = state([], PYTHONWARNINGS="error,ignore::UserWarning")
    assert isinstance(found, list)
    _, _, again, _ = state(found, PYTHONWARNINGS="error,ignore::UserWarning")
    assert warnings == again
