"""A thread of the system's own, also where gevent or eventlet has put greenlets in the place of threads.

What waits in native code has to have one: a greenlet that waits there stops the whole host.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Protocol


class BackgroundThread(Protocol):
    """A thread that ends with the interpreter."""

    def join(self) -> None:
        """Waits for its end; not in itself."""


def start(target: Callable[..., object], args: tuple[Any, ...], name: str) -> BackgroundThread:
    """Runs a function in the background.

    Raises:
        RuntimeError: No thread can be started.
    """
    original = _original()
    if original.start_new_thread is not _thread.start_new_thread:
        return _Unpatched(original, target, args)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    thread = threading.Thread(target=_run, args=(mask, target, args), name=name, daemon=True)
    # The race: a signal's handler raises in `Thread.start` when the thread is there already. Both then take away the
    # note of a thread that is to begin, and who comes second fails: here, or there before the function is called.
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        thread.start()
    except KeyError as error:
        # Another thread, of the host's, has taken the signal. What its handler raised counts.
        if error.__context__ is None:
            raise
        raise error.__context__ from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return _Ordinary(thread)


def _run(mask: set[int], target: Callable[..., object], args: tuple[Any, ...]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    target(*args)


class _Ordinary:
    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread

    def join(self) -> None:
        if threading.current_thread() is not self._thread:
            self._thread.join()


class _Unpatched:
    """Made of what stood in `_thread` before it was replaced."""

    def __init__(self, original: Any, target: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._get_ident: Callable[[], int] = original.get_ident
        self._ended = original.allocate_lock()
        self._ended.acquire()

        def run() -> None:
            try:
                target(*args)
            finally:
                self._ended.release()

        self._ident: int = original.start_new_thread(run, ())

    def join(self) -> None:
        if self._get_ident() != self._ident:
            with self._ended:
                pass


class _Gevent:
    """`_thread`, as it was before gevent changed it."""

    def __init__(self, monkey: Any) -> None:
        self.start_new_thread, self.allocate_lock, self.get_ident = monkey.get_original(
            "_thread", ["start_new_thread", "allocate_lock", "get_ident"]
        )


def _original() -> Any:
    """Where the unchanged functions of `_thread` are."""
    # Known by what is loaded: to import either would change the host.
    if (monkey := sys.modules.get("gevent.monkey")) is not None:
        return _Gevent(monkey)
    if (patcher := sys.modules.get("eventlet.patcher")) is not None:
        return patcher.original("_thread")
    return _thread
