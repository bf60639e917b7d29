"""CPython's own tests of `ProcessPoolExecutor`, run against `Executor`: `python cpythonwork.py TestWait`.

They are those of the interpreter that runs this. What does not apply is listed below, each with the reason.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import tempfile
import unittest
from collections.abc import Callable
from contextlib import suppress
from pickle import UnpicklingError
from typing import Any

from firehot import Environment, Executor, ResultNotLoadable, TaskExited, isolate_imports

_TESTS: Any = importlib.import_module("test.test_concurrent_futures")
_SUPPORT: Any = importlib.import_module("test.support")


def part(module: str) -> Any:
    """A module of the tests; before 3.12 they were one file."""
    if not hasattr(_TESTS, "__path__"):
        return _TESTS
    return importlib.import_module(f"{_TESTS.__name__}.{module}")


_DEADLOCK = part("test_deadlock")
_SHUTDOWN = part("test_shutdown")

_INTERNALS = "looks at the processes, queues or threads inside a ProcessPoolExecutor"
_ITSELF = "makes a ProcessPoolExecutor by name, in a script of its own"
_REUSED = "processes are used for one task each, and never again"
_DOES_NOT_APPLY = {
    "test_killed_child": _INTERNALS + "; and one process that dies breaks no other task",
    "test_saturation": _INTERNALS,
    "test_processes_terminate": _INTERNALS,
    "test_context_manager_shutdown": _ITSELF,
    "test_del_shutdown": _ITSELF,
    "test_shutdown_no_wait": _ITSELF,
    "test_shutdown_deadlock_pickle": _INTERNALS,
    "test_gh105829_should_not_deadlock_if_wakeup_pipe_full": _INTERNALS,
    "test_python_finalization_error": _INTERNALS + ": has the second of its threads fail to start",
    "test_idle_process_reuse_one": _REUSED,
    "test_idle_process_reuse_multiple": _REUSED,
    "test_max_tasks_per_child": _REUSED,
    "test_max_tasks_per_child_defaults_to_spawn_context": _REUSED,
    "test_max_tasks_early_shutdown": _REUSED,
    "test_max_workers_too_large": "is for Windows",
    "test_ressources_gced_in_workers": "a multiprocessing manager talks to processes that multiprocessing has started",
    "test_traceback": "the cause has another type here: see test_executor.py",
    "test_interpreter_shutdown": _ITSELF + ": see test_executor_ends.py",
    "test_submit_after_interpreter_shutdown": _ITSELF + ": see test_executor_ends.py",
    "test_hang_gh83386": _ITSELF + ": see test_executor_ends.py",
    # From 3.14 on, and in later releases of the versions before.
    "test_broken_process_pool_traceback": _INTERNALS,
    "test_traceback_when_child_process_terminates_abruptly": "the cause has another type here: see test_executor.py",
    "test_max_tasks_per_child_pending_tasks_gh115634": _REUSED,
    "test_shutdown_no_wait_max_tasks_gh119592": _REUSED,
    "test_gc_during_max_tasks_worker_exit_gh152967": _REUSED,
    "test_force_shutdown_during_max_tasks_worker_exit": _REUSED,
    "test_failed_worker_replacement_breaks_pool": _REUSED,
    "test_shutdown_gh_132969_case_1": _ITSELF,
    "test_shutdown_gh_132969_case_2": _ITSELF,
    "test_force_shutdown_workers_not_started_yet": _INTERNALS,
    "test_terminate_workers": _INTERNALS,
    "test_kill_workers": _INTERNALS,
    "test_force_shutdown_workers_dead_process": _INTERNALS,
    "test_force_shutdown_workers": _INTERNALS,
    "test_force_shutdown_workers_invalid_op": _INTERNALS,
    "test_force_shutdown_workers_stops_pool": _INTERNALS,
    "test_process_pool_executor_terminate_workers": _INTERNALS,
    "test_process_pool_executor_kill_workers": _INTERNALS,
    "test_fork_warns_when_non_main_thread_exists": _INTERNALS,
}
"""What is not run. Nor are FailingInitializerMixin (a failing initializer breaks no executor; see test_executor.py) and
FutureTests (about `concurrent.futures.Future`, which is CPython's)."""

# What the modules of the tests import; those themselves are never preloaded.
_PRELOAD = ["unittest.mock", "multiprocessing.util", "logging.handlers", "asyncio", "concurrent.futures.process"]
_OPENED: list[Environment] = []


class Adapted(Executor):
    """Takes the arguments of a ProcessPoolExecutor."""

    def __init__(self, max_workers: int | None = None, mp_context: None = None, **options: Any) -> None:
        super().__init__(_OPENED[0], max_workers, **options)


class Event:
    """In the place of a manager's: a file that its maker has locked. It is set when that is gone."""

    def __init__(self) -> None:
        descriptor, self._path = tempfile.mkstemp()
        self._locked: int | None = descriptor
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_locked": None}

    def wait(self) -> bool:
        with suppress(FileNotFoundError), open(self._path) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
        return True

    def set(self) -> None:
        if self._locked is not None:
            os.unlink(self._path)
            os.close(self._locked)
            self._locked = None


class Adaptation(part("util").ExecutorMixin):  # type: ignore[misc]
    """In the place of `ProcessPoolForkMixin` and its kind."""

    executor_type = Adapted

    def get_context(self) -> None:
        return None

    def create_event(self) -> Event:
        return Event()


def applying(made: type[unittest.TestCase]) -> type[unittest.TestCase]:
    """Takes out what does not apply."""
    for name in _DOES_NOT_APPLY:
        if hasattr(made, name):
            setattr(made, name, None)
    return made


@applying
class TestProcessPool(part("test_process_pool").ProcessPoolExecutorTest, Adaptation, unittest.TestCase):  # type: ignore[misc]
    pass


@applying
class TestShutdown(_SHUTDOWN.ProcessPoolShutdownTest, Adaptation, unittest.TestCase):  # type: ignore[misc]
    pass


@applying
class TestWait(part("test_wait").WaitTests, Adaptation, unittest.TestCase):  # type: ignore[misc]
    pass


@applying
class TestAsCompleted(part("test_as_completed").AsCompletedTests, Adaptation, unittest.TestCase):  # type: ignore[misc]
    pass


@applying
class TestInitializer(part("test_init").InitializerMixin, Adaptation, unittest.TestCase):  # type: ignore[misc]
    pass


@applying
class TestDeadlock(_DEADLOCK.ExecutorDeadlockTest, Adaptation, unittest.TestCase):  # type: ignore[misc]
    """Where a ProcessPoolExecutor breaks, or lets a task end its host, a task fails with what happened to it."""

    def _check(self, *arguments: Any, **options: Any) -> None:
        # Its older name is the second.
        check: Callable[..., None] = getattr(self, "_check_error", None) or self._check_crash
        check(*arguments, **options)

    def test_error_at_task_unpickle(self) -> None:
        self._check(UnpicklingError, id, _DEADLOCK.ErrorAtUnpickle())

    def test_exit_during_func_exec_on_worker(self) -> None:
        self._check(TaskExited, _DEADLOCK._exit)

    def test_exit_during_result_pickle_on_worker(self) -> None:
        self._check(TaskExited, _DEADLOCK._return_instance, _DEADLOCK.ExitAtPickle)

    def test_error_during_result_unpickle_in_result_handler(self) -> None:
        self.addCleanup(setattr, _SUPPORT.sys, "stderr", _SUPPORT.sys.stderr)
        self._check(ResultNotLoadable, _DEADLOCK._return_instance, _DEADLOCK.ErrorAtUnpickle, ignore_stderr=True)

    def test_exit_during_result_unpickle_in_result_handler(self) -> None:
        self._check(ResultNotLoadable, _DEADLOCK._return_instance, _DEADLOCK.ExitAtUnpickle)


if __name__ == "__main__":
    with isolate_imports("json", learn=False, preload=_PRELOAD) as opened:
        _OPENED.append(opened)
        unittest.main(verbosity=2)
