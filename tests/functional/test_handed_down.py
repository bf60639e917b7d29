"""Descriptors above the standard ones reach a program under the caller's numbers, as `python` would inherit them."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from daemons import Desk
from support import DEADLINE

# The listing has a descriptor of its own, and firehot's lie above 200.
SHOWS = """
import os, sys
import dep_small
first, last = map(int, sys.argv[1:])
open_ones = []
for fd in range(3, 200):
    try:
        os.fstat(fd)
    except OSError:
        continue
    open_ones.append(fd)
print(open_ones, [os.get_inheritable(fd) for fd in open_ones], os.read(first, 100), os.getppid() == dep_small.parent)
os.write(last, b"written")
"""


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    """A project whose program shows its descriptors."""
    made = Desk(tmp_path)
    made.dependency("dep_small.py", "import os\nparent = os.getpid()\n")
    made.write("shows.py", SHOWS)
    yield made
    made.close()


class Ends:
    """Descriptors of this process for programs to inherit, of which the first is read from and the last written to."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers
        self._told, tell = os.pipe()
        hear, self._tell = os.pipe()
        for number in numbers[1:-1]:
            self._make(hear, number, close=False)
        self._make(hear, numbers[0])
        self._make(tell, numbers[-1])

    @staticmethod
    def _make(fd: int, number: int, *, close: bool = True) -> None:
        os.dup2(fd, number, inheritable=True)
        if close:
            os.close(fd)

    def run(self, command: list[str], desk: Desk, first: int | None = None) -> tuple[int, str, str, bytes]:
        """Status, stdout and stderr of a program, and what it has written to the last one.

        The first one is `first` there, if that is given.
        """
        os.write(self._tell, b"read")
        known = self.numbers[0] if first is None else first
        words = [*command, "shows.py", str(known), str(self.numbers[-1])]
        if first is not None:
            words = [sys.executable, "-c", MOVES, str(self.numbers[0]), str(first), *words]
        options = {"cwd": desk.root, "env": desk.environment, "text": True, "timeout": DEADLINE}
        done = subprocess.run(words, pass_fds=self.numbers, capture_output=True, check=False, **options)  # type: ignore[call-overload]
        written = os.read(self._told, 100) if done.returncode == 0 else b""
        return done.returncode, done.stdout, done.stderr, written

    def close(self) -> None:
        """Closes all of them."""
        for fd in (self._told, self._tell, *self.numbers):
            with suppress(OSError):
                os.close(fd)


def high(count: int, first: int) -> list[int]:
    """So many free numbers of this process, spread and in no order."""
    found = []
    number = first
    while len(found) < count:
        try:
            fcntl.fcntl(number, fcntl.F_GETFD)
        except OSError:
            found.append(number)
        number += 1 + len(found) % 3
    return [*found[::-1][1:], found[-1]]


MOVES = """
import os, sys
fd, number, *words = sys.argv[1:]
os.dup2(int(fd), int(number))
os.close(int(fd))
os.execv(words[0], words)
"""
FIREHOT = [sys.executable, "-m", "firehot", "run"]


@pytest.mark.parametrize("count", [2, 40])
def test_a_warm_program_has_the_callers_descriptors(desk: Desk, count: int) -> None:
    desk.warm("shows.py")
    ends = Ends(high(count, 60))
    try:
        cold = ends.run([sys.executable], desk)
        warm = ends.run(FIREHOT, desk)
    finally:
        ends.close()
    assert cold == (0, f"{sorted(ends.numbers)} {[True] * count} b'read' False\n", "", b"written")
    assert warm == (0, cold[1].replace("False\n", "True\n"), "", b"written")


def test_where_an_import_has_that_number_python_takes_its_place(desk: Desk) -> None:
    # Read-only, so that children may share it: the template is kept.
    desk.dependency("dep_small.py", "parent = 0\nfile = open(__file__)\n")
    desk.warm("shows.py")
    desk.write("holds.py", "import dep_small; print(dep_small.file.fileno())\n")
    desk.warm("holds.py")
    number = desk.good("run", "holds.py")
    ends = Ends(high(2, 60))
    try:
        cold = ends.run([sys.executable], desk, int(number))
        warm = ends.run(FIREHOT, desk, int(number))
    finally:
        ends.close()
    assert warm[0] == 0 and warm[3] == b"written", warm
    assert warm == cold


def test_more_than_can_be_handed_on_is_a_cold_run(desk: Desk) -> None:
    desk.warm("shows.py")
    numbers = high(260, 60)
    ends = Ends(numbers)
    try:
        status, stdout, stderr, written = ends.run(FIREHOT, desk)
    finally:
        ends.close()
    assert (status, written) == (0, b"written")
    assert stdout.endswith("b'read' False\n")
    assert stderr == "firehot: running cold: 260 descriptors are more than can be handed on\n"


def test_a_substituted_command_is_read_by_a_warm_program(desk: Desk) -> None:
    desk.write(
        "reads.py", "import sys, dep_small, os\nprint(open(sys.argv[1]).read(), os.getppid() == dep_small.parent)\n"
    )
    desk.warm("reads.py")
    line = f"{sys.executable} -m firehot run reads.py <(echo inside)"
    done = subprocess.run(
        ["bash", "-c", line], cwd=desk.root, env=desk.environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("inside\n True\n", "", 0)
