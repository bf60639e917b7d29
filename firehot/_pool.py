"""The inside of an `Executor`: its tasks, from the queue to the end of their processes, and its two threads.

The manager's thread owns all state and is spoken to by messages, so that whoever is interrupted, collected or forked
holds no lock of it. It settles futures, hence runs their callbacks. The launcher's thread calls `exec`, which may take
seconds when a template has to be built: results are not held up by that.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from _queue import SimpleQueue
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pickle import PicklingError
from typing import Any

from firehot import _background, _call, _core
from firehot.environment import Environment
from firehot.errors import (
    CallNotPicklable,
    ChildError,
    ChildExited,
    FirehotError,
    RemoteTraceback,
    ResultNotLoadable,
    ResultNotPicklable,
)
from firehot.process import IsolatedProcess

_LOGGER = logging.getLogger("concurrent.futures")


class TaskExited(ChildExited, BrokenProcessPool):
    """The process of a task ended before the task returned: exit, signal, crash.

    It is a `BrokenProcessPool` for those who look out for that. No executor is broken by it: other tasks have processes
    of their own.

    Example:
        >>> import os
        >>> from firehot import Executor, TaskExited
        >>> with Executor("json") as executor:
        ...     print(executor.submit(os._exit, 3).exception().exitcode)
        3
    """


class TaskNotPicklable(CallNotPicklable, PicklingError):
    """A `CallNotPicklable` for those who look out for pickle's own error, as a `ProcessPoolExecutor` raises it."""


class TaskResultNotPicklable(ResultNotPicklable, PicklingError):
    """The same for a result."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the tasks of an executor are run."""

    environment: Environment
    limit: int
    timeout: float | None
    initializer: Callable[..., object] | None
    initargs: tuple[Any, ...]
    close: Callable[[], object]
    """Called after the last process."""

    def start(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> IsolatedProcess[Any]:
        """Forks."""
        if self.initializer is not None:
            args, kwargs, fn = (self.initializer, self.initargs, fn, args, kwargs), {}, _call.run_after
        return self.environment.exec(fn, *args, kwargs=kwargs, timeout=self.timeout)


@dataclass(slots=True, eq=False)
class Task:
    """One call, and how far it has come."""

    future: Future[Any] | None
    """Until it has its outcome, and holds the result."""
    call: tuple[Callable[..., Any], tuple[Any, ...], Mapping[str, Any]] | None
    process: IsolatedProcess[Any] | None = field(default=None, init=False)
    """Until it has its outcome: it holds the result."""
    ticket: _core.Ticket | None = field(default=None, init=False)
    """Until its process has ended."""
    grace: float | None = field(default=None, init=False)
    """Seconds from SIGTERM to SIGKILL, when it shall be stopped."""
    known: weakref.ref[Future[Any]] = field(init=False)
    """The future, for those who ask for its process after its outcome."""

    def __post_init__(self) -> None:
        assert self.future is not None
        self.known = weakref.ref(self.future)

    def take_future(self) -> Future[Any]:
        """The future, to be settled: from then on it belongs to who waits for it."""
        future, self.future = self.future, None
        assert future is not None
        return future


class Pool:
    """What the threads hold; not the executor, which may be dropped while they work."""

    def __init__(self, plan: Plan) -> None:
        """Starts both threads."""
        self._plan = plan
        self._owner = os.getpid()
        self._refusal: str | None = None
        # A signal handler may submit while its own thread does.
        self._lock = threading.RLock()
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._launches: SimpleQueue[Task | None] = SimpleQueue()
        self._waiting: deque[Task] = deque()
        self._running: set[Task] = set()
        self._closing = False
        launcher = _background.start(self._launch, (), name="firehot-launcher")
        try:
            self._manager = _background.start(self._manage, (launcher,), name="firehot-executor")
        except BaseException:
            self._launches.put(None)
            raise
        _EXIT.pools.add(self)
        # In this order: either this sees that the end has begun, or the end sees this pool.
        if _EXIT.begun:
            self.close("interpreter shutdown")

    # -- from any thread ----------------------------------------------------------------------

    def submit(self, task: Task) -> None:
        """Takes a task.

        Raises:
            RuntimeError: It takes none any more.
        """
        self.check_owner()
        with self._lock:
            if self._refusal is not None:
                raise RuntimeError(f"cannot schedule new futures after {self._refusal}")
            self._inbox.put(partial(self._add, task))

    def close(self, after: str, *, cancel: bool = False) -> None:
        """Takes no more tasks; those that it has are done first, or cancelled if they have not begun."""
        with self._lock:
            self._refusal = self._refusal or after
            self.abandon(cancel=cancel)

    def abandon(self, *, cancel: bool = False) -> None:
        """The same when nobody can submit. Takes no lock: it may be called where an object is collected."""
        self._inbox.put(partial(self._close, cancel))

    def stop(self, future: Future[Any], grace: float) -> None:
        """Ends the process of a running task."""
        self._inbox.put(partial(self._stop, future, grace))

    def stop_all(self, grace: float) -> None:
        """Ends the processes of all tasks that run."""
        self._inbox.put(partial(self._stop_all, grace))

    def join(self) -> None:
        """Waits until all is done; not in a callback of a future, which the manager's thread runs."""
        self._manager.join()

    @property
    def is_own(self) -> bool:
        """Whether this process has the threads, and is not a forked copy of the one that has."""
        return self._owner == os.getpid()

    def check_owner(self) -> None:
        """Refuses a forked copy.

        Raises:
            FirehotError: It is one.
        """
        if not self.is_own:
            raise FirehotError(f"this executor belongs to process {self._owner}; make one in this process")

    # -- the launcher's thread ----------------------------------------------------------------

    def _launch(self) -> None:
        while (task := self._launches.get()) is not None:
            self._launch_one(task)
            del task  # While it waits for the next it keeps nothing of the last alive.

    def _launch_one(self, task: Task) -> None:
        try:
            assert task.call is not None
            process = self._plan.start(*task.call)
            task.call = None
            # The manager hears of the process before it hears of its outcome.
            self._inbox.put(partial(self._launched, task, process))
            process._call_when("reply", partial(self._inbox.put, partial(self._settle, task)))
            process._call_when("end", partial(self._inbox.put, partial(self._ended, task)))
        except BaseException as error:
            task.call = None
            self._inbox.put(partial(self._fail, task, error.with_traceback(None)))

    # -- the manager's thread -----------------------------------------------------------------

    def _manage(self, launcher: _background.BackgroundThread) -> None:
        while not (self._closing and not self._waiting and not self._running):
            try:
                self._inbox.get()()
            except BaseException:
                # From the callback of a future: those of the others are called all the same.
                _LOGGER.critical("exception in an executor's thread", exc_info=True)
        self._launches.put(None)
        launcher.join()
        try:
            self._plan.close()
        except Exception:
            _LOGGER.critical("an executor could not close its environment", exc_info=True)

    def _add(self, task: Task) -> None:
        self._waiting.append(task)
        self._hand_over()

    def _hand_over(self) -> None:
        while self._waiting and len(self._running) < self._plan.limit:
            task = self._waiting.popleft()
            if task.future is not None and task.future.set_running_or_notify_cancel():
                self._running.add(task)
                self._launches.put(task)

    def _launched(self, task: Task, process: IsolatedProcess[Any]) -> None:
        task.process, task.ticket = process, process._ticket
        if task.grace is not None:
            self._stop_task(task, task.grace)

    def _settle(self, task: Task) -> None:
        assert task.process is not None
        process, task.process = task.process, None
        try:
            error = process.exception()
        except BaseException as raised:
            # What unpickling raises that is no Exception: nobody but this future has to end with it.
            error = ResultNotLoadable(f"{process.process_name} returned what can't be rebuilt here: {raised!r}")
            error.__cause__ = raised
        if error is None:
            # Not in a name: who waits for it may be the first to run, and finds that nobody else holds it.
            result = [process.result()]
            del process
            task.take_future().set_result(result.pop())
        else:
            task.take_future().set_exception(_of_task(error))

    def _ended(self, task: Task) -> None:
        self._running.remove(task)
        self._hand_over()

    def _fail(self, task: Task, error: BaseException) -> None:
        self._running.remove(task)
        self._hand_over()
        task.take_future().set_exception(_of_task(error))

    def _stop(self, future: Future[Any], grace: float) -> None:
        for task in self._running:
            if task.known() is future:
                self._stop_task(task, grace)

    def _stop_all(self, grace: float) -> None:
        for task in self._running:
            self._stop_task(task, grace)

    def _stop_task(self, task: Task, grace: float) -> None:
        task.grace = grace
        if task.ticket is not None:
            self._plan.environment._begin_to_stop(task.ticket, grace)

    def _close(self, cancel: bool) -> None:
        self._closing = True
        while cancel and self._waiting:
            future = self._waiting.popleft().take_future()
            if future.cancel():
                # So that `wait` and `as_completed` see it.
                future.set_running_or_notify_cancel()


def _of_task(error: BaseException) -> BaseException:
    """What the future of a task raises: what the function raised, with the child's traceback as its cause."""
    if type(error) is ChildError:
        cause = error.__cause__
        return error if cause is None or isinstance(cause, RemoteTraceback) else cause
    if type(error) is ChildExited:
        return TaskExited(str(error), error.exitcode, error.signal, error.stderr)
    for kind, made in ((CallNotPicklable, TaskNotPicklable), (ResultNotPicklable, TaskResultNotPicklable)):
        if type(error) is kind:
            told = made(str(error))
            told.__cause__ = error.__cause__
            return told
    return error


class _Exit:
    """The end of the interpreter: pending tasks are done first, as those of a `ProcessPoolExecutor`."""

    def __init__(self) -> None:
        self.begun = False
        self.pools: weakref.WeakSet[Pool] = weakref.WeakSet()
        # Before exit functions, which close environments, and while threads can be waited for.
        threading._register_atexit(self.finish)  # type: ignore[attr-defined]

    def finish(self) -> None:
        """Waits for the pools of this process."""
        self.begun = True
        pools = [pool for pool in self._known() if pool.is_own]
        for pool in pools:
            pool.close("interpreter shutdown")
        for pool in pools:
            pool.join()

    def _known(self) -> list[Pool]:
        # A thread may add one meanwhile. No lock: a fork of a thread that holds it could not end.
        while True:
            try:
                return list(self.pools)
            except RuntimeError:
                continue


_EXIT = _Exit()
