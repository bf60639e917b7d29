"""However things end, no process, no zombie and no descriptor stays: stops, crashes, kills, forks, interpreter exit.

The fixture `nothing_is_left` looks after every test; these bring about the ends that are hard.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import childwork
import pytest
from support import (
    Project,
    Scripts,
    children_of,
    is_alive,
    marked_processes,
    needs_proc,
    open_descriptors,
    process_state,
    read_line,
    run_to_its_end,
    wait_until,
    zombies_of,
)

from firehot import ChildExited
from firehot.environment import Environment

CHILDWORK = {"PYTHONPATH": str(Path(__file__).parent)}
# Since 3.12 Python warns of a fork in a process with threads.
FORKING = {**CHILDWORK, "PYTHONWARNINGS": "ignore::DeprecationWarning"}


@needs_proc
@pytest.mark.parametrize("spares", [0, 1])
def test_fifty_runs_leave_no_zombie_and_no_descriptor(project: Project, spares: int) -> None:
    known = set(children_of(os.getpid()))
    with project.open(spares=spares, learn=False) as env:
        [template] = set(children_of(os.getpid())) - known

        def rests() -> bool:
            """Nothing is there but the spare, which waits for the next call."""
            return len(children_of(template)) == spares

        assert wait_until(rests)
        before = run_to_its_end(env)
        for number in range(50):
            process = env.exec(childwork.double, number)
            process.result()
            process.wait()
        assert not zombies_of(os.getpid())
        assert not zombies_of(template)
        assert wait_until(rests)
        assert wait_until(lambda: len(open_descriptors()) == len(before))


@needs_proc
def test_runs_do_not_add_descriptors_to_the_template(project: Project) -> None:
    def held_by_parent() -> int:
        return len(os.listdir(f"/proc/{os.getppid()}/fd"))

    # While a spare is forked, its socket is there as well.
    with project.open(spares=0, learn=False) as env:
        first = env.run(held_by_parent)
        for _ in range(20):
            env.run(childwork.double, 1)
        assert env.run(held_by_parent) == first


def test_a_stopped_process_has_ended(env: Environment, tmp_path: Path) -> None:
    process = env.exec(childwork.announce_and_block, str(tmp_path / "ready"))
    assert wait_until((tmp_path / "ready").exists)
    assert env.stop_isolated(process) is True
    assert process.exitcode == -signal.SIGTERM
    assert process.pid is not None and not is_alive(process.pid)
    assert isinstance(process.exception(), ChildExited)
    assert process.stop() is True, "stopping again is nothing special"


def test_a_process_that_ended_before_is_stopped(env: Environment) -> None:
    process = env.exec(childwork.double, 1)
    process.wait()
    assert env.stop_isolated(process) is True
    assert process.exitcode == 0


def test_a_process_of_another_environment_is_not_stopped(project: Project) -> None:
    with project.open() as one, project.open() as other:
        process = one.exec(childwork.block)
        assert other.stop_isolated(process) is False
        assert process.is_running()


def test_a_process_that_ignores_sigterm_is_stopped(env: Environment, tmp_path: Path) -> None:
    process = env.exec(childwork.ignore_sigterm, str(tmp_path / "ready"))
    assert wait_until((tmp_path / "ready").exists)
    assert process.stop(timeout=0.2) is True
    assert process.exitcode == -signal.SIGKILL


def test_a_process_may_end_in_its_own_way_when_it_is_stopped(env: Environment, tmp_path: Path) -> None:
    def tidy(ready: str) -> None:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))
        childwork.announce_and_block(ready)

    process = env.exec(tidy, str(tmp_path / "ready"))
    assert wait_until((tmp_path / "ready").exists)
    process.stop()
    assert process.exitcode == 4


@needs_proc
def test_a_process_that_is_suspended_is_stopped(env: Environment, tmp_path: Path) -> None:
    process = env.exec(childwork.announce_and_block, str(tmp_path / "ready"))
    assert wait_until((tmp_path / "ready").exists)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGSTOP)
    assert wait_until(lambda: process_state(process.pid or 0) == "T")
    assert process.stop(timeout=0.2) is True
    assert process.exitcode in (-signal.SIGKILL, -signal.SIGTERM)


def test_a_suspended_process_does_not_outlive_close(project: Project, tmp_path: Path) -> None:
    with project.open() as environment:
        process = environment.exec(childwork.announce_and_block, str(tmp_path / "ready"))
        assert wait_until((tmp_path / "ready").exists)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGSTOP)
        environment.close(timeout=0.2)
    assert not process.is_running()


def test_closing_stops_processes_that_ignore_sigterm(project: Project, tmp_path: Path) -> None:
    with project.open() as environment:
        process = environment.exec(childwork.ignore_sigterm, str(tmp_path / "ready"))
        assert wait_until((tmp_path / "ready").exists)
        environment.close(timeout=0.2)
    assert process.exitcode == -signal.SIGKILL
    assert "when its environment was closed" in str(process.exception())


def test_a_suspended_template_does_not_outlive_close(project: Project) -> None:
    with project.open() as environment:
        template = environment.run(os.getppid)
        os.kill(template, signal.SIGSTOP)
        environment.close(timeout=0.2)
    assert not is_alive(template)


def test_an_exception_in_the_block_closes_the_environment(project: Project) -> None:
    process = None
    with pytest.raises(LookupError), project.open() as environment:
        process = environment.exec(childwork.block)
        raise LookupError
    assert process is not None and not process.is_running()


# -- the host dies -------------------------------------------------------------------------------

HOST = """
import signal
import childwork
from firehot import isolate_imports
with isolate_imports("my_package") as environment:
    processes = [environment.exec(childwork.speak_and_block, name="p") for _ in range(3)]
    signal.pause()
"""


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV], ids=str)
def test_killing_the_host_leaves_no_process(
    scripts: Scripts, script_package: str, nothing_is_left: str, number: int
) -> None:
    with scripts.start(HOST, env=CHILDWORK) as host:
        for _ in range(3):
            assert read_line(host) == "[p] early"
        # Host, template, children, and the spare that is forked for the next call.
        assert wait_until(lambda: len(marked_processes(nothing_is_left)) == 6)
        host.send_signal(number)
        host.wait(timeout=20)
        assert wait_until(lambda: not marked_processes(nothing_is_left), 2)


@needs_proc
def test_killing_the_host_kills_children_that_ignore_signals(
    scripts: Scripts, script_package: str, nothing_is_left: str
) -> None:
    text = HOST.replace("speak_and_block", "tell_of_sigterm")
    with scripts.start(text, env=CHILDWORK) as host:
        for _ in range(3):
            assert read_line(host) == "[p] ready"
        host.kill()
        host.wait(timeout=20)
        assert wait_until(lambda: not marked_processes(nothing_is_left), 2)


@needs_proc
def test_killing_the_host_while_a_module_is_imported_leaves_no_process(
    scripts: Scripts, script_package: str, tmp_path: Path, nothing_is_left: str
) -> None:
    third_party = tmp_path / "third_party"
    third_party.mkdir()
    ready = tmp_path / "ready"
    (third_party / "slow_module.py").write_text(
        f"import signal\nopen({str(ready)!r}, 'w').close()\nwhile True: signal.pause()\n"
    )
    scripts.save("import slow_module", "my_package/app.py")
    text = """
        from firehot import isolate_imports
        with isolate_imports("my_package"):
            pass
    """
    with scripts.start(text, env={"PYTHONPATH": str(third_party)}) as host:
        assert wait_until(ready.exists)
        assert len(marked_processes(nothing_is_left)) == 2
        host.kill()
        host.wait(timeout=20)
        assert wait_until(lambda: not marked_processes(nothing_is_left), 2)


@needs_proc
def test_killing_the_host_leaves_no_process_though_its_workers_live(
    scripts: Scripts, script_package: str, nothing_is_left: str
) -> None:
    """A forked worker of the host holds a copy of every socket: the template watches the host itself."""
    with scripts.start(
        """
        import os
        import signal
        import childwork
        from firehot import isolate_imports
        with isolate_imports("my_package") as environment:
            environment.exec(childwork.speak_and_block, name="p")
            worker = os.fork()
            if worker == 0:
                childwork.block()
            print(f"{worker}", flush=True)
            childwork.block()
        """,
        env=CHILDWORK,
    ) as host:
        worker = int(next(line for line in (read_line(host), read_line(host)) if line.isdigit()))
        host.kill()
        host.wait(timeout=20)
        assert wait_until(lambda: set(marked_processes(nothing_is_left)) == {worker}, 2)
        os.kill(worker, signal.SIGKILL)


def test_a_host_that_ends_without_closing_leaves_no_process(scripts: Scripts, script_package: str) -> None:
    for end in ("pass", "sys.exit(0)", "1 / 0", "os._exit(0)"):
        finished = scripts.run(
            f"""
            import os, sys
            import childwork
            from firehot import isolate_imports
            manager = isolate_imports("my_package")
            environment = manager.__enter__()
            environment.exec(childwork.block)
            {end}
            """,
            env=CHILDWORK,
        )
        assert finished.returncode == (1 if end == "1 / 0" else 0), finished.stderr
        assert ("ZeroDivisionError" in finished.stderr) == (end == "1 / 0")
        assert end == "1 / 0" or not finished.stderr


def test_output_at_interpreter_exit_is_shown(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        import childwork
        from firehot import isolate_imports
        manager = isolate_imports("my_package")
        environment = manager.__enter__()
        environment.exec(childwork.double, 2).wait()
        process = environment.exec(childwork.speak_and_block, name="p")
        try:
            process.result(timeout=0.5)
        except TimeoutError:
            pass
        """,
        env=CHILDWORK,
    )
    assert finished.ok() == "[p] early\n"
    assert not finished.stderr


def test_a_host_that_ignores_sigchld_works(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        import os, signal
        import childwork
        from firehot import ChildExited, isolate_imports
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with isolate_imports("my_package") as environment:
            print(environment.run(childwork.double, 2))
            print(environment.exec(os._exit, 7).wait())
            template = environment.run(os.getppid)
            os.kill(template, signal.SIGKILL)
            print(environment.run(childwork.double, 3))
        """,
        env=CHILDWORK,
    )
    assert finished.ok().split() == ["4", "7", "6"]


def test_a_host_that_reaps_every_child_works(env: Environment) -> None:
    for number in range(5):
        template = env.run(os.getppid)
        os.kill(template, signal.SIGKILL)
        with suppress(ChildProcessError):  # The engine was quicker.
            os.waitpid(template, 0)
        assert env.run(childwork.double, number) == 2 * number


# -- the host forks ------------------------------------------------------------------------------


def test_a_fork_of_the_host_is_refused_and_disturbs_nothing(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        import os, sys
        import childwork
        from firehot import FirehotError, isolate_imports

        with isolate_imports("my_package") as environment:
            running = environment.exec(childwork.block)
            pid = os.fork()
            if pid == 0:
                for attempt in (
                    lambda: environment.run(childwork.double, 1),
                    environment.update_environment,
                    running.stop,
                ):
                    try:
                        attempt()
                    except FirehotError as error:
                        assert "forked" in str(error), error
                    else:
                        os._exit(1)
                environment.close()
                os._exit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
            assert running.is_running()
            print(environment.run(childwork.double, 21))
        """,
        env=FORKING,
    )
    assert finished.ok().strip() == "42"
    assert not finished.stderr


def test_a_fork_of_the_host_that_exits_normally_disturbs_nothing(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        import os, sys
        import childwork
        from firehot import isolate_imports

        manager = isolate_imports("my_package")
        environment = manager.__enter__()
        pid = os.fork()
        if pid == 0:
            sys.exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
        print(environment.run(childwork.double, 21))
        """,
        env=FORKING,
    )
    assert finished.ok().strip() == "42"
    assert not finished.stderr


def test_a_forked_process_may_open_an_environment_of_its_own(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        import os
        import childwork
        from firehot import isolate_imports

        with isolate_imports("my_package") as outer:
            pid = os.fork()
            if pid == 0:
                with isolate_imports("my_package") as inner:
                    assert inner.run(childwork.double, 1) == 2
                os._exit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
            print(outer.run(childwork.double, 21))
        """,
        env=FORKING,
    )
    assert finished.ok().strip() == "42"


# -- little is left to work with -----------------------------------------------------------------


def test_a_host_without_descriptors_gets_an_error_and_goes_on(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        import os, resource
        import childwork
        from firehot import FirehotError, isolate_imports

        with isolate_imports("my_package") as environment:
            assert environment.run(childwork.double, 1) == 2
            resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
            held = []
            try:
                while True:
                    held.append(os.dup(0))
            except OSError:
                pass
            try:
                environment.run(childwork.double, 2)
            except (OSError, FirehotError) as error:
                print(type(error).__name__)
            for fd in held:
                os.close(fd)
            print(environment.run(childwork.double, 3))
        """,
        env=CHILDWORK,
    )
    assert finished.ok().split() == ["OSError", "6"]


def test_standard_descriptors_that_are_closed_do_no_harm(scripts: Scripts, script_package: str, tmp_path: Path) -> None:
    result = tmp_path / "result"
    path = scripts.save(
        f"""
        import childwork
        from firehot import isolate_imports
        with isolate_imports("my_package") as environment:
            # What firehot opens must not take the place of the closed descriptors.
            running = environment.exec(childwork.block)
            values = [environment.run(childwork.double, 1)]
            values.append(environment.exec(childwork.speak, 4, output="inherit").result())
            values.append(environment.exec(childwork.double, 3, output="capture").result())
        open({str(result)!r}, "w").write(repr(values))
        """
    )
    command = f'exec "{sys.executable}" "{path}" <&- >&- 2>&-'
    subprocess.run(["sh", "-c", command], cwd=scripts.folder, env={**os.environ, **CHILDWORK}, timeout=60)
    assert result.read_text() == "[2, 4, 6]"
