"""`Executor` runs tasks as `concurrent.futures` promises, each in a fresh process with today's code."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import childwork
import pytest
import taskwork
from support import DEADLINE, Project, wait_until

from firehot import (
    CallNotPicklable,
    ChildError,
    ChildExited,
    Executor,
    ResultNotLoadable,
    ResultNotPicklable,
    TaskExited,
)
from firehot.environment import Environment


@pytest.fixture
def executor(env: Environment) -> Iterator[Executor]:
    with Executor(env, max_workers=2) as made:
        yield made


# -- results -------------------------------------------------------------------------------------


def test_a_task_returns_its_result(executor: Executor) -> None:
    assert executor.submit(pow, 2, 8).result(DEADLINE) == 256
    assert executor.submit(dict, fn=1, self=2).result(DEADLINE) == {"fn": 1, "self": 2}
    assert executor.submit(lambda: childwork.double(4)).result(DEADLINE) == 8


def test_each_task_has_a_process_of_its_own(executor: Executor) -> None:
    assert len({*executor.map(taskwork.own_pid, range(4)), os.getpid()}) == 5
    assert set(executor.map(taskwork.keep_and_count, range(4))) == {1}


def test_a_task_sees_the_code_of_the_moment_it_begins(executor: Executor, project: Project) -> None:
    project.write("model.py", "def answer():\n    return 'old'\n")
    answer = __import__(f"{project.name}.model", fromlist=["answer"]).answer
    assert executor.submit(answer).result() == "old"
    project.write("model.py", "def answer():\n    return 'new'\n")
    assert executor.submit(answer).result() == "new"


def test_no_more_tasks_run_at_a_time_than_there_are_workers(executor: Executor, tmp_path: Path) -> None:
    def work(number: int) -> None:
        (tmp_path / f"begun{number}").touch()
        childwork.wait_for(str(tmp_path / "go"))

    tasks = [executor.submit(work, number) for number in range(3)]
    assert wait_until(lambda: (tmp_path / "begun0").exists() and (tmp_path / "begun1").exists())
    assert not tasks[2].running()
    (tmp_path / "go").touch()
    assert [task.result() for task in tasks] == [None] * 3


def test_a_worker_is_free_when_its_process_has_ended(env: Environment, tmp_path: Path) -> None:
    def leave_slowly() -> None:
        import atexit

        atexit.register(childwork.wait_for, str(tmp_path / "go"))

    with Executor(env, max_workers=1) as executor:
        executor.submit(leave_slowly).result()
        after = executor.submit(os.getpid)
        assert not wait_until(after.running, 0.2)
        (tmp_path / "go").touch()
        assert after.result()


def test_as_many_tasks_run_at_a_time_as_there_are_processors(env: Environment) -> None:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with Executor(env) as executor:
        assert repr(executor) == f"<firehot.Executor max_workers={count}>"


def test_arguments_and_results_are_let_go(executor: Executor, tmp_path: Path) -> None:
    for made in executor.map(taskwork.Plain, range(5)):
        alive = weakref.ref(made)
        del made
        assert wait_until(lambda alive=alive: alive() is None)
    argument = taskwork.Plain(1)
    alive = weakref.ref(argument)
    running = executor.submit(childwork.wait_for, str(tmp_path / "go"), argument)
    del argument
    assert wait_until(lambda: alive() is None) and not running.done()
    (tmp_path / "go").touch()
    running.result()


# -- failures ------------------------------------------------------------------------------------


def test_a_task_raises_the_exception_itself_with_the_traceback_of_the_child(executor: Executor) -> None:
    error = executor.submit(childwork.raise_it, KeyError("missing")).exception()
    assert type(error) is KeyError and error.args == ("missing",)
    text = "".join(traceback.format_exception(error))
    assert "in raise_it" in text and "direct cause" in text


def test_an_exception_that_can_not_be_sent_arrives_as_text(executor: Executor) -> None:
    def fail() -> None:
        error = ValueError("only text")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    error = executor.submit(fail).exception()
    assert type(error) is ChildError and "ValueError: only text" in str(error)


@pytest.mark.parametrize(
    ("call", "exitcode", "name"),
    [
        ((os._exit, 3), 3, None),
        ((sys.exit, 4), 4, None),
        ((childwork.kill_self, int(signal.SIGKILL)), -signal.SIGKILL, "SIGKILL"),
        ((childwork.kill_self, int(signal.SIGSEGV)), -signal.SIGSEGV, "SIGSEGV"),
    ],
)
def test_a_process_that_dies_fails_its_own_task_only(
    executor: Executor, tmp_path: Path, call: tuple[Any, ...], exitcode: int, name: str | None
) -> None:
    beside = executor.submit(childwork.wait_for, str(tmp_path / "go"), "beside")
    error = executor.submit(*call).exception()
    assert isinstance(error, TaskExited) and (error.exitcode, error.signal) == (exitcode, name)
    assert isinstance(error, ChildExited) and isinstance(error, BrokenProcessPool)
    (tmp_path / "go").touch()
    assert beside.result() == "beside"
    assert executor.submit(abs, -1).result() == 1


def test_arguments_that_can_not_be_sent_fail_their_task_only(executor: Executor) -> None:
    error = executor.submit(abs, threading.Lock()).exception()
    assert isinstance(error, CallNotPicklable) and isinstance(error, pickle.PicklingError)
    assert executor.submit(abs, -1).result() == 1


def test_a_result_that_can_not_be_sent_fails_its_task_only(executor: Executor) -> None:
    error = executor.submit(threading.Lock).exception()
    assert isinstance(error, ResultNotPicklable) and isinstance(error, pickle.PicklingError)
    assert executor.submit(abs, -1).result() == 1


@pytest.mark.parametrize("kind", [childwork.RebuildFails, taskwork.RebuildExits])
def test_a_result_that_can_not_be_rebuilt_fails_its_task_only(executor: Executor, kind: type[object]) -> None:
    error = executor.submit(kind).exception()
    assert isinstance(error, ResultNotLoadable) and error.__cause__ is not None
    assert executor.submit(abs, -1).result() == 1


def test_a_task_has_a_time_limit(env: Environment) -> None:
    with Executor(env, max_workers=2, timeout=0.5) as executor:
        slow, quick = executor.submit(childwork.block), executor.submit(abs, -1)
        assert quick.result() == 1
        error = slow.exception()
        assert type(error) is TimeoutError and "ran longer than 0.5 s" in str(error)


def test_the_callback_of_a_future_may_do_anything(executor: Executor) -> None:
    told: list[object] = []

    def fail(future: futures.Future[int]) -> None:
        told.append(executor.submit(abs, -2))
        executor.shutdown()
        raise KeyboardInterrupt("from a callback")

    first = executor.submit(time.sleep, 0)
    first.add_done_callback(fail)
    assert wait_until(lambda: told)
    [second] = told
    assert isinstance(second, futures.Future) and second.result(DEADLINE) == 2
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, -3)


# -- initializers --------------------------------------------------------------------------------


def test_the_initializer_runs_in_each_process_before_the_task(env: Environment) -> None:
    with Executor(env, max_workers=1, initializer=taskwork.keep_and_count, initargs=("made",)) as executor:
        assert [executor.submit(taskwork.kept).result() for _ in range(2)] == [["made"]] * 2
        assert list(executor.map(lambda _: taskwork.kept(), range(3), chunksize=3)) == [["made"]] * 3
    assert taskwork.KEPT == []


def test_what_the_initializer_raises_is_what_the_task_raises(env: Environment) -> None:
    with Executor(env, initializer=childwork.raise_it, initargs=(LookupError("at first"),)) as executor:
        assert isinstance(executor.submit(abs, -1).exception(), LookupError)
    with pytest.raises(TypeError, match="initializer must be a callable"):
        Executor(env, initializer="no")  # type: ignore[arg-type]


# -- cancelling ----------------------------------------------------------------------------------


def test_a_task_that_waits_can_be_cancelled(env: Environment, tmp_path: Path) -> None:
    with Executor(env, max_workers=1) as executor:
        first = executor.submit(childwork.wait_for, str(tmp_path / "go"))
        assert wait_until(first.running)
        second, third = executor.submit((tmp_path / "second").touch), executor.submit(abs, -3)
        assert second.cancel() and not first.cancel()
        assert executor.stop(third)
        (tmp_path / "go").touch()
        assert set(futures.as_completed([first, second, third], DEADLINE)) == {first, second, third}
        with pytest.raises(CancelledError):
            third.result()
    assert not (tmp_path / "second").exists()


def test_a_task_that_runs_can_be_stopped(executor: Executor, tmp_path: Path) -> None:
    future = executor.submit(childwork.announce_and_block, str(tmp_path / "ready"))
    assert wait_until((tmp_path / "ready").exists)
    assert executor.stop(future)
    error = future.exception()
    assert isinstance(error, TaskExited) and error.signal == "SIGTERM"
    assert not executor.stop(future), "it is done"


def test_a_task_that_ignores_sigterm_is_killed(executor: Executor, tmp_path: Path) -> None:
    future = executor.submit(childwork.ignore_sigterm, str(tmp_path / "ready"))
    assert wait_until((tmp_path / "ready").exists)
    assert executor.stop(future, timeout=0.1)
    error = future.exception()
    assert isinstance(error, TaskExited) and error.signal == "SIGKILL"


def test_a_task_can_be_stopped_before_it_has_a_process(executor: Executor) -> None:
    for _ in range(10):
        future = executor.submit(childwork.block)
        assert wait_until(future.running)
        assert executor.stop(future)
        assert isinstance(future.exception(), TaskExited)


def test_only_tasks_of_the_executor_can_be_stopped(executor: Executor, env: Environment) -> None:
    with Executor(env) as other, pytest.raises(ValueError, match="not of this executor"):
        executor.stop(other.submit(abs, -1))
    with pytest.raises(ValueError, match="not of this executor"):
        executor.stop(futures.Future())
