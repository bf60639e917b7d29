"""A spare: a child that waits for its call. Standard library only.

Invariant: a signal that came before the call does nothing, and one that came after it does what it does to any child.
The signals of the template's mask stay blocked here, so that they are kept by the kernel until somebody takes them: the
spare does, at once, as long as no call has come. Where both are there, nobody knows which was first. Then it counts
when the host or the template has sent it, which know of the process only by its call; what a terminal or anybody else
sent to the whole group has reached the host as well.
"""

from __future__ import annotations

import select
import sys
from posix import getpid, kill
from select import poll as Poll
from typing import Any

from firehot import _process

_plain = _process.plain_signal


def wait(sock: int, known_to: tuple[int, ...]) -> None:
    """Returns when there is something to be read from the socket, or its end.

    Signals from the processes `known_to` may be meant for the call.
    """
    known_to += (getpid(),)  # What is kept is sent again.
    blocked = _process.blocked_signals()
    signals, owner = _watch(blocked)
    poll = Poll()
    poll.register(sock, select.POLLIN)
    if signals >= 0:
        poll.register(signals, select.POLLIN)
    while not any(fd == sock for fd, _ in poll.poll()):
        _drop_pending(sock, blocked, known_to)
    # The call may have come first to be seen.
    _drop_pending(sock, blocked, known_to)
    if owner is None:
        _process.close_quietly(signals)
    else:
        owner.close()


def is_called(sock: int) -> bool:
    """Whether there is something to be read from the socket, or its end."""
    only = Poll()
    only.register(sock, select.POLLIN)
    return bool(only.poll(0))


def _drop_pending(sock: int, blocked: set[int], known_to: tuple[int, ...]) -> None:
    taken = []
    while pending := _plain.sigpending() & blocked:
        if sys.platform == "darwin":
            taken.append(_plain.sigwait(pending))  # It does not tell who sent it.
        elif (sent := _plain.sigtimedwait(pending, 0)) is not None and sent.si_pid in known_to:
            taken.append(sent.si_signo)
    if not taken:
        return
    # What was taken before the socket was found empty came before the call.
    if is_called(sock):
        for number in taken:
            kill(getpid(), number)


def _watch(blocked: set[int]) -> tuple[int, Any]:
    """A descriptor that can be read when a blocked signal is pending, and what owns it. None on other systems."""
    if sys.platform == "linux":
        return _process.signal_descriptor(), None
    if hasattr(select, "kqueue"):
        queue = select.kqueue()
        for number in blocked:
            try:
                queue.control([select.kevent(number, select.KQ_FILTER_SIGNAL, select.KQ_EV_ADD)], 0)
            except OSError:
                continue  # No process is told of SIGKILL.
        return queue.fileno(), queue
    return -1, None
