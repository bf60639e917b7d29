"""The client of the daemon at a terminal: the program has one of its own, and the user's is as it was afterwards."""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from clienting import Office
from support import at_terminal, is_alive, needs_proc, wait_until

# How programs wait for a key whose handlers of signals are tried: a read runs none of what comes just before it blocks.
# Those write at once: one that prints may come while something is being printed, which Python does not take.
WAIT = """
import select, sys
while not select.select([sys.stdin], [], [], 0.05)[0]:
    pass
"""


@pytest.fixture
def office(tmp_path: Path, nothing_is_left: str) -> Iterator[Office]:
    made = Office(tmp_path)
    made.start()
    yield made
    made.close()


class Screen:
    """A terminal with a command in it, or with a shell that the command is typed to."""

    def __init__(self, office: Office, command: list[str]) -> None:
        self.office = office
        self.spawned = at_terminal(*command, cwd=str(office.root), env=office.env, dimensions=(24, 80))
        # It waits before each line, for programs that have not turned echoing off yet; these here are waited for.
        self.spawned.delaybeforesend = None

    def expect(self, pattern: str) -> re.Match[str]:
        self.spawned.expect(pattern)
        assert isinstance(self.spawned.match, re.Match)
        return self.spawned.match

    def type(self, text: str) -> None:
        self.spawned.send(text)

    def modes(self) -> list[Any]:
        return termios.tcgetattr(self.spawned.child_fd)

    def is_raw(self) -> bool:
        return not self.modes()[tty.LFLAG] & termios.ICANON

    def end(self) -> int:
        """The exit status; of a signal, it is negative."""
        self.spawned.expect(pexpect.EOF)
        self.spawned.close()
        if self.spawned.signalstatus is not None:
            return -int(self.spawned.signalstatus)
        return int(self.spawned.exitstatus)

    def shell_line(self, line: str) -> None:
        self.type(f"{line}\n")

    def prompt(self) -> None:
        self.expect("%% ")


class Screens:
    def __init__(self, office: Office) -> None:
        self.office = office
        self.open: list[Screen] = []

    def code(self, code: str, *args: str) -> Screen:
        return self._keep(Screen(self.office, self.office.command("-c", *args, kind="code", code=code)))

    def script(self, text: str) -> Screen:
        return self._keep(Screen(self.office, self.office.command(self.office.save(text))))

    def shell(self) -> Screen:
        made = self._keep(Screen(self.office, ["/bin/bash", "--norc", "--noprofile", "-i"]))
        made.shell_line("bind 'set enable-bracketed-paste off' 2>/dev/null; PS1='%''% '")
        made.prompt()
        return made

    def _keep(self, made: Screen) -> Screen:
        self.open.append(made)
        return made


@pytest.fixture
def screens(office: Office) -> Iterator[Screens]:
    made = Screens(office)
    yield made
    for screen in made.open:
        screen.spawned.close(force=True)


def line_of(office: Office, code: str, name: str = "x.py") -> str:
    """A run as it is typed into a shell."""
    office.save(code, name)
    made = office.root / f"run-{name}"
    made.write_text(f"exec {office.line(name)}\n")
    return f"/bin/bash {shlex.quote(str(made))}"


# -- what the program has -----------------------------------------------------------------------


def test_all_three_streams_are_its_controlling_terminal(screens: Screens) -> None:
    code = """
import os, sys
print([os.isatty(fd) for fd in range(3)], len({os.ttyname(fd) for fd in range(3)}), os.environ.get("DOUBLE") and "warm")
print(os.tcgetpgrp(0) == os.getpgrp() == os.getpid() == os.getsid(0), os.get_terminal_size())
with open("/dev/tty", "w") as own:
    print("own", os.isatty(own.fileno()), file=own)
print("err", file=sys.stderr)
print(repr(input("name? ")))
sys.exit(3)
"""
    screen = screens.script(code)
    screen.expect(r"\[True, True, True\] 1 warm\r\n")
    screen.expect(r"True os.terminal_size\(columns=80, lines=24\)\r\n")
    screen.expect("own True\r\nerr\r\nname\\? ")
    screen.type("Ada\n")
    screen.expect("Ada\r\n'Ada'\r\n")
    assert screen.end() == 3


def test_the_terminal_is_as_it_was_afterwards(screens: Screens) -> None:
    screen = screens.shell()
    line = line_of(
        screens.office,
        """
import sys, termios, tty
tty.setraw(0)
modes = termios.tcgetattr(0)
modes[3] &= ~termios.ECHO
termios.tcsetattr(0, termios.TCSANOW, modes)
sys.stdout.write("raw")
sys.stdout.flush()
sys.stdin.read(1)
""",
    )
    screen.shell_line("stty -a >before")
    screen.prompt()
    screen.shell_line(line)
    screen.expect("raw")
    screen.type("q")
    screen.prompt()
    screen.shell_line("stty -a >after")
    screen.prompt()
    root = screens.office.root
    assert (root / "after").read_text() == (root / "before").read_text()


def test_a_password_is_asked_for_and_not_shown(screens: Screens) -> None:
    screen = screens.code("import getpass; print(len(getpass.getpass('word: ')))")
    screen.expect("word: ")
    screen.type("geheim\n")
    screen.expect(r"6\r\n")
    assert "geheim" not in str(screen.spawned.before)
    assert screen.end() == 0


def test_all_that_is_written_comes_in_order(screens: Screens) -> None:
    screen = screens.code("for i in range(60000): print(i, 'x' * 60)")
    screen.spawned.expect(pexpect.EOF)
    lines = str(screen.spawned.before).split("\r\n")
    assert [line.split()[0] for line in lines[:-1]] == [str(i) for i in range(60000)]
    assert screen.end() == 0


def test_much_is_typed_at_once(screens: Screens) -> None:
    code = (
        "import os, tty, zlib; tty.setraw(0); os.write(1, b'ready')\n"
        "got = b''\n"
        "while len(got) < 200000: got += os.read(0, 65536)\n"
        "os.write(1, b'sum %d.' % zlib.crc32(got))"
    )
    import zlib

    text = "".join(chr(33 + i % 90) for i in range(200000))
    screen = screens.code(code)
    screen.expect("ready")
    screen.type(text)
    found = screen.expect(r"sum (\d+)\.")
    assert int(found.group(1)) == zlib.crc32(text.encode())
    assert screen.end() == 0


def test_a_new_size_is_told_once(screens: Screens) -> None:
    code = f"""
import os, signal
count = 0
def heard(*_):
    global count
    count += 1
    os.write(1, b"size %d %d\\n" % os.get_terminal_size())
signal.signal(signal.SIGWINCH, heard)
print("ready", flush=True)
{WAIT}
input()
print("told", count)
"""
    screen = screens.script(code)
    screen.expect("ready")
    for rows, columns in ((30, 100), (40, 120)):
        screen.spawned.setwinsize(rows, columns)
        screen.expect(f"size {columns} {rows}\r\n")
    # What is handed on goes by the daemon, as this does: had a size been handed on, it would have come by now.
    screen.spawned.kill(signal.SIGWINCH)
    screen.expect("size 120 40\r\n")
    screen.type("\n")
    screen.expect(r"told 3\r\n")
    assert screen.end() == 0


# -- keys that are signals ----------------------------------------------------------------------


def test_ctrl_c_is_an_interrupt_of_the_program_once(screens: Screens) -> None:
    code = f"""
import os, signal
count = 0
def heard(*_):
    global count
    count += 1
    os.write(1, b"heard %d\\n" % count)
signal.signal(signal.SIGINT, heard)
print("ready", flush=True)
{WAIT}
input()
print("all", count)
"""
    screen = screens.script(code)
    screen.expect("ready")
    for count in (1, 2):
        screen.type("\x03")
        screen.expect(f"heard {count}")
    screen.type("\n")
    screen.expect("all 2")
    assert screen.end() == 0


@pytest.mark.parametrize(("key", "number"), [("\x03", signal.SIGINT), ("\x1c", signal.SIGQUIT)])
def test_a_key_that_kills_kills_both(screens: Screens, key: str, number: signal.Signals) -> None:
    screen = screens.code("import signal; print('ready', flush=True); signal.pause()")
    screen.expect("ready")
    assert wait_until(screen.is_raw)
    screen.type(key)
    assert screen.end() == -number


def test_ctrl_d_is_an_end(screens: Screens) -> None:
    screen = screens.code("import sys; print('ready', flush=True); print(len(sys.stdin.read()))")
    screen.expect("ready")
    screen.type("abc\n\x04")
    screen.expect("4\r\n")
    assert screen.end() == 0


def test_ctrl_z_stops_the_job_and_fg_goes_on(screens: Screens) -> None:
    screen = screens.shell()
    line = line_of(screens.office, "print('name? ', end='', flush=True); print('got', input())")
    screen.shell_line("stty -a >before")
    screen.prompt()
    screen.shell_line(line)
    screen.expect("name\\? ")
    for _ in range(2):
        screen.type("\x1a")
        screen.expect("Stopped")
        screen.prompt()
        screen.shell_line("stty -a >after")
        screen.prompt()
        screen.shell_line("fg")
        screen.expect("x.py")
        # What is typed before the shell has woken the job, its SIGCONT undoes.
        assert wait_until(screen.is_raw)
    screen.type("Ada\n")
    screen.expect("got Ada")
    screen.prompt()
    root = screens.office.root
    assert (root / "after").read_text() == (root / "before").read_text()
    screen.shell_line("jobs; echo none left")
    screen.expect(r"jobs; echo none left\r\nnone left")


def test_a_program_that_handles_ctrl_z_is_asked_and_one_that_ignores_it_goes_on(screens: Screens) -> None:
    screen = screens.shell()
    handles = f"""
import os, signal
signal.signal(signal.SIGTSTP, lambda *_: os.write(1, b"handled\\n"))
signal.signal(signal.SIGCONT, lambda *_: os.write(1, b"goes on\\n"))
print("ready", flush=True)
{WAIT}
input()
"""
    screen.shell_line(line_of(screens.office, handles))
    screen.expect("ready")
    assert wait_until(screen.is_raw)
    screen.type("\x1a")
    screen.expect("handled")
    screen.expect("Stopped")
    screen.prompt()
    screen.shell_line("fg")
    screen.expect("goes on")
    screen.type("\n")
    screen.prompt()
    ignores = "import signal; signal.signal(signal.SIGTSTP, signal.SIG_IGN); print('ready', flush=True); print(input())"
    screen.shell_line(line_of(screens.office, ignores))
    screen.expect("ready")
    assert wait_until(screen.is_raw)
    screen.type("\x1aabc\n")
    # The kernel throws away what was typed before a key that is a signal, and hands on what comes after.
    screen.expect("abc\r\n.*abc")
    screen.prompt()


def test_in_the_background_it_writes_and_leaves_the_keys_to_the_shell(screens: Screens) -> None:
    screen = screens.shell()
    line = line_of(screens.office, "print('be' + 'gun', flush=True); print('got', input())")
    screen.shell_line(f"{line} &")
    screen.expect("begun")
    screen.shell_line("echo sh''ell")
    screen.expect("shell")
    screen.shell_line("fg")
    screen.expect("x.py")
    assert wait_until(screen.is_raw)
    screen.type("Ada\n")
    screen.expect("got Ada")
    screen.prompt()


def test_a_shell_in_the_program_has_its_own_jobs(screens: Screens) -> None:
    screen = screens.code("import subprocess; subprocess.call(['/bin/bash', '--norc', '--noprofile', '-i'])")
    screen.type("PS1='in''ner '\n")
    screen.expect("inner ")
    screen.type("cat\n")
    screen.expect("cat\r\n")
    screen.type("x\n")
    screen.expect("x\r\nx\r\n")
    screen.type("\x1a")
    screen.expect("Stopped")
    screen.expect("inner ")
    screen.type("kill %1; exit 0\n")
    screen.type("exit 0\n")
    assert screen.end() == 0


def test_a_full_screen_program_draws_and_is_told_its_size(screens: Screens) -> None:
    code = """
import curses
def main(window):
    while True:
        window.erase()
        window.addstr(0, 0, "size %dx%d" % window.getmaxyx())
        window.refresh()
        key = window.getch()
        if key == ord("q"):
            return
curses.wrapper(main)
print("over")
"""
    screens.office.env["TERM"] = "xterm"
    # Where these are set, they count more than the terminal; importing readline sets them.
    for name in ("LINES", "COLUMNS"):
        screens.office.env.pop(name, None)
    screen = screens.script(code)
    screen.expect("size 24x80")
    screen.spawned.setwinsize(33, 99)
    screen.expect("33x99")
    screen.type("q")
    screen.expect("over")
    assert screen.end() == 0


# -- in a pipeline ------------------------------------------------------------------------------


def test_in_a_pipeline_streams_travel_and_a_password_is_still_asked_for(screens: Screens) -> None:
    screen = screens.shell()
    code = """
import getpass, os, sys
word = getpass.getpass("word: ")
print([os.isatty(fd) for fd in range(3)], len(word))
print(repr(input()))
"""
    screen.shell_line(f"{line_of(screens.office, code)} | cat")
    screen.expect("word: ")
    assert wait_until(screen.is_raw)
    screen.type("geheim\n")
    # What comes after is read from the terminal itself.
    assert wait_until(lambda: not screen.is_raw())
    screen.type("typed\n")
    screen.expect(r"\[True, False, True\] 6\r\n")
    screen.expect("'typed'")
    assert "geheim" not in str(screen.spawned.before)
    screen.prompt()


def test_ctrl_c_in_a_pipeline_comes_once(screens: Screens) -> None:
    screen = screens.shell()
    code = f"""
import os, signal, sys
def heard(*_):
    os.write(2, b"heard\\n")
signal.signal(signal.SIGINT, heard)
print("ready", file=sys.stderr, flush=True)
{WAIT}
print("read", repr(sys.stdin.readline()))
"""
    screen.shell_line(f"{line_of(screens.office, code)} | (trap '' INT; cat)")
    screen.expect("ready\r\n")
    screen.type("\x03")
    screen.expect("heard\r\n")
    screen.type("x\n")
    screen.expect("read 'x")
    assert "heard" not in str(screen.spawned.before)
    screen.prompt()


def test_output_to_a_file_at_a_terminal(screens: Screens) -> None:
    screen = screens.shell()
    screen.shell_line(f"{line_of(screens.office, 'print(input())')} >out")
    screen.type("Ada\n")
    screen.prompt()
    assert (screens.office.root / "out").read_text() == "Ada\n"


# -- when somebody dies -------------------------------------------------------------------------


def test_a_killed_daemon_leaves_the_terminal_as_it_was(screens: Screens) -> None:
    screen = screens.shell()
    screen.shell_line("stty -a >before")
    screen.prompt()
    screen.shell_line(line_of(screens.office, "import tty; tty.setraw(0); print('ready', flush=True); input()"))
    screen.expect("ready")
    assert wait_until(screen.is_raw)
    [daemon] = screens.office.living()
    os.kill(daemon, signal.SIGKILL)
    screen.expect("firehot: the daemon ended while the program ran; the daemon's log is .*log\r\n")
    screen.prompt()
    screen.shell_line("echo status $?; stty -a >after")
    screen.expect("status 137")
    screen.prompt()
    root = screens.office.root
    assert (root / "after").read_text() == (root / "before").read_text()


@needs_proc
@pytest.mark.parametrize("heeds", [True, False])
def test_a_terminal_that_hangs_up_ends_the_program(screens: Screens, heeds: bool) -> None:
    ignores = "" if heeds else "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    screen = screens.script(f"import os\n{ignores}print('pid', os.getpid(), flush=True)\ninput()\n")
    program = int(screen.expect(r"pid (\d+)").group(1))
    assert wait_until(screen.is_raw)
    screen.spawned.close()
    assert wait_until(lambda: not is_alive(program))


@needs_proc
def test_each_signal_of_a_hang_up_comes_once(screens: Screens) -> None:
    heard = screens.office.root / "heard"
    code = f"""
import os, signal, time
def on(number, frame):
    with open({str(heard)!r}, "a") as file:
        file.write("HUP\\n")
signal.signal(signal.SIGHUP, on)
print("pid", os.getpid(), flush=True)
try:
    while input():
        pass
except (EOFError, OSError):
    time.sleep(0.3)
"""
    screen = screens.script(code)
    program = int(screen.expect(r"pid (\d+)").group(1))
    assert wait_until(screen.is_raw)
    screen.spawned.close()
    assert wait_until(lambda: not is_alive(program))
    assert heard.read_text() == "HUP\n"


if sys.platform == "darwin":
    pytestmark = pytest.mark.skipif(not Path("/bin/bash").exists(), reason="they type to bash")
