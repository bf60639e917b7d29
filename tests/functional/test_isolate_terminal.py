"""`pytest --firehot-isolate` at a terminal: the debugger, Ctrl-C."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest
from isolating import write
from support import at_terminal


def spawn(folder: Path, *words: str) -> Any:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = ["-m", "pytest", "-p", "firehot._pytest_plugin", "-p", "no:cacheprovider", "--color=no", *words]
    return at_terminal(sys.executable, *command, cwd=str(folder), env=env)


def test_the_debugger_has_the_terminal(tmp_path: Path) -> None:
    write(tmp_path, {"test_it.py": "def test_it():\n    value = 6\n    assert value == 7\n"})
    with spawn(tmp_path, "--pdb", "--firehot-isolate") as terminal:
        terminal.expect(r"\(Pdb\)")
        terminal.sendline("p value * 7")
        terminal.expect("42")
        terminal.expect(r"\(Pdb\)")
        terminal.sendline("c")
        terminal.expect("1 failed")
        terminal.expect(pexpect.EOF)
        terminal.wait()
    assert terminal.exitstatus == 1


@pytest.mark.parametrize("words", [("--firehot-isolate",), ("--firehot-jobs=2",), ("--firehot-isolate", "-s")])
def test_an_interrupt_ends_every_test_and_tears_down(tmp_path: Path, words: tuple[str, ...]) -> None:
    test = """
        import os, pathlib, pytest, time

        @pytest.fixture(scope="session")
        def wide():
            yield
            pathlib.Path("wide").touch()

        @pytest.fixture
        def own():
            yield
            pathlib.Path("own").touch()

        def test_long(wide, own):
            tty = os.open("/dev/tty", os.O_WRONLY)
            os.write(tty, b"it sleeps\\n"), time.sleep(60)
    """
    write(tmp_path, {"test_it.py": test})
    with spawn(tmp_path, *words) as terminal:
        terminal.expect("it sleeps")
        terminal.sendintr()
        terminal.expect("KeyboardInterrupt")
        terminal.expect("test_it.py:16: KeyboardInterrupt")
        terminal.expect("no tests ran")
        terminal.expect(pexpect.EOF)
        terminal.wait()
    assert terminal.exitstatus == 2
    assert (tmp_path / "own").exists() and (tmp_path / "wide").exists()


LEFT = """
    import os, pathlib, pytest, signal, time

    MAIN = os.getpid()

    def until_interrupted():
        there, here = os.pipe()
        os.set_blocking(here, False)
        signal.set_wakeup_fd(here)
        pathlib.Path("left").touch()
        os.read(there, 1)
        signal.set_wakeup_fd(-1)
        tty = os.open("/dev/tty", os.O_WRONLY)
        os.write(tty, b"it was noted\\n")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup():
        try:
            return (yield)
        finally:
            if os.getpid() == MAIN:
                until_interrupted()
                time.sleep({seconds})
"""
LONG = """
    import os, pathlib, pytest, time

    @pytest.fixture
    def own():
        yield
        pathlib.Path("own").touch()

    def test_long(own):
        while not pathlib.Path("left").exists():
            time.sleep(0.01)
        tty = os.open("/dev/tty", os.O_WRONLY)
        os.write(tty, b"it sleeps\\n"), time.sleep(60)
"""


@pytest.mark.parametrize("words", [("--firehot-isolate",), ("--firehot-jobs=2",)])
def test_an_interrupt_finds_a_fork_that_is_just_being_left(tmp_path: Path, words: tuple[str, ...]) -> None:
    write(tmp_path, {"conftest.py": LEFT.format(seconds=0), "test_it.py": LONG})
    with spawn(tmp_path, *words) as terminal:
        terminal.expect("it sleeps")
        terminal.sendintr()
        terminal.expect("test_it.py:13: KeyboardInterrupt")
        terminal.expect(pexpect.EOF)
        terminal.wait()
    assert terminal.exitstatus == 2
    assert (tmp_path / "own").exists()


def test_a_second_interrupt_does_not_wait_until_the_test_has_been_left(tmp_path: Path) -> None:
    write(tmp_path, {"conftest.py": LEFT.format(seconds=600), "test_it.py": LONG})
    with spawn(tmp_path, "--firehot-isolate") as terminal:
        terminal.expect("it sleeps")
        terminal.sendintr()
        terminal.expect("it was noted")
        terminal.sendintr()
        terminal.expect("KeyboardInterrupt")
        terminal.expect(pexpect.EOF)
        terminal.wait()
    assert terminal.exitstatus == 2
