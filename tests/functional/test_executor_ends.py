"""How an `Executor` ends: by shutdown, by being dropped, with its environment, with the interpreter, in a fork."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import childwork
import pytest
import taskwork
from support import Project, Scripts, firehot_threads, interrupt, is_alive, read_line, wait_until

from firehot import EnvironmentClosedError, Executor, FirehotError, PackageNotFoundError, TaskExited
from firehot.environment import Environment

EXECUTOR_THREADS = {"firehot-executor", "firehot-launcher"}


def executor_threads() -> set[str]:
    return EXECUTOR_THREADS & set(firehot_threads())


# -- shutdown ------------------------------------------------------------------------------------


def test_shutdown_waits_for_what_was_submitted(env: Environment) -> None:
    with Executor(env, max_workers=2) as executor:
        tasks = [executor.submit(childwork.double, number) for number in range(20)]
    assert all(task.done() for task in tasks)
    assert [task.result() for task in tasks] == [2 * number for number in range(20)]
    assert not executor_threads()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, -1)


def test_shutdown_need_not_wait(env: Environment, tmp_path: Path) -> None:
    executor = Executor(env, max_workers=1)
    tasks = [executor.submit(childwork.wait_for, str(tmp_path / "go"), number) for number in range(3)]
    executor.shutdown(wait=False)
    assert not any(task.done() for task in tasks)
    (tmp_path / "go").touch()
    assert [task.result() for task in tasks] == [0, 1, 2]
    assert wait_until(lambda: not executor_threads())


def test_shutdown_cancels_what_has_not_begun_where_asked_to(env: Environment, tmp_path: Path) -> None:
    executor = Executor(env, max_workers=1)
    running = executor.submit(childwork.wait_for, str(tmp_path / "go"), "ran")
    assert wait_until(running.running)
    waiting = [executor.submit(abs, -1) for _ in range(10)]
    executor.shutdown(wait=False, cancel_futures=True)
    # Those who wait for them are told.
    assert futures.wait(waiting).done == set(waiting)
    assert all(task.cancelled() for task in waiting)
    (tmp_path / "go").touch()
    executor.shutdown()
    assert running.result() == "ran"


@pytest.mark.parametrize(("end", "name"), [(Executor.terminate_workers, "SIGTERM"), (Executor.kill_workers, "SIGKILL")])
def test_everything_can_be_ended_at_once(
    env: Environment, tmp_path: Path, end: Callable[[Executor], None], name: str
) -> None:
    executor = Executor(env, max_workers=2)
    block = childwork.ignore_sigterm if name == "SIGKILL" else childwork.announce_and_block
    running = [executor.submit(block, str(tmp_path / f"ready{number}")) for number in range(2)]
    waiting = executor.submit(abs, -1)
    assert wait_until(lambda: all((tmp_path / f"ready{number}").exists() for number in range(2)))
    end(executor)
    errors = [task.exception() for task in running]
    assert [isinstance(error, TaskExited) and error.signal for error in errors] == [name] * 2
    assert waiting.cancelled()
    executor.shutdown()


def test_a_process_that_has_returned_and_does_not_end_is_ended_too(env: Environment, tmp_path: Path) -> None:
    def stay() -> str:
        import atexit

        atexit.register(childwork.block)
        return "returned"

    executor = Executor(env, max_workers=1)
    assert executor.submit(stay).result() == "returned"
    executor.terminate_workers()
    executor.shutdown()
    assert env.processes == ()


def test_a_result_is_not_kept_until_its_process_has_ended(env: Environment, tmp_path: Path) -> None:
    go = tmp_path / "go"
    with Executor(env, max_workers=1) as executor:
        result = executor.submit(taskwork.return_before_the_end, str(go)).result()
        known = weakref.ref(result)
        del result
        assert wait_until(lambda: known() is None)
        go.touch()


# -- dropped -------------------------------------------------------------------------------------


def test_an_executor_that_is_dropped_does_what_it_was_given_and_ends(env: Environment, tmp_path: Path) -> None:
    executor = Executor(env, max_workers=1)
    tasks = [executor.submit(childwork.wait_for, str(tmp_path / "go"), number) for number in range(3)]
    del executor
    gc.collect()
    assert executor_threads() and not any(task.done() for task in tasks)
    (tmp_path / "go").touch()
    assert [task.result() for task in tasks] == [0, 1, 2]
    assert wait_until(lambda: not executor_threads())


def test_an_idle_executor_that_is_dropped_ends(env: Environment) -> None:
    executor = Executor(env)
    assert executor_threads() == EXECUTOR_THREADS
    del executor
    gc.collect()
    assert wait_until(lambda: not executor_threads())


# -- its environment -----------------------------------------------------------------------------


def test_the_environment_of_a_package_is_closed_with_the_executor(project: Project) -> None:
    with Executor(project.name, max_workers=1) as executor:
        template = executor.submit(os.getppid).result()
        assert is_alive(template)
    assert not is_alive(template)
    assert wait_until(lambda: not firehot_threads())


def test_the_environment_of_a_package_is_closed_when_its_executor_is_dropped(project: Project) -> None:
    task = Executor(project.name, max_workers=1).submit(os.getppid)
    gc.collect()
    assert wait_until(lambda: not is_alive(task.result()))
    assert wait_until(lambda: not firehot_threads())


def test_a_package_that_is_not_there_is_told_at_once() -> None:
    with pytest.raises(PackageNotFoundError):
        Executor("there_is_no_such_package")
    with pytest.raises(TypeError, match="or the name of a package, not 4"):
        Executor(4)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        Executor("there_is_no_such_package", max_workers=0)


def test_an_environment_that_was_given_stays_open(env: Environment) -> None:
    with Executor(env, max_workers=1) as executor:
        template = executor.submit(os.getppid).result()
    assert env.run(os.getppid) == template


def test_an_environment_that_is_closed_fails_the_tasks(project: Project, tmp_path: Path) -> None:
    with project.open() as environment:
        executor = Executor(environment, max_workers=1)
        running = executor.submit(childwork.announce_and_block, str(tmp_path / "ready"))
        assert wait_until((tmp_path / "ready").exists)
        waiting = executor.submit(abs, -1)
    assert isinstance(running.exception(), TaskExited)
    assert isinstance(waiting.exception(), EnvironmentClosedError)
    assert isinstance(executor.submit(abs, -1).exception(), EnvironmentClosedError)
    executor.shutdown()


def test_a_template_that_an_executor_has_replaced_outlives_it(project: Project) -> None:
    project.dependency("vendored.py", "VALUE = 1\n")
    project.write("app.py", "import vendored\n")
    with project.open() as environment:
        before = environment.run(os.getppid)
        with Executor(environment, max_workers=1) as executor:
            project.dependency("vendored.py", "VALUE = 22\n")
            replaced = executor.submit(os.getppid).result()
        assert replaced != before
        # The thread that has started it is gone.
        assert environment.run(os.getppid) == replaced


def test_a_template_that_dies_fails_its_own_tasks(env: Environment, tmp_path: Path) -> None:
    with Executor(env, max_workers=1) as executor:
        template = executor.submit(os.getppid).result()
        running = executor.submit(childwork.announce_and_block, str(tmp_path / "ready"))
        assert wait_until((tmp_path / "ready").exists)
        os.kill(template, 9)
        assert isinstance(running.exception(), TaskExited)
        assert executor.submit(os.getppid).result() != template


# -- the interpreter -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["executor", "executor.shutdown(wait=False)", "del executor"])
def test_the_end_of_the_interpreter_waits_for_pending_tasks(scripts: Scripts, script_package: str, how: str) -> None:
    finished = scripts.run(
        f"""
        import os, time
        from firehot import Executor

        def work(number):
            time.sleep(0.2)
            os.write(1, b"done\\n")

        executor = Executor("{script_package}", max_workers=2)
        for number in range(4):
            executor.submit(work, number)
        {how}
        """
    )
    assert finished.ok().count("done") == 4
    assert finished.stderr == ""


def test_no_task_is_taken_at_the_end_of_the_interpreter(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        f"""
        import atexit
        from firehot import Executor

        def late():
            for call in (lambda: executor.submit(abs, -1), lambda: Executor("{script_package}").submit(abs, -1)):
                try:
                    call()
                except RuntimeError as error:
                    print(error)

        atexit.register(late)
        executor = Executor("{script_package}", max_workers=1)
        print(executor.submit(abs, -1).result())
        """
    )
    first, *late = finished.ok().splitlines()
    assert first == "1" and len(late) == 2
    assert late[0] == "cannot schedule new futures after interpreter shutdown"


def test_ctrl_c_ends_the_host_and_its_tasks(scripts: Scripts, script_package: str) -> None:
    code = f"""
        import os, time
        from firehot import Executor

        def work():
            os.write(1, b"running\\n")
            time.sleep(60)

        with Executor("{script_package}", max_workers=1) as executor:
            future = executor.submit(work)
            try:
                future.result()
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        """
    with scripts.start(code) as process:
        assert read_line(process).endswith("running")
        interrupt(process, group=True)
        assert read_line(process) == "interrupted"
        assert process.wait(30) == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Since 3.12 Python warns of a fork with threads.
def test_a_forked_copy_of_the_host_is_told_so(env: Environment) -> None:
    executor = Executor(env, max_workers=1)
    task = executor.submit(abs, -1)
    assert task.result() == 1
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            executor.shutdown()
            executor.submit(abs, -1)
        except FirehotError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        assert said.read().decode().startswith(f"this executor belongs to process {os.getpid()}")
    os.waitpid(pid, 0)
    assert executor.submit(abs, -1).result() == 1
    executor.shutdown()


def test_a_forked_copy_of_the_host_ends(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        f"""
        import os, warnings
        from firehot import Executor
        warnings.simplefilter("ignore", DeprecationWarning)

        executor = Executor("{script_package}", max_workers=1)
        print(executor.submit(abs, -1).result(), flush=True)
        if os.fork() == 0:
            raise SystemExit(0)
        print(os.wait()[1], executor.submit(abs, -2).result())
        """
    )
    assert finished.ok() == "1\n0 2\n"


def test_many_threads_may_submit(env: Environment) -> None:
    results: list[int] = []

    def submit(executor: Executor) -> None:
        for number in range(3):
            results.append(executor.submit(childwork.double, number).result())

    with Executor(env, max_workers=2) as executor:
        threads = [threading.Thread(target=submit, args=(executor,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == sorted([0, 2, 4] * 4)
