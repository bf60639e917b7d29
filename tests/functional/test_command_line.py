"""`firehot run` with any command line is what `python` makes of it: stdout, stderr and exit status, cold and warm."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line_options import LINES as ABOUT_OPTIONS
from command_lines import FILES, LINES, Line
from daemons import Desk
from support import DEADLINE, MARK

from firehot import _core, _run

_COMMAND = [str(Path(sys.executable).with_name("firehot")), "run"]
_COLD = re.compile(rb"firehot: running cold: (.*)\n")
_SAME = [
    (re.compile(rb"0x[0-9a-f]{6,}"), b"0x"),
    # The client is the interpreter that does not start: its name in the system is another one.
    (re.compile(rb"(?<= )\[(?:python|firehot)\S*\](?= \(most recent call first\))"), b"[name]"),
    # The C functions below a crash, since 3.14.
    (re.compile(rb"\nCurrent thread's C stack trace (?s:.*)"), b""),
    # The client is an interpreter, which says so as well.
    (re.compile(rb"(Invalid -W option ignored: .*\n)\1"), rb"\1"),
]
if sys.version_info < (3, 12):  # Calls of C count there, and a child makes a few.
    _SAME.append((re.compile(rb"repeated \d+ more times"), b"repeated"))
elif sys.version_info < (3, 14):  # An exit status that is too large is left set, and told of where nothing is.
    _SAME.append((re.compile(rb"(Exception ignored on threading shutdown:\n)?OverflowError: .* C long\n"), b""))


@dataclass(frozen=True)
class Ended:
    """What a caller sees of a command."""

    status: int
    stdout: bytes
    stderr: bytes


class Counter:
    """Where command lines are run: a project, and the daemon that knows how they were."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._asked = {**_run.where(), "script": str(desk.root)}
        self._latest = 0.0

    def run(self, line: Line, command: list[str]) -> Ended:
        words: list[Any] = [*command, *line.words]
        if line.shell:
            words = ["bash", "-c", line.shell, "bash", *words]
        done = subprocess.run(
            words,
            input=line.stdin,
            cwd=self.desk.root,
            env=self._environment(line),
            capture_output=True,
            timeout=DEADLINE,
        )
        texts = [done.stdout, done.stderr]
        for pattern, to in _SAME:
            texts = [pattern.sub(to, text) for text in texts]
        return Ended(done.returncode, *texts)

    def warm(self, line: Line) -> None:
        """Has its template built, if that can be."""
        words: list[Any] = [sys.executable, "-m", "firehot", "warm", *line.words]
        subprocess.run(words, cwd=self.desk.root, env=self._environment(line), capture_output=True, timeout=DEADLINE)

    def _environment(self, line: Line) -> dict[str, str]:
        given = {**self.desk.environment, **line.env}
        return {name: value for name, value in given.items() if value is not None}

    def latest(self) -> dict[str, Any]:
        """The daemon's note of the last run, if there was one since this was asked the last time."""
        answer = json.loads(_core.client_ask(self._asked, '{"type": "why"}', False, DEADLINE) or "{}")
        run: dict[str, Any] = next(iter(answer["runs"]), {"began": 0.0})
        is_new = run["began"] > self._latest
        self._latest = run["began"]
        return run if is_new else {}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    """One project for all command lines; its daemon and its templates are of no single test."""
    desk = Desk(tmp_path_factory.mktemp("lines"))
    desk.variables |= {name: None for name in os.environ if name.startswith("PYTHON")}
    desk.variables |= {MARK: None, "PYTHONPATH": str(desk.site), "LC_ALL": "C.UTF-8"}
    try:
        _fill(desk)
        desk.warm("-c", "import os, sys")
        yield Counter(desk)
    finally:
        desk.close()


@pytest.fixture
def counter(made: Counter, monkeypatch: pytest.MonkeyPatch) -> Counter:
    """The project, for this process to ask about."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", made.desk.environment["XDG_RUNTIME_DIR"])
    return made


def _fill(desk: Desk) -> None:
    root = desk.root
    for name, content in FILES.items():
        if isinstance(content, str):
            desk.write(name, content)
        else:
            (root / name).write_bytes(content)
    (root / "linked").symlink_to("below")
    (root / "below/link.py").symlink_to("../show.py")
    (root / "script").write_bytes((root / "show.py").read_bytes())
    if sys.platform != "darwin":  # Its file system has no such names.
        raw = os.fsencode(root) + b"/raw\xff.py"
        Path(os.fsdecode(raw)).write_text("import sys\nprint(ascii((sys.argv, __file__)))\n1 / 0\n")
    (root / "three.txt").write_text("one\ntwo\nthree\n")
    with zipfile.ZipFile(root / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", (root / "show.py").read_text() + "import beside\n")
        archive.writestr("beside.py", "print(__file__)\n1 / 0\n")
    (root / "prefixed.pyz").write_bytes(b"#!/usr/bin/env python3\n" + (root / "archive.zip").read_bytes())
    (root / "broken.zip").write_bytes((root / "archive.zip").read_bytes()[:100])
    (root / "broken.pyc").write_bytes(b"nonsense")
    os.mkfifo(root / "fifo")
    compiling = "import py_compile; py_compile.compile('show.py', 'compiled.pyc', doraise=True)"
    subprocess.run([sys.executable, "-c", compiling], cwd=root, check=True)


@pytest.mark.parametrize("line", [*LINES, *ABOUT_OPTIONS], ids=lambda line: line.name.replace(" ", "-"))
def test_a_command_line_is_what_python_makes_of_it(counter: Counter, line: Line) -> None:
    cold = counter.run(line, [sys.executable])
    for _ in range(3):
        ended = counter.run(line, _COMMAND)
        run = counter.latest()
        reason, ended = _told(ended)
        if line.noisy:
            ended = Ended(ended.status, ended.stdout, cold.stderr)
        assert ended == cold, run
        is_expected = _is_expected(line, run, reason)
        if is_expected:
            break
        # The first run of a program is cold.
        counter.warm(line)
    assert is_expected, (run, reason, counter.desk.logs())


def _told(ended: Ended) -> tuple[str, Ended]:
    """Why it was cold, as the client has told, and how it has ended else."""
    found = _COLD.search(ended.stderr)
    if found is None:
        return "", ended
    return found[1].decode(), Ended(ended.status, ended.stdout, _COLD.sub(b"", ended.stderr, count=1))


def _is_expected(line: Line, run: dict[str, Any], told: str) -> bool:
    """Whether it was warm, or cold for the reason that is known."""
    if line.cold is None:
        return bool(run) and bool(run["warm"]) and not told
    if not line.cold:
        return not run and not told
    return line.cold in told or (bool(run) and not run["warm"] and line.cold in run["reason"])
