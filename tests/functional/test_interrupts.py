"""An interrupt at any moment leaves nothing behind that nobody knows of."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import childwork
import pytest
from support import Project, catch, children_of, needs_proc, process_state, wait_until

from firehot import FirehotError
from firehot.environment import Environment


class Alarm(Exception):
    """Raised by the signal handler."""


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# In a weak reference's callback, say, Python itself drops what the handler raises and tells of that; and one that comes
# between `open` and `with` leaves a file to the collector.
@pytest.mark.filterwarnings(r"ignore:(?s).*\b(Alarm|unclosed file)\b:pytest.PytestUnraisableExceptionWarning")
@needs_proc
@pytest.mark.parametrize("milliseconds", range(10, 90, 8))
def test_an_interrupt_while_an_environment_opens_leaves_no_template(project: Project, milliseconds: int) -> None:
    project.write("app.py", "import decimal, fractions\n")
    try:
        with alarm(milliseconds / 1000), project.open():
            pass
    except Alarm:
        pass
    gc.collect()
    assert wait_until(lambda: not children_of(os.getpid()), 5)


@needs_proc
def test_an_interrupt_while_a_thread_begins_is_what_is_raised(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
    start = getattr(threading, name)

    def ring(bootstrap: Any, *args: Any, **words: Any) -> None:
        thread = bootstrap.__self__
        start(bootstrap, *args, **words)
        assert wait_until(lambda: thread not in threading._limbo)
        raise Alarm

    with monkeypatch.context() as patched, pytest.raises(Alarm):
        patched.setattr(threading, name, ring)
        with project.open():
            pass
    gc.collect()
    assert wait_until(lambda: not children_of(os.getpid()), 5)


@needs_proc
def test_an_exec_that_is_interrupted_does_not_run(project: Project, tmp_path: Path) -> None:
    # A spare would not need the template.
    with project.open(spares=0) as env:
        template = env.run(os.getppid)
        ran = tmp_path / "ran"
        os.kill(template, signal.SIGSTOP)
        try:
            assert wait_until(lambda: process_state(template) == "T")
            with alarm(0.2), pytest.raises(Alarm):
                env.exec(ran.touch)
        finally:
            os.kill(template, signal.SIGCONT)
        # Later calls are forked after it.
        assert env.run(childwork.double, 2) == 4
        assert wait_until(lambda: not children_of(template), 5)
        assert not ran.exists()
        assert not env.processes


def test_a_process_that_nobody_keeps_runs_on(env: Environment, tmp_path: Path) -> None:
    path = tmp_path / "go"
    env.exec(childwork.wait_for, str(path))
    gc.collect()
    (process,) = env.processes
    path.touch()
    assert process.wait(20) == 0


@needs_proc
def test_a_signal_to_the_whole_group_leaves_children_their_own_handlers(
    project: Project, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # As `timeout` and service managers send it; the host is spared here, since it runs the tests.
    ready = tmp_path / "ready"
    with project.open(output="capture") as environment:
        template = environment.run(os.getppid)
        process = environment.exec(childwork.clean_up_at_sigterm, str(ready), str(tmp_path / "cleaned"))
        assert wait_until(ready.exists)
        os.kill(template, signal.SIGTERM)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(20) == 0
        assert (tmp_path / "cleaned").exists()
        assert environment.run(os.getppid) == template


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_copy_of_the_host_is_told_that_the_process_is_not_its_own(env: Environment, tmp_path: Path) -> None:
    process = env.exec(childwork.wait_for, str(tmp_path / "go"))
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        error = catch(lambda: process.result(20))
        os.write(write, type(error).__name__.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with open(read, "rb") as answer:
        assert answer.read().decode() == FirehotError.__name__
    (tmp_path / "go").touch()
    process.wait(20)
