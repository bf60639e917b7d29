"""Waiting for children: time limits, threads, asyncio, Ctrl-C. The host is never blocked."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import childwork
import pytest
from support import Project, Scripts, catch, interrupt, read_line, wait_until

from firehot import ChildExited
from firehot.environment import Environment

CHILDWORK = {"PYTHONPATH": str(Path(__file__).parent)}


def test_a_process_that_runs_too_long_is_stopped(env: Environment) -> None:
    process = env.exec(childwork.block, timeout=0.2, name="slow")
    with pytest.raises(TimeoutError, match=r"slow ran longer than 0\.2 s"):
        process.result()
    assert process.wait(timeout=20) == -signal.SIGTERM
    assert not process.is_running()


def test_a_process_that_runs_too_long_and_ignores_sigterm_is_killed(env: Environment, tmp_path: Path) -> None:
    process = env.exec(childwork.ignore_sigterm, str(tmp_path / "ready"), timeout=0.5)
    with pytest.raises(TimeoutError):
        process.result()
    assert process.wait(timeout=20) == -signal.SIGKILL


def test_a_limit_that_is_not_reached_changes_nothing(env: Environment) -> None:
    assert env.exec(childwork.double, 2, timeout=60).result() == 4


def test_a_limit_that_is_no_number_is_refused(env: Environment) -> None:
    with pytest.raises(ValueError):
        env.exec(childwork.double, 2, timeout=float("nan"))


def test_a_wait_may_be_given_up_and_taken_up_again(env: Environment, tmp_path: Path) -> None:
    process = env.exec(childwork.wait_for, str(tmp_path / "go"), "done")
    for attempt in (
        lambda: process.result(timeout=0.05),
        lambda: process.exception(timeout=0),
        lambda: process.wait(timeout=0.05),
        lambda: env.communicate_isolated(process, timeout=0.05),
    ):
        with pytest.raises(TimeoutError, match=process.process_name):
            attempt()
    assert process.is_running(), "the process goes on"
    (tmp_path / "go").touch()
    assert process.result(timeout=30) == "done"


def test_a_result_is_there_before_the_process_has_ended(env: Environment, tmp_path: Path) -> None:
    process = env.exec(childwork.leave_files_behind, str(tmp_path))
    assert process.result(timeout=20) == "returned"
    with pytest.raises(TimeoutError):
        process.wait(timeout=0)
    (tmp_path / "go").touch()
    assert process.wait() == 0


@pytest.mark.parametrize("wait", ["result", "wait", "exec", "close"])
def test_another_thread_of_the_host_runs_during_a_wait(project: Project, tmp_path: Path, wait: str) -> None:
    go = tmp_path / "go"
    with project.open() as environment:
        process = environment.exec(childwork.wait_for, str(go), "done")

        def work() -> None:
            # The wait in the main thread ends only when this thread has run.
            sum(range(1000))
            go.touch()

        thread = threading.Thread(target=work)
        thread.start()
        if wait == "wait":
            assert process.wait(timeout=30) == 0
        elif wait == "exec":
            assert environment.run(childwork.wait_for, str(go), "other") == "other"
        elif wait == "close":
            thread.join()
            environment.close()
        else:
            assert process.result(timeout=30) == "done"
        thread.join()


def test_several_threads_run_calls_at_once(env: Environment) -> None:
    def work(number: int) -> int:
        return env.run(childwork.double, number)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(32))) == [2 * number for number in range(32)]


def test_several_threads_may_wait_for_one_process(env: Environment, tmp_path: Path) -> None:
    process = env.exec(childwork.wait_for, str(tmp_path / "go"), "done")
    with ThreadPoolExecutor(4) as pool:
        waits = [pool.submit(process.result) for _ in range(4)]
        (tmp_path / "go").touch()
        assert [wait.result() for wait in waits] == ["done"] * 4


def test_a_thread_that_waits_is_told_when_another_closes(project: Project) -> None:
    with project.open() as environment, ThreadPoolExecutor(1) as pool:
        process = environment.exec(childwork.block)
        wait = pool.submit(process.exception)
        environment.close()
        error = wait.result(timeout=30)
    assert isinstance(error, ChildExited)
    assert "when its environment was closed" in str(error)


# -- asyncio -------------------------------------------------------------------------------------


def test_a_process_can_be_awaited(env: Environment) -> None:
    async def main() -> int:
        return await env.exec(childwork.double, 21)

    assert asyncio.run(main()) == 42


def test_an_exception_is_raised_where_it_is_awaited(env: Environment) -> None:
    async def main() -> None:
        await env.exec(childwork.raise_it, ValueError("no"))

    assert isinstance(catch(lambda: asyncio.run(main())).__cause__, ValueError)


def test_several_processes_can_be_gathered(env: Environment) -> None:
    async def main() -> list[int]:
        async def one(number: int) -> int:
            return await env.exec(childwork.double, number)

        return await asyncio.gather(*(one(number) for number in range(12)))

    assert asyncio.run(main()) == [2 * number for number in range(12)]


def test_one_process_can_be_awaited_twice_and_after_its_end(env: Environment) -> None:
    async def main() -> tuple[int, int, int]:
        process = env.exec(childwork.double, 1)

        async def wait() -> int:
            return await process

        first, second = await asyncio.gather(wait(), wait())
        process.wait()
        return first, second, await process

    assert asyncio.run(main()) == (2, 2, 2)


def test_the_loop_runs_while_a_process_is_awaited(env: Environment, tmp_path: Path) -> None:
    async def main() -> str:
        process = env.exec(childwork.wait_for, str(tmp_path / "go"), "done")

        async def wait() -> str:
            return await process

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        # Only the loop can do this.
        asyncio.get_running_loop().call_soon((tmp_path / "go").touch)
        return await task

    assert asyncio.run(main()) == "done"


def test_a_cancelled_wait_leaves_the_process_running(env: Environment, tmp_path: Path) -> None:
    async def main() -> str:
        process = env.exec(childwork.wait_for, str(tmp_path / "go"), "done")

        async def wait() -> str:
            return await process

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wait(), 0.05)
        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert process.is_running()
        (tmp_path / "go").touch()
        return await process

    assert asyncio.run(main()) == "done"


def test_a_wait_in_a_loop_that_was_closed_hurts_nobody(env: Environment, tmp_path: Path) -> None:
    process = env.exec(childwork.wait_for, str(tmp_path / "go"), "done")

    async def main() -> None:
        async def wait() -> str:
            return await process

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())
    (tmp_path / "go").touch()
    assert process.result(timeout=30) == "done"
    assert env.run(childwork.double, 1) == 2


# -- Ctrl-C --------------------------------------------------------------------------------------


def test_a_signal_handler_of_the_host_runs_during_a_wait(env: Environment, tmp_path: Path) -> None:
    go = tmp_path / "go"
    process = env.exec(lambda: os.kill(os.getppid(), 0) or childwork.wait_for(str(go), "done"))
    before = signal.signal(signal.SIGUSR1, lambda *_: go.touch())
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert process.result(timeout=30) == "done"
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("group", [False, True], ids=["host", "terminal"])
@pytest.mark.parametrize("wait", ["process.result()", "process.wait()", "asyncio.run(awaited(process))"])
def test_ctrl_c_ends_a_wait(
    scripts: Scripts, script_package: str, nothing_is_left: str, wait: str, group: bool
) -> None:
    with scripts.start(
        f"""
        import asyncio
        import sys
        import childwork
        from firehot import isolate_imports

        async def awaited(process):
            return await process

        if __name__ == "__main__":
            with isolate_imports("my_package") as environment:
                process = environment.exec(childwork.speak_and_block, name="p")
                try:
                    {wait}
                except BaseException as error:
                    print(type(error).__name__, flush=True)
                    raise
        """,
        env=CHILDWORK,
    ) as process:
        assert read_line(process) == "[p] early"
        interrupt(process, group=group)
        # With the whole group the child ends as well, and its end may be told first.
        expected = {"KeyboardInterrupt", "ChildError", "[p]"} if group else {"KeyboardInterrupt"}
        assert read_line(process).split()[0] in expected
        _, stderr = process.communicate(timeout=30)
        assert "KeyboardInterrupt" in stderr
        assert process.returncode != 0


def test_ctrl_c_ends_the_opening_while_a_module_is_imported(
    scripts: Scripts, script_package: str, tmp_path: Path, nothing_is_left: str
) -> None:
    third_party = tmp_path / "third_party"
    third_party.mkdir()
    ready = tmp_path / "ready"
    (third_party / "slow_module.py").write_text(
        f"import signal\nopen({str(ready)!r}, 'w').close()\nwhile True: signal.pause()\n"
    )
    scripts.save("import slow_module", "my_package/app.py")
    with scripts.start(
        """
        from firehot import isolate_imports
        try:
            with isolate_imports("my_package"):
                pass
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """,
        env={"PYTHONPATH": str(third_party)},
    ) as process:
        assert wait_until(ready.exists)
        interrupt(process, group=True)
        assert process.communicate(timeout=10) == ("interrupted\n", "")
        assert process.returncode == 0


def test_ctrl_c_ends_a_close_that_takes_long(scripts: Scripts, script_package: str, nothing_is_left: str) -> None:
    with scripts.start(
        """
        import childwork
        from firehot import isolate_imports
        try:
            with isolate_imports("my_package") as environment:
                process = environment.exec(childwork.tell_of_sigterm, name="p")
                input()
                environment.close(timeout=1000)
        except KeyboardInterrupt:
            print("interrupted", process.exitcode, flush=True)
        """,
        env=CHILDWORK,
        stdin=subprocess.PIPE,
    ) as process:
        assert read_line(process) == "[p] ready"
        assert process.stdin is not None
        process.stdin.write("close\n")
        process.stdin.flush()
        assert read_line(process) == "[p] terminated", "close has asked the child to end"
        interrupt(process)
        stdout, stderr = process.communicate(timeout=10)
        # It may be asked once more before it is killed.
        assert stdout.removeprefix("[p] terminated\n") == "interrupted -9\n"
        assert not stderr


def test_waits_do_not_use_the_processor(env: Environment, tmp_path: Path) -> None:
    process = env.exec(childwork.wait_for, str(tmp_path / "go"), "done")
    used = time.process_time()
    with pytest.raises(TimeoutError):
        process.result(timeout=1)
    assert time.process_time() - used < 0.5
    (tmp_path / "go").touch()
    assert process.result() == "done"


def test_callbacks_of_many_waits_all_run(env: Environment) -> None:
    async def main() -> int:
        async def one(make: Callable[[int], int], number: int) -> int:
            return await env.exec(make, number)

        numbers = await asyncio.gather(*(one(childwork.double, n) for n in range(20)))
        return sum(numbers)

    assert asyncio.run(main()) == sum(2 * number for number in range(20))
