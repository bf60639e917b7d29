"""`--watch` of `firehot run` and `firehot pytest`: real saves, real programs, and a terminal where one is needed."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pexpect
import pytest
from daemons import Desk
from support import DEADLINE, at_terminal

TESTS = {
    "pyproject.toml": "[tool.pytest.ini_options]\ntestpaths = ['tests']\naddopts = ['-v']\n",
    "app/__init__.py": "",
    "app/core.py": "def double(number):\n    return 2 * number\n",
    "app/lonely.py": "",
    "conftest.py": "",
    "tests/test_core.py": """
        def test_double():
            from app import core
            assert core.double(2) == 4
    """,
    "tests/test_other.py": "def test_other():\n    pass\n",
    "tests/test_failing.py": "def test_fails():\n    assert False\n\ndef test_passes():\n    pass\n",
}


class Front:
    """`firehot WORDS`, and what it prints, stdout and stderr as one."""

    def __init__(self, desk: Desk, *words: str) -> None:
        self._text = ""
        self.process = desk.popen(*words, stderr=subprocess.STDOUT)
        assert self.process.stdout is not None
        self._fd = self.process.stdout.fileno()

    def until(self, pattern: str) -> str:
        """What comes up to here, since the last that was waited for."""
        deadline = time.monotonic() + DEADLINE
        while (found := re.search(pattern, self._text)) is None:
            ready = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))[0]
            more = os.read(self._fd, 65536).decode() if ready else ""
            assert more, f"no {pattern!r} in {self._text!r}"
            self._text += more
        passed, self._text = self._text[: found.end()], self._text[found.end() :]
        return passed

    def signal(self, number: int) -> int:
        """Sends a signal; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def __enter__(self) -> Front:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(DEADLINE)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.dependency("dep_a.py", "value = 'a'\n")
    made.dependency("dep_b.py", "value = 'b'\n")
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        made.variables[name] = None
    # As a shell starts what is in the foreground.
    made.write("app.py", "import dep_a\nprint(f'one {dep_a.value}', flush=True)\n")
    yield made
    made.close()


def test_each_save_runs_it_again_and_says_what_that_took(desk: Desk) -> None:
    desk.warm("app.py")
    with Front(desk, "run", "--watch", "app.py") as front:
        text = front.until("waiting for a change\n")
        assert f"watching {desk.root}\n" in text and "\none a\n" in text and "ended with status 0" in text
        desk.write("app.py", "import dep_a\nprint(f'two {dep_a.value}', flush=True)\n")
        text = front.until("waiting for a change\n")
        assert text.startswith("firehot: app.py changed; nothing to rebuild\n")
        assert "two a\n" in text and re.search(r"firehot: first line after [\d.]+ m?s\n", text)
        desk.write("app.py", "import dep_a, dep_b\nprint(f'three {dep_b.value}', flush=True)\n")
        text = front.until("waiting for a change\n")
        assert re.match(r"firehot: app.py changed; layer added in \d+ ms\n", text) and "three b\n" in text
        desk.dependency("dep_a.py", "value = 'another'\n")
        desk.write("app.py", "import dep_a, dep_b\nprint(f'four {dep_a.value}', flush=True)\n")
        text = front.until("waiting for a change\n")
        assert re.match(r"firehot: app.py changed; template rebuilt in [\d.]+ m?s\n", text) and "four another\n" in text
        assert front.signal(signal.SIGINT) == 130
    [daemon] = desk.daemons()
    assert daemon["runs"] == daemon["warm"] == 4


def test_a_crash_waits_for_the_next_save(desk: Desk) -> None:
    desk.write("app.py", "1 / 0\n")
    desk.warm("app.py")
    with Front(desk, "run", "--watch", "app.py") as front:
        assert "ZeroDivisionError" in front.until("ended with status 1 after .* waiting for a change\n")
        desk.write("app.py", "def broken(:\n")
        assert "SyntaxError" in front.until("ended with status 1 after .* waiting for a change\n")
        desk.write("app.py", "import os; os.kill(os.getpid(), 9)\n")
        front.until("ended with SIGKILL after .* waiting for a change\n")
        desk.write("app.py", "print('mended')\n")
        assert "mended\n" in front.until("ended with status 0")


def test_its_beginning_is_said_before_its_first_line(desk: Desk) -> None:
    desk.warm("app.py")
    with Front(desk, "run", "--watch", "app.py") as front:
        front.until("waiting for a change\n")
        parts = "import os, time\nos.write(1, b'in ')\ntime.sleep(1.5)\nos.write(1, b'parts\\n')\n"
        desk.write("app.py", parts + "print([name for name in os.environ if 'SAVED' in name])\n")
        text = front.until("waiting for a change\n")
        assert re.search(r"\nfirehot: first line after [\d.]+ m?s\nin parts\n\[\]\nfirehot: ended", text), text


def test_why_it_runs_cold_is_said_before_its_first_line(desk: Desk) -> None:
    with Front(desk, "run", "--watch", "app.py") as front:
        text = front.until("waiting for a change\n")
        assert re.search(r"\nfirehot: running cold: no daemon was running\none a\nfirehot: ended", text), text


def test_a_save_ends_what_runs_by_one_signal_after_the_other(desk: Desk) -> None:
    body = "import signal, time\nprint({!r}, flush=True)\n"
    polite = "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    print('was interrupted', flush=True)\n"
    stubborn = "".join(
        f"signal.signal(signal.SIG{name}, lambda *_: print('no', flush=True))\n" for name in ("INT", "TERM")
    )
    desk.write("app.py", body.format("polite") + polite)
    desk.warm("app.py")
    with Front(desk, "run", "--watch", "app.py") as front:
        front.until("polite\n")
        desk.write(
            "app.py", stubborn.join(["import signal\n", ""]) + body.format("stubborn") + "while True: time.sleep(60)\n"
        )
        assert "was interrupted\n" in front.until("stubborn\n")
        desk.write("app.py", "print('at last')\n")
        assert front.until("at last\n").count("no\n") == 2


def test_what_a_program_writes_does_not_run_it_again(desk: Desk) -> None:
    desk.write("app.py", "import pathlib\npathlib.Path('out.csv').write_text('1')\nprint('wrote', flush=True)\n")
    with Front(desk, "run", "--watch", "app.py") as front:
        front.until("waiting for a change\n")
        desk.write("data.json", "{}")
        desk.write("app.py", "print('second', flush=True)\n")
        text = front.until("second\n")
        assert "firehot: app.py changed; " in text and text.count("changed") == 1


def test_ending_it_ends_the_program(desk: Desk) -> None:
    desk.write("app.py", "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    desk.warm("app.py")
    with Front(desk, "run", "--watch", "app.py") as front:
        pid = int(front.until(r"\n\d+\n").split()[-1])
        assert front.signal(signal.SIGTERM) == 128 + signal.SIGTERM
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_enter_runs_it_again_and_an_interrupt_ends_it(desk: Desk) -> None:
    desk.warm("app.py")
    with spawn(desk, "run", "--watch", "app.py") as terminal:
        modes = termios.tcgetattr(terminal.child_fd)
        terminal.expect("one a")
        terminal.expect("Enter runs it again")
        terminal.sendline("")
        terminal.expect("one a")
        terminal.expect("Enter runs it again")
        desk.write("app.py", "print('named', input('name? '))\n")
        terminal.expect("name\\? ")
        terminal.sendline("you")
        terminal.expect("named you")
        terminal.expect("Enter runs it again")
        desk.write("app.py", "import time\nprint('sleeps')\ntime.sleep(60)\n")
        terminal.expect("sleeps")
        terminal.sendintr()
        terminal.expect(pexpect.EOF)
        assert termios.tcgetattr(terminal.child_fd) == modes
        terminal.wait()
    assert terminal.exitstatus == 130


def test_the_terminal_is_as_it_was_after_a_program_was_killed(desk: Desk) -> None:
    ignored = "".join(f"signal.signal(signal.SIG{name}, signal.SIG_IGN)\n" for name in ("INT", "TERM", "HUP"))
    desk.write("app.py", f"import signal, time\n{ignored}print('deaf')\ntime.sleep(60)\n")
    desk.warm("app.py")
    with spawn(desk, "run", "--watch", "app.py") as terminal:
        modes = termios.tcgetattr(terminal.child_fd)
        terminal.expect("deaf")
        desk.write("app.py", "print('hears')\n")
        terminal.expect("hears")
        terminal.expect("Enter runs it again")
        assert termios.tcgetattr(terminal.child_fd) == modes
        terminal.sendintr()
        terminal.expect(pexpect.EOF)
        terminal.wait()


def test_pytest_runs_what_failed_and_what_a_change_can_reach(desk: Desk) -> None:
    for name, text in TESTS.items():
        desk.write(name, text)
    with Front(desk, "pytest", "--watch") as front:

        def after(name: str, text: str) -> tuple[str, list[str]]:
            desk.write(name, text)
            said = front.until("(waiting for a change|no test imports that)\n")
            return said.splitlines()[0], re.findall(r"::(\w+) (?:PASSED|FAILED)", said)

        every = re.findall(r"::(\w+) (?:PASSED|FAILED)", front.until("waiting for a change\n"))
        assert every == ["test_double", "test_fails", "test_passes", "test_other"]
        core = "def double(number):\n    return number + number\n"
        said, ran = after("app/core.py", core)
        assert ran == ["test_fails", "test_double"] and "1 that failed and 1 of 3 test files" in said
        said, ran = after("app/lonely.py", "x = 1\n")
        assert ran == ["test_fails"] and "1 that failed" in said
        said, ran = after("tests/test_failing.py", "def test_fails():\n    pass\n\ndef test_passes():\n    pass\n")
        assert ran == ["test_fails", "test_passes"] and "1 of 3 test files" in said
        said, ran = after("app/lonely.py", "x = 2\n")
        assert ran == [] and said.endswith("no test imports that")
        said, ran = after("tests/test_other.py", "from app import lonely\n\ndef test_other():\n    pass\n")
        assert ran == ["test_other"]
        said, ran = after("app/lonely.py", "x = 3\n")
        assert ran == ["test_other"]
        for name in ("conftest.py", "pyproject.toml"):
            said, ran = after(name, (desk.root / name).read_text() + "\n")
            assert sorted(ran) == sorted(every) and "all tests" in said
        assert front.signal(signal.SIGINT) == 130


def test_pytest_runs_only_what_was_asked_for(desk: Desk) -> None:
    for name, text in TESTS.items():
        desk.write(name, text)
    words = ("pytest", "-p", "no:randomly", "tests/test_core.py", "tests/test_failing.py::test_passes", "--watch")
    with Front(desk, *words) as front:
        assert re.findall(r"::(\w+) PASSED", front.until("waiting for a change\n")) == ["test_double", "test_passes"]
        desk.write("tests/test_failing.py", TESTS["tests/test_failing.py"] + "\n")
        assert re.findall(r"::(\w+) PASSED", front.until("waiting for a change\n")) == ["test_passes"]
        desk.write("tests/test_other.py", "\n")
        assert "no test imports that" in front.until("no test imports that\n")


def spawn(desk: Desk, *words: str) -> Any:
    return at_terminal(sys.executable, "-m", "firehot", *words, cwd=str(desk.root), env=desk.environment)
