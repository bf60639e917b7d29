"""`Executor`: a `concurrent.futures.Executor` each of whose tasks runs in a fresh fork of an environment's template."""

from __future__ import annotations

import os
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures
from concurrent.futures import Future
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from firehot import _call
from firehot._pool import Plan, Pool, Task, TaskExited
from firehot.context import isolate_imports
from firehot.environment import Environment

__all__ = ["Executor", "TaskExited"]

T = TypeVar("T")


class Executor(futures.Executor):
    """Runs each task in a process of its own, forked from a template that has the project's imports done.

    It is used as a `ProcessPoolExecutor`, with these differences. No process is used twice: a task finds nothing of
    the last one, and sees the code that is on disk when it begins. A process that dies takes its own task with it, and
    no other. A task can have a time limit, and can be stopped while it runs.

    Arguments are pickled when a task begins, and functions travel as with `Environment.exec`: lambdas and closures do,
    too. A slot is free again when the process of its task has ended, exit functions included.

    An executor that is dropped without `shutdown` does what it was given, and ends. So it does when the interpreter
    ends. Safe to use from several threads; not in a forked copy of its process.
    """

    def __init__(
        self,
        environment: Environment | str,
        max_workers: int | None = None,
        *,
        timeout: float | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
    ) -> None:
        """Starts no process yet; for a package it opens the environment.

        Args:
            environment: An open environment, which stays open; or the name of a package, whose environment is closed
                with the executor: `isolate_imports` has the options.
            max_workers: How many processes there are at a time at most; as many as there are processors to use by
                default.
            timeout: Seconds that each task may run; then its process is stopped, and its future raises the built-in
                `TimeoutError`.
            initializer: Called in each process before the task, hence once for each task; what it raises is what the
                task raises.
            initargs: Its arguments.

        Raises:
            ValueError: `max_workers` is not positive.
            TypeError: `initializer` can't be called, or `environment` is neither.
            PackageNotFoundError: There is no such package.
            TemplateError: The template can't be started.

        Example:
            >>> from firehot import Executor
            >>> with Executor("json", max_workers=2) as executor:
            ...     future = executor.submit(pow, 2, 10)
            ...     future.result(), list(executor.map(abs, [-1, -2]))
            (1024, [1, 2])
        """
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        # By this name dask and joblib ask every executor for it.
        self._max_workers = max_workers or _processors()
        opened, close = (environment, _nothing) if isinstance(environment, Environment) else _open(environment)
        try:
            self._pool = Pool(Plan(opened, self._max_workers, timeout, initializer, tuple(initargs), close))
        except BaseException:
            close()
            raise
        # Whatever drops the executor last, it can't wait or take a lock: messages need neither.
        weakref.finalize(self, self._pool.abandon).atexit = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Runs `fn(*args, **kwargs)` in a process of its own when one of `max_workers` is free.

        The future raises what `fn` raises, with the child's traceback as the cause; or:

        - `TaskExited` when the process ends before `fn` returns (`sys.exit`, too);
        - `CallNotPicklable`, also a `PicklingError`, when `fn` or an argument can't be sent;
        - `ResultNotPicklable`, also a `PicklingError`, or `ResultNotLoadable` when the result can't come back;
        - the built-in `TimeoutError` when it runs longer than the `timeout` of the executor;
        - what `Environment.exec` raises when there is no process to be had.

        `Future.cancel` cancels what has not begun; `stop` what has.

        Raises:
            RuntimeError: The executor was shut down.
            FirehotError: This is a forked copy of the process that made the executor.
        """
        future: Future[T] = _TaskFuture(self._pool)
        self._pool.submit(Task(future, (fn, args, kwargs)))
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """The results of `fn` for the items of the iterables, in their order, as the built-in `map`.

        Args:
            fn: The function.
            *iterables: As many as `fn` takes arguments.
            timeout: Seconds from this call after which the next result raises `concurrent.futures.TimeoutError`.
            chunksize: How many items go into one process, one after the other. The `timeout` of the executor is for
                all of them.
            buffersize: How many tasks are submitted ahead of the results that were taken; the iterables are read on
                as results are taken. All at once by default.

        Raises:
            ValueError: `chunksize` or `buffersize` is not positive.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        deadline = None if timeout is None else timeout + time.monotonic()
        calls: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        if chunksize == 1:
            return self._submit_all(fn, calls, buffersize, deadline)
        chunks = iter(lambda: tuple(islice(calls, chunksize)), ())
        packed = ((chunk,) for chunk in chunks)
        return _flat(self._submit_all(partial(_call.run_chunk, fn), packed, buffersize, deadline))

    def stop(self, future: Future[Any], timeout: float = 5.0) -> bool:
        """Ends a task: if it has not begun it is cancelled, else its process gets SIGTERM, then SIGKILL.

        Does not wait: the future of a task that ran raises `TaskExited` as soon as its process has ended, unless the
        task returns before.

        Args:
            future: What `submit` has returned.
            timeout: Seconds from SIGTERM to SIGKILL.

        Returns:
            Whether there was something to end: False when it is done already.

        Raises:
            ValueError: The future is not of this executor.

        Example:
            >>> import time
            >>> from firehot import Executor
            >>> with Executor("json", max_workers=1) as executor:
            ...     futures = [executor.submit(time.sleep, 60) for _ in range(2)]
            ...     executor.stop(futures[1]), executor.stop(futures[0])
            (True, True)
        """
        if not isinstance(future, _TaskFuture) or future.pool is not self._pool:
            raise ValueError("the future is not of this executor")
        if future.done():
            return False
        self._pool.check_owner()
        if not future.cancel():
            self._pool.stop(future, timeout)
        return True

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more tasks, and ends when those that it has are done. May be called again.

        In a process forked from the one that made the executor it does nothing.

        Args:
            wait: Whether to wait for that. When the interpreter ends it waits in any case.
            cancel_futures: Whether tasks that have not begun are cancelled.
        """
        if not self._pool.is_own:
            return
        self._pool.close("shutdown", cancel=cancel_futures)
        if wait:
            self._pool.join()

    def terminate_workers(self) -> None:
        """Ends the executor with all of its tasks, without waiting: SIGTERM to their processes, SIGKILL 5 s later."""
        self._end_now(5.0)

    def kill_workers(self) -> None:
        """The same without a pause between SIGTERM and SIGKILL."""
        self._end_now(0.0)

    def __repr__(self) -> str:
        """How many processes there may be."""
        return f"<firehot.Executor max_workers={self._max_workers}>"

    # -- inside -------------------------------------------------------------------------------

    def _end_now(self, grace: float) -> None:
        self.shutdown(wait=False, cancel_futures=True)
        if self._pool.is_own:
            self._pool.stop_all(grace)

    def _submit_all(
        self,
        fn: Callable[..., T],
        calls: Iterator[tuple[Any, ...]],
        ahead: int | None,
        deadline: float | None,
    ) -> Generator[T, None, None]:
        waiting = deque(self.submit(fn, *args) for args in islice(calls, ahead))
        # The iterator of the results does not keep the executor from being dropped.
        more = None if ahead is None else partial(_submit_next, weakref.ref(self), fn, calls)
        return _results(waiting, more, deadline)


class _TaskFuture(Future[T]):
    """Knows whose it is."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pool = pool


def _submit_next(
    executor: weakref.ref[Executor], fn: Callable[..., T], calls: Iterator[tuple[Any, ...]]
) -> Future[T] | None:
    if (alive := executor()) is not None:
        for args in calls:
            return alive.submit(fn, *args)
    return None


def _results(
    waiting: deque[Future[T]], more: Callable[[], Future[T] | None] | None, deadline: float | None
) -> Generator[T, None, None]:
    """One after the other; keeps nothing of what it has given out."""
    try:
        while waiting:
            if more is not None and (future := more()) is not None:
                waiting.append(future)
                del future
            yield _result(waiting.popleft(), None if deadline is None else deadline - time.monotonic())
    finally:
        for future in waiting:
            future.cancel()


def _result(future: Future[T], timeout: float | None) -> T:
    try:
        try:
            return future.result(timeout)
        finally:
            future.cancel()
    finally:
        # An exception holds this frame.
        del future


def _flat(chunks: Iterable[list[T]]) -> Generator[T, None, None]:
    """As `_results`."""
    for chunk in chunks:
        chunk.reverse()
        while chunk:
            yield chunk.pop()


def _open(package: object) -> tuple[Environment, Callable[[], object]]:
    if not isinstance(package, str):
        raise TypeError(f"an executor wants an environment or the name of a package, not {package!r}")
    stack = ExitStack()
    return stack.enter_context(isolate_imports(package)), stack.close


def _nothing() -> None:
    """An environment that was given is not closed."""


def _processors() -> int:
    if hasattr(os, "process_cpu_count"):  # From 3.13 on; it obeys -X cpu_count.
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
