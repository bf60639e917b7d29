"""A template's ties to others: its forks die with it, and it goes when the host does. Standard library only.

What packages may replace while they are imported (fork) is bound before that.
"""

from __future__ import annotations

import os
import select
import warnings
from posix import _exit, fork, getpid, getppid
from typing import Any

from firehot import _process


def fork_quietly() -> int:
    """`fork`, without the DeprecationWarning about threads (3.12): `-W error` raises it when the child runs already."""
    _FORKING.template = getpid()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return fork()
    finally:
        _FORKING.template = 0


class _Forking:
    """The template that forks, while it does; what its children fork may outlive it."""

    template = 0


_FORKING = _Forking()


def die_with_template() -> None:
    if _FORKING.template:
        _process.die_with_parent(_FORKING.template)


def watch_process(pid: int) -> int:
    """A descriptor that becomes readable when `pid` dies, or -1 where the system has none."""
    if getppid() != pid:
        _exit(0)
    fd = -1
    if hasattr(os, "pidfd_open"):
        try:
            fd = _process.move_up(os.pidfd_open(pid))
        except OSError:
            fd = -1
    elif hasattr(select, "kqueue"):
        fd = _watch_by_kqueue(pid)
    if getppid() != pid:
        _exit(0)
    return fd


def _watch_by_kqueue(pid: int) -> int:
    select_module: Any = select
    queue = select_module.kqueue()
    event = select_module.kevent(
        pid,
        filter=select_module.KQ_FILTER_PROC,
        flags=select_module.KQ_EV_ADD,
        fflags=select_module.KQ_NOTE_EXIT,
    )
    try:
        queue.control([event], 0)
    except OSError:
        _exit(0)
    _KEPT.append(queue)  # It closes its descriptor when it is collected.
    fd: int = queue.fileno()
    return fd


_KEPT: list[Any] = []
