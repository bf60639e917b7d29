"""The process that a program runs in: its signals, limits, terminal and streams, and what it finds on disk."""

from __future__ import annotations

import ast
import os
import resource
import signal
import sys
from collections.abc import Iterator

import pytest
from programs import Both, Case, Ended, Running, opened
from support import process_state, wait_until


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """A folder and a template."""
    with opened(tmp_path_factory.mktemp("programs").resolve(), {}, [()], ["json"]) as made:
        yield made


# -- signals -------------------------------------------------------------------------------------

_WAITS = "import time\ntry:\n  print('ready', flush=True)\n  time.sleep(60)\nfinally:\n  print('left')\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_a_signal_ends_a_program_as_it_ends_python(both: Both, number: int) -> None:
    def send(running: Running) -> None:
        running.until(b"ready")
        assert wait_until(lambda: process_state(running.pid) in ("S", None))  # It sleeps; None: no /proc.
        os.kill(running.pid, number)

    cold, warm = both.ends(Case("waits", _WAITS), send)
    assert warm == cold
    assert warm.status == -number


def test_an_interrupt_reaches_the_whole_group_of_a_program(both: Both) -> None:
    code = "import subprocess\nprint('ready', flush=True)\nsubprocess.run(['sleep', '60'])"

    def send(running: Running) -> None:
        running.until(b"ready")
        os.killpg(running.pid, signal.SIGTERM)

    assert both.warm.run(Case("", "import os; print(os.getpgrp() == os.getpid())")).end().stdout == "True\n"
    cold, warm = both.ends(Case("waits for another", code), send)
    assert (warm.status, warm.stdout) == (cold.status, cold.stdout) == (-signal.SIGTERM, "ready\n")


def test_an_interrupt_while_threads_are_waited_for(both: Both) -> None:
    # Not by print: Python aborts at its end where a thread is still in one.
    code = "import os, threading\nwait = threading.Event()\n" + (
        "def work():\n  threading.main_thread().join()\n  os.write(1, b'ready\\n')\n  wait.wait(0.5)\n"
        "threading.Thread(target=work).start()\n"
    )

    def send(running: Running) -> None:
        running.until(b"ready")
        assert wait_until(lambda: process_state(running.pid) in ("S", None))
        os.kill(running.pid, signal.SIGINT)

    cold, warm = both.ends(Case("threads", code), send)
    assert warm == cold
    assert "KeyboardInterrupt" in warm.stderr


def test_a_broken_pipe_at_the_end(both: Both) -> None:
    # It writes when nobody reads any more.
    code = "import select\nwatched = select.poll()\nwatched.register(1, 0)\nwatched.poll()\nprint('x' * 10)"

    cold, warm = both.ends(Case("prints", code), Running.hang_up)
    assert warm == cold
    assert warm.status == 120
    assert "BrokenPipeError" in warm.stderr


def test_a_broken_pipe_in_the_middle(both: Both) -> None:
    cold, warm = both.ends(Case("prints", "while True: print('x' * 1000)"), Running.hang_up)
    assert warm == cold
    assert "BrokenPipeError" in warm.stderr


def test_signals_that_the_caller_ignores_or_blocks(both: Both) -> None:
    code = (
        "import signal\nprint(*(signal.getsignal(n) for n in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)),"
        " signal.pthread_sigmask(0, []))"
    )
    more = {"ignored_signals": [signal.SIGINT, signal.SIGHUP], "blocked": [signal.SIGUSR2]}
    shown = both.warm.run(Case("shows", code, more=more)).end().stdout
    ignored = "Handlers.SIG_IGN" if sys.version_info < (3, 11) else "1"
    assert shown.count(ignored) >= 2 and "SIGUSR2" in shown


# -- limits and terminal -------------------------------------------------------------------------


def test_limits_affinity_and_priority_are_the_callers(both: Both) -> None:
    code = "import os, resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.nice(0))"
    if hasattr(os, "sched_getaffinity"):
        code += "; print(len(os.sched_getaffinity(0)))"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = {"RLIMIT_NOFILE": [soft - 1, hard]}
    more = {"limits": limits, "affinity": [min(os.sched_getaffinity(0))], "nice": os.nice(0) + 3}
    if not hasattr(os, "sched_getaffinity"):
        del more["affinity"]
    shown = both.warm.run(Case("shows", code, more=more)).end().stdout.split()
    assert shown[:2] == [str(soft - 1), str(os.nice(0) + 3)]
    assert shown[2:] in ([], ["1"])


def test_a_terminal_is_the_controlling_one(both: Both) -> None:
    ours, theirs = os.openpty()
    try:
        code = "import os, sys; f = open('/dev/tty'); print(os.tcgetpgrp(f.fileno()) == os.getpid(), os.ttyname(0))"
        case = Case("", code, more={"terminal": os.ttyname(theirs)})
        template = both.warm
        read, write = os.pipe()
        try:
            pid, wait = template.start(case, [theirs, write, write])
        finally:
            os.close(write)
        ended = Running(pid, [read], wait).end()
        assert ended == Ended(0, f"True {os.ttyname(theirs)}\n", "")
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("target", [0, 1, 2])
def test_lines_are_written_at_once_to_a_terminal(both: Both, target: int) -> None:
    code = (
        "import sys; print(sys.stdin.line_buffering, sys.stdout.line_buffering, sys.stderr.line_buffering, file=sys.{})"
    )
    shown = []
    for side in (both.cold, both.warm):
        ours, theirs = os.openpty()
        read, write = os.pipe()
        stdio = [write, write, write]
        stdio[target] = theirs
        out = "stderr" if target == 1 else "stdout"
        pid, wait = side.start(Case("", code.format(out)), stdio)
        os.close(write)
        ended = Running(pid, [read], wait).end()
        shown.append(ended)
        os.close(theirs)
        os.close(ours)
    assert shown[0] == shown[1]
    assert shown[0].stdout.split()[:2] == [str(target == 0), str(target == 1)]


def test_the_script_is_read_when_it_runs(both: Both) -> None:
    path = both.folder / "changes.py"
    for number in range(3):
        path.write_text(f"print({number})\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
        assert both.warm.run(Case("", kind="script", target="changes.py")).end() == Ended(0, f"{number}\n", "")


def test_nothing_is_imported_that_python_does_not_load_itself(both: Both) -> None:
    """What a program without imports costs is the fork, not the imports of firehot."""
    code = "import sys; print(sorted(sys.modules))"
    shown = both.warm.run(Case("", code)).end().stdout
    loaded = set(ast.literal_eval(shown))
    assert not {"runpy", "resource", "textwrap"} & loaded
