"""One fork that runs tests: its descriptor, its process group, its end. Seen from the parent, and from the inside."""

from __future__ import annotations

import atexit
import marshal
import os
import signal
import struct
import sys
import threading
import time
import warnings
import weakref
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from firehot import _isolate_coverage, _process, _threads
from firehot._isolate_events import Event
from firehot._isolate_output import Output

_HEAD = struct.Struct("<I")
_CHUNK = 1 << 16
GRACE = 5.0
"""Seconds that a fork is given to end: after its last test, and after it was told to stop."""


class Fork:
    """A fork, in the process that made it."""

    def __init__(self, pid: int, fd: int, output: Output, has_group: bool) -> None:
        """Takes what belongs to it."""
        self.pid = pid
        self.fd = fd
        self.output = output
        self.status: int | None = None
        """What `waitpid` says, once it has been reaped."""
        self.spare: list[Event] = []
        """What listeners would have heard in the parent after the fork; the fork tells it as well."""
        self.is_over = False
        """It has said that nothing more will come."""
        self.has_group = has_group
        self._bytes = bytearray()
        self._deadline = 0.0

    def read(self) -> tuple[list[Any], bool]:
        """What has arrived, and whether that was the end of it. Blocks when there is nothing."""
        try:
            data = os.read(self.fd, _CHUNK)
        except OSError:
            data = b""
        self._bytes += data
        found = []
        while len(self._bytes) >= _HEAD.size:
            (size,) = _HEAD.unpack_from(self._bytes)
            if len(self._bytes) < _HEAD.size + size:
                break
            found.append(marshal.loads(self._bytes[_HEAD.size : _HEAD.size + size]))
            del self._bytes[: _HEAD.size + size]
        return found, not data

    def over(self) -> None:
        """It has nothing more to say: it gets some time to end."""
        self.is_over = True
        self._deadline = time.monotonic() + GRACE

    def reap(self, wait: bool = False) -> bool:
        """Whether the process has ended; with `wait` it is waited for. It takes what it has started along."""
        while self.status is None:
            if self.is_dead():
                self._signal(signal.SIGKILL)
                with suppress(ChildProcessError):
                    self.status = os.waitpid(self.pid, 0)[1]
                self.status = self.status or 0
            elif self.is_over and time.monotonic() >= self._deadline:
                self._signal(signal.SIGKILL)
                _wait_a_moment()
            elif not wait:
                return False
            else:
                _wait_a_moment()
        return True

    def is_dead(self) -> bool:
        """Without reaping it where that can be asked: as long as it is a zombie its group is nobody else's."""
        waitid: Any = getattr(os, "waitid", None)
        try:
            if waitid is not None:
                return waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # Somebody else has reaped it.
            return True
        if pid:
            self.status = status
        return bool(pid)

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        self._signal(signal.SIGINT)
        self.over()

    def kill(self) -> None:
        """At once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            if self.has_group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def close(self) -> None:
        """Its descriptors; it has been reaped."""
        os.close(self.fd)
        self.output.close()


def _wait_a_moment() -> None:
    time.sleep(0.001)


class Line:
    """The way from a fork to its parent."""

    def __init__(self, fd: int) -> None:
        """Takes the writing end."""
        self._fd = fd

    def send(self, *message: Any) -> None:
        """One message of plain values. A parent that is gone is nobody to tell."""
        data = marshal.dumps(message)
        data = _HEAD.pack(len(data)) + data
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BrokenPipeError:
                os._exit(1)


def flush(config: Any) -> None:
    """Before a fork: what is in a buffer would be written twice."""
    with suppress(Exception):
        config.get_terminal_writer().flush()
    _process.flush_streams()


class Interrupts:
    """Has Ctrl-C wait while this process forks, until both sides know what they are and the parent has left the test.

    The race: an interrupt between the fork and the parent's note of it would leave a fork that nobody ends; one between
    the fork and what makes it one would have it end its siblings as the parent does; one while the parent leaves the
    test may come between two of pytest's hooks, and the rest of them is never called. By the handler, not by the signal
    mask: another thread may take the signal, and Python runs the handler here all the same.
    """

    def __init__(self) -> None:
        """Nothing waits yet."""
        self._handler: Any = None
        self._came: int | None = None

    def hold(self) -> None:
        """From here on the first waits; a second one is not made to."""
        handler = signal.getsignal(signal.SIGINT)
        self._came = None
        # Ignored or the system's, it is not for Python; on another thread Python calls none.
        if callable(handler) and threading.current_thread() is threading.main_thread():
            self._handler = handler
            signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._came == os.getpid():
            self.release()
        self._came = os.getpid()

    def release(self) -> None:
        """What has waited comes now."""
        handler, self._handler = self._handler, None
        if handler is None:
            return
        signal.signal(signal.SIGINT, handler)
        # What came before the fork is the parent's.
        if self._came == os.getpid():
            handler(signal.SIGINT, sys._getframe())


def start(config: Any, has_group: bool) -> tuple[Fork | None, Line | None]:
    """Forks: a `Fork` in the parent, a `Line` in the fork."""
    output = Output(config)
    read, write = os.pipe()
    read, write = _process.move_up(read), _process.move_up(write)
    flush(config)
    parent = os.getpid()
    # Not inherited by a fork, where whatever has set it waits for it.
    alarm = signal.setitimer(signal.ITIMER_REAL, 0)
    OPENMP.pause()
    _prepare()
    try:
        with warnings.catch_warnings():
            # Of threads, from 3.12 on: `-W error` raises it when the fork is there already.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
    except OSError:
        signal.setitimer(signal.ITIMER_REAL, *alarm)
        os.close(read)
        os.close(write)
        output.close()
        raise
    if pid:
        os.close(write)
        if has_group:
            # Both do: whoever comes first.
            with suppress(OSError):
                os.setpgid(pid, pid)
        return Fork(pid, read, output, has_group), None
    if has_group:
        with suppress(OSError):
            os.setpgid(0, 0)
    _process.die_with_parent(parent)
    os.close(read)
    output.enter_fork()
    _isolate_coverage.enter_fork()
    _own_exits()
    _timeout_dump(config)
    signal.setitimer(signal.ITIMER_REAL, *alarm)
    return None, Line(write)


def _prepare() -> None:
    """Has done once here what each fork would do again: finding the function behind `die_with_parent`."""
    if sys.platform == "linux" and _process._PRCTL is None:
        _process._PRCTL = _process._find_prctl()


def _own_exits() -> None:
    """What the parent does at its exit is not done by forks; what tests register is."""
    atexit._clear()
    _process.disown_finalizers()
    if weakref.finalize._registered_with_atexit:  # type: ignore[attr-defined]
        atexit.register(weakref.finalize._exitfunc)  # type: ignore[attr-defined]


def _timeout_dump(config: Any) -> None:
    """The thread behind `faulthandler_timeout` is the parent's."""
    try:
        from _pytest.faulthandler import fault_handler_stderr_fd_key

        seconds = float(config.getini("faulthandler_timeout") or 0)
        if seconds <= 0:
            return
        leave = bool(config.getini("faulthandler_exit_on_timeout"))
        file = config.stash[fault_handler_stderr_fd_key]
    except Exception:  # Without that plug-in, or before it could do so.
        return
    import faulthandler

    faulthandler.dump_traceback_later(seconds, file=file, exit=leave)


def end(config: Any) -> NoReturn:
    """The end of a fork that has told everything. Threads are not waited for, and processes go with it."""
    flush(config)
    atexit._run_exitfuncs()
    _process.flush_streams()
    os._exit(0)


class _OpenMP:
    """libgomp's threads do not survive a fork, and hang the one that uses them again: they are joined before."""

    def __init__(self) -> None:
        self._modules = -1
        self._pauses: list[Any] = []

    def pause(self) -> None:
        if not _threads.HAS_TASKS:
            return
        if len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            self._pauses = []
            for path in sorted(_threads.mapped_files()):
                if os.path.basename(path).startswith("libgomp"):
                    pause = _process.native_function(path, "omp_pause_resource_all", 2)
                    if pause is not None:
                        self._pauses.append(pause)
        for pause in self._pauses:
            pause()


OPENMP = _OpenMP()
"""Of this process."""
