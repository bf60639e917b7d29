"""Children that misbehave: whatever one does, its waiter is told, stop and close work, and the others go on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soakwork
from conftest import Measure
from scale import times
from support import (
    Project,
    Scripts,
    children_of,
    is_alive,
    marked_processes,
    needs_proc,
    open_descriptors,
    process_state,
    run_to_its_end,
    wait_until,
)

from firehot import ChildError, ChildExited
from firehot.environment import Environment
from firehot.process import IsolatedProcess

ANSWER = 30.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where children make a file named after their pid."""
    made = tmp_path / "running"
    made.mkdir()
    return made


def announced(folder: Path, count: int = 1) -> list[int]:
    """The pids of the processes that have said that they run."""
    assert wait_until(lambda: len(os.listdir(folder)) >= count)
    pids = [int(name) for name in os.listdir(folder)]
    for name in os.listdir(folder):
        (folder / name).unlink()
    return pids


@pytest.fixture
def env(project: Project) -> Iterator[Environment]:
    """One whose descriptors are those of its runs: none comes or goes for a spare or a layer."""
    with project.open(spares=0, learn=False) as environment:
        yield environment


@needs_proc
def test_grandchildren_hold_up_nothing(env: Environment, folder: Path, measure: Measure) -> None:
    """As after a cold start they live on: firehot ends what it has started."""
    count = times(20, least=1)
    before = run_to_its_end(env)
    with measure("a child that forks grandchildren, stopped", count):
        for _ in range(count):
            process = env.exec(soakwork.fork_a_family, str(folder))
            family = announced(folder, 7)
            assert process.stop() is True
            assert process.exitcode == -signal.SIGTERM
            for pid in family:
                if pid != process.pid:
                    os.kill(pid, signal.SIGKILL)
            assert wait_until(lambda family=family: not any(map(is_alive, family)))
    assert wait_until(lambda: set(open_descriptors()) == set(before)), "their pipes are read until their end"


@needs_proc
def test_daemons_hold_up_nothing(env: Environment, folder: Path, measure: Measure) -> None:
    count = times(50, least=2)
    before = run_to_its_end(env)
    with measure("a child that leaves a daemon", count):
        for _ in range(count):
            process = env.exec(soakwork.daemonise, str(folder))
            daemon = process.result(ANSWER)
            assert process.wait(ANSWER) == 0
            assert announced(folder) == [daemon]
            os.kill(daemon, signal.SIGKILL)
            assert wait_until(lambda daemon=daemon: not is_alive(daemon))
    assert wait_until(lambda: set(open_descriptors()) == set(before))


def test_a_child_that_closes_every_descriptor_is_told_and_can_be_stopped(
    env: Environment, folder: Path, measure: Measure
) -> None:
    count = times(50, least=2)
    with measure("a child that closes all descriptors", count):
        for _ in range(count):
            error = env.exec(soakwork.close_everything_and_return).exception(ANSWER)
            assert isinstance(error, ChildExited)
            process = env.exec(soakwork.close_everything_and_block, str(folder))
            announced(folder)
            with pytest.raises(TimeoutError):
                process.result(timeout=0.05)
            assert process.stop() is True
            assert process.exitcode == -signal.SIGTERM


@needs_proc
def test_a_child_that_exhausts_its_memory_is_told(env: Environment, measure: Measure) -> None:
    count = times(50, least=2)
    with measure("a child that exhausts its memory", count) as outcome:
        kinds = []
        for _ in range(count):
            error = env.exec(soakwork.exhaust_memory).exception(ANSWER)
            # With nothing left it may not even be able to say so.
            assert isinstance(error, ChildError)
            kinds.append("MemoryError" if isinstance(error.__cause__, MemoryError) else str(error))
            assert env.run(soakwork.double, 2) == 4
        outcome.append(", ".join(f"{kind} {kinds.count(kind)} times" for kind in sorted(set(kinds))))


@pytest.mark.parametrize("output", ["prefix", "capture"])
@pytest.mark.parametrize("end", ["stop", "close", "limit"])
def test_a_child_that_writes_without_end_is_ended(
    project: Project, folder: Path, capfd: pytest.CaptureFixture[str], output: str, end: str
) -> None:
    with project.open(output=output) as env:
        process: IsolatedProcess[object] = env.exec(
            soakwork.fill_its_pipe, str(folder), timeout=0.3 if end == "limit" else None
        )
        announced(folder)
        if end == "stop":
            assert process.stop() is True
            assert env.run(soakwork.double, 2) == 4
        elif end == "limit":
            with pytest.raises(TimeoutError):
                process.result(ANSWER)
            process.wait(ANSWER)
    assert process.exitcode == -signal.SIGTERM
    shown = capfd.readouterr().out if output == "prefix" else process.output
    assert shown.endswith("x\n")


def test_a_child_whose_output_nobody_reads_can_be_killed_with_its_host(
    scripts: Scripts, script_package: str, nothing_is_left: str
) -> None:
    """The host's own stdout is full: the host waits for its reader, as with any print, but goes when it is told to."""
    with scripts.start(
        """
        import sys, tempfile
        import soakwork
        from firehot import isolate_imports
        with isolate_imports("my_package", spares=0, learn=False) as environment:
            process = environment.exec(soakwork.fill_its_pipe, tempfile.mkdtemp(), name="p")
            sys.stderr.write("running\\n")
            process.result()
        """,
        env={"PYTHONPATH": str(Path(__file__).parent)},
    ) as host:
        assert host.stderr is not None
        assert host.stderr.readline() == "running\n"
        # Until the backlog is full and the child's pipe as well.
        assert wait_until(lambda: len(marked_processes(nothing_is_left)) == 3)
        child = wait_until(lambda: only_child_of_the_template(host.pid))
        assert wait_until(lambda: is_stuck(child))
        host.send_signal(signal.SIGTERM)
        assert host.wait(timeout=20) == -signal.SIGTERM
        assert wait_until(lambda: not marked_processes(nothing_is_left), 2)


def only_child_of_the_template(host: int) -> int | None:
    (template,) = children_of(host)
    children = children_of(template)
    return children[0] if children else None


def is_stuck(pid: int) -> bool:
    """Whether it writes to a pipe that is full, now and a moment later."""

    def written() -> str:
        return Path(f"/proc/{pid}/io").read_text().split("wchar:")[1].split()[0]

    first = written()
    time.sleep(0.3)
    return first == written() and int(first) > 0


def test_a_child_that_never_reads_its_call_holds_up_nobody(project: Project) -> None:
    """Stopped in the moment that it is forked, with a call larger than any socket's buffer on its way."""
    project.dependency(
        "dep_stop.py",
        """
        import os, signal

        def in_child():
            if os.path.exists(__file__ + ".stop"):
                os.kill(os.getpid(), signal.SIGSTOP)

        os.register_at_fork(after_in_child=in_child)
        """,
    )
    project.write("app.py", "import dep_stop\n")
    with project.open(spares=0, learn=False) as env:
        flag = project.dependency("dep_stop.py.stop")
        stuck = env.exec(len, bytes(32 << 20))
        assert stuck.pid is not None and wait_until(lambda: process_state(stuck.pid or 0) == "T")
        flag.unlink()
        assert env.run(soakwork.double, 2) == 4
        with pytest.raises(TimeoutError):
            stuck.result(timeout=0.1)
        assert stuck.stop(timeout=0.1) is True
        assert stuck.exitcode == -signal.SIGKILL
        other = env.exec(len, bytes(32 << 20))
        assert other.result(ANSWER) == 32 << 20


@needs_proc
@pytest.mark.parametrize("end", ["stop", "close", "continue"])
def test_a_child_that_stops_itself_can_be_ended(project: Project, folder: Path, measure: Measure, end: str) -> None:
    count = times(20, least=1)
    with measure("a child that stops itself (SIGSTOP)", count):
        for _ in range(count):
            with project.open() as env:
                process = env.exec(soakwork.stop_itself, str(folder))
                (pid,) = announced(folder)
                assert wait_until(lambda pid=pid: process_state(pid) == "T")
                assert env.run(soakwork.double, 2) == 4, "the others go on"
                if end == "stop":
                    assert process.stop(timeout=0.05) is True
                elif end == "close":
                    env.close(timeout=0.05)
                else:
                    os.kill(pid, signal.SIGCONT)
                    assert process.result(ANSWER) == "went on"
                    assert process.wait(ANSWER) == 0
            if end != "continue":
                assert process.exitcode in (-signal.SIGKILL, -signal.SIGTERM)
            assert not is_alive(pid)


@pytest.mark.parametrize("end", ["stop", "close"])
def test_a_child_that_ignores_sigterm_is_killed(project: Project, folder: Path, measure: Measure, end: str) -> None:
    count = times(20, least=1)
    with measure("a child that ignores SIGTERM", count):
        for _ in range(count):
            with project.open() as env:
                process = env.exec(soakwork.ignore_sigterm, str(folder))
                announced(folder)
                if end == "stop":
                    assert process.stop(timeout=0.05) is True
                else:
                    env.close(timeout=0.05)
            assert process.exitcode == -signal.SIGKILL


def test_closing_does_not_wait_for_a_template_that_is_suspended(project: Project) -> None:
    with project.open() as env:
        template = env.run(os.getppid)
        running = env.exec(soakwork.block)
        os.kill(template, signal.SIGSTOP)
        assert wait_until(lambda: process_state(template) in ("T", None))
        started = time.monotonic()
        env.close(timeout=0.2)
        taken = time.monotonic() - started
    assert not running.is_running() and not is_alive(template)
    assert running.pid is not None and wait_until(lambda: not is_alive(running.pid or 0), 2)
    assert taken < 3.0, "the grace, and a second for what does not answer"


def test_every_kind_at_once(project: Project, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    kinds: list[Callable[[str], object]] = [
        soakwork.close_everything_and_block,
        soakwork.fill_its_pipe,
        soakwork.stop_itself,
        soakwork.ignore_sigterm,
        soakwork.announce_and_block,
    ]
    count = times(10, least=1)
    with project.open() as env:
        processes = [env.exec(kind, str(folder)) for _ in range(count) for kind in kinds]
        announced(folder, len(processes))
        assert env.run(soakwork.double, 2) == 4
        env.close(timeout=0.5)
    assert all(isinstance(process.exception(0), ChildExited) for process in processes)
