"""What firehot says: the log level, the progress bar. Everything on stderr, nothing unasked."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest
from support import Scripts

PROGRAM = """
    from firehot import isolate_imports
    with isolate_imports("my_package") as environment:
        environment.run(abs, -1)
"""


def test_nothing_is_said_when_all_is_well(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(PROGRAM)
    assert (finished.ok(), finished.stderr) == ("", "")


@pytest.mark.parametrize("level", ["info", "INFO", "Debug", "trace"])
def test_a_level_is_obeyed_whatever_its_case(scripts: Scripts, script_package: str, level: str) -> None:
    finished = scripts.run(PROGRAM, env={"FIREHOT_LOG_LEVEL": level})
    assert finished.ok() == ""
    assert "firehot [info] preloaded" in finished.stderr
    assert ("firehot [debug]" in finished.stderr) == (level.lower() != "info")


@pytest.mark.parametrize("level", ["warn", "error", ""])
def test_a_quiet_level_is_obeyed(scripts: Scripts, script_package: str, level: str) -> None:
    finished = scripts.run(PROGRAM, env={"FIREHOT_LOG_LEVEL": level})
    assert (finished.ok(), finished.stderr) == ("", "")


def test_a_wrong_level_is_a_warning_that_lists_the_right_ones(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(PROGRAM, env={"FIREHOT_LOG_LEVEL": "loud"})
    finished.ok()
    (line,) = finished.stderr.splitlines()
    assert line.startswith("firehot [warn] ") and "loud" in line
    assert "trace, debug, info, warn, error" in line


def test_a_terminal_sees_the_progress_of_the_preload(scripts: Scripts, script_package: str) -> None:
    path = scripts.save(PROGRAM)
    main, terminal = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, str(path)],
            cwd=scripts.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=terminal,
            env={**os.environ, "TERM": "xterm"},
        )
        os.close(terminal)
        seen = b""
        with process:
            try:
                while piece := os.read(main, 4096):
                    seen += piece
            except OSError:
                pass  # The other side is closed: Linux says EIO.
            out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert out == b""
        assert b"firehot preloads" in seen and b"json" in seen
    finally:
        os.close(main)
