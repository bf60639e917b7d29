"""`IsolatedProcess`: one function that runs, or ran, in a child."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast
from uuid import UUID, uuid4

from firehot import _call, _core
from firehot.errors import (
    ChildError,
    ChildExited,
    RemoteTraceback,
    ResultNotLoadable,
    ResultNotPicklable,
)

if TYPE_CHECKING:
    from firehot.environment import Environment

__all__ = ["IsolatedProcess"]

T = TypeVar("T")


class IsolatedProcess(Generic[T]):
    """A child of an environment, from `Environment.exec`.

    Safe to use from several threads; it can be awaited from asyncio.

    Attributes:
        process_uuid: Different for each process.
        process_name: The name given to `exec`, or a random one such as `"quiet-otter"`.

    Example:
        >>> from firehot import isolate_imports
        >>> with isolate_imports("json") as env:
        ...     process = env.exec(pow, 2, 10)
        ...     process.result(), process.wait()
        (1024, 0)
    """

    def __init__(self, environment: Environment, name: str, ticket: _core.Ticket) -> None:
        """Made by `Environment.exec`."""
        self.process_uuid: UUID = uuid4()
        self.process_name: str = name
        self._environment = environment
        self._ticket = ticket
        self._lock = threading.Lock()
        self._settled = False
        self._value: T | None = None
        self._error: BaseException | None = None

    @property
    def pid(self) -> int | None:
        """Its process id; it may belong to another process when this one has ended."""
        return self._ticket.pid

    @property
    def exitcode(self) -> int | None:
        """Exit code, or the negative number of the signal that ended it; `None` while it runs.

        A process that has returned a result still runs its exit functions: use `wait`.
        """
        end = self._ticket.end()
        return None if end is None else end[0]

    @property
    def output(self) -> str:
        r"""What it has written to stdout and stderr so far; empty unless it runs with `output="capture"`.

        Bytes that are not UTF-8 are shown as `\\xNN`.
        """
        return self._ticket.captured().decode("utf-8", "backslashreplace")

    def is_running(self) -> bool:
        """Whether its process has not ended."""
        return self._ticket.end() is None

    def result(self, timeout: float | None = None) -> T:
        """What the function returned, waiting for it.

        Args:
            timeout: Seconds to wait at most; the process goes on when they are over.

        Raises:
            ChildError: The function raised; `__cause__` is what it raised.
            ChildExited: The process ended before the function returned.
            ResultNotPicklable: The function returned something that can't be sent.
            ResultNotLoadable: The result can't be rebuilt here.
            TimeoutError: It has not returned in time, or ran longer than the `timeout` of its `exec`.
        """
        error = self.exception(timeout)
        if error is None:
            return cast(T, self._value)
        try:
            raise error
        finally:
            # The exception holds this frame: without this, they would keep each other alive.
            del error, self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What `result` would raise, or `None` when there is a result; waits for either.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: It has not returned in time.
        """
        if not self._ticket.wait("reply", timeout):
            raise TimeoutError(f"{self.process_name} has not returned within {timeout} s")
        with self._lock:
            if not self._settled:
                try:
                    self._value = cast(T, self._outcome())
                except (ChildError, TimeoutError) as error:
                    self._error = error.with_traceback(None)
                self._settled = True
                self._ticket.forget_body()
                self._environment._outcome_fetched(self._ticket)
        return self._error

    def wait(self, timeout: float | None = None) -> int | None:
        """Waits until its process has ended; returns the exit code.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: It has not ended in time.
        """
        if not self._ticket.wait("end", timeout):
            raise TimeoutError(f"{self.process_name} has not ended within {timeout} s")
        return self.exitcode

    def stop(self, timeout: float = 5.0) -> bool:
        """Ends its process: SIGTERM, and SIGKILL when that was not enough. Waits for the end.

        Args:
            timeout: Seconds from SIGTERM to SIGKILL.

        Returns:
            True: it has ended, now or before.
        """
        return self._environment.stop_isolated(self, timeout)

    def __await__(self) -> Generator[Any, None, T]:
        """The result, from asyncio; raises what `result` raises. Cancelling the wait leaves the process running."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not done.done():
                done.set_result(None)

        def tell() -> None:
            try:
                loop.call_soon_threadsafe(wake)
            except RuntimeError:
                return  # The loop was closed in between.

        self._call_when("reply", tell)
        yield from done.__await__()
        return self.result()

    def __repr__(self) -> str:
        """Name, pid and state."""
        code = self.exitcode
        state = "running" if self.is_running() else f"ended with {code}"
        return f"<IsolatedProcess {self.process_name!r} pid={self.pid} {state}>"

    def _call_when(self, until: Literal["reply", "end"], callback: Callable[[], None]) -> None:
        """Calls a function when there is a reply (or the end), or the end; it must not take long."""
        self._environment._call_when(self._ticket, until, callback)

    def _outcome(self) -> object:
        reply = self._ticket.reply()
        if reply is None:
            raise self._ended_early()
        kind, type_name, text, traceback, body = reply
        if kind == "raised":
            raise self._remote_error(type_name, text, traceback, body)
        if kind == "unpicklable":
            raise ResultNotPicklable(
                f"{self.process_name} returned a {_short(type_name)}, which can't be pickled: {text}"
            )
        try:
            return _call.load_result(body)
        except Exception as error:
            raise ResultNotLoadable(
                f"{self.process_name} returned a {_short(type_name)}, which can't be rebuilt here: "
                f"{type(error).__name__}: {error}; it is {_call.describe_result(body)}"
            ) from error

    def _remote_error(self, type_name: str, text: str, traceback: str, body: bytes) -> ChildError:
        message = f"{_short(type_name)}: {text}" if text else _short(type_name)
        error = ChildError(f"{self.process_name} raised {message}")
        remote = RemoteTraceback(traceback)
        try:
            original = _call.load_result(body) if body else None
        except Exception:
            original = None
        if isinstance(original, BaseException):
            original.__cause__ = remote
            error.__cause__ = original
        else:
            error.__cause__ = remote
        return error

    def _ended_early(self) -> Exception:
        end = self._ticket.end()
        if end is None:
            raise AssertionError("settled without a reply and without an end")
        status, cause, detail, stderr = end
        name = self.process_name
        if cause == "timed-out":
            return TimeoutError(f"{name} ran longer than {float(detail):g} s and was stopped")
        signal = _core.signal_name(-status) if status is not None and status < 0 else None
        if cause == "template-died":
            how = f"was lost: the template {detail}"
        elif signal is not None:
            how = f"was killed by {signal}"
        elif status is None:
            how = "ended"
        else:
            how = f"exited with code {status}"
        if cause == "closed":
            how += " when its environment was closed"
        tail = f"; its last lines on stderr:\n{stderr}" if stderr else ""
        return ChildExited(f"{name} {how} before it returned{tail}", status, signal, stderr)


def _short(type_name: str) -> str:
    return type_name.removeprefix("builtins.")
