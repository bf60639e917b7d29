"""Child processes that imports have started: which live, and their end. Standard library only.

Nothing here reaps: whoever has started a process (`subprocess.Popen`, mostly) waits for it as well.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from posix import close, kill
from select import poll as Poll
from typing import Any

_GRACE_MS = 1000
_waitid: Any = getattr(os, "waitid", None)
CAN_ASK = _waitid is not None
"""Whether the kernel tells of children without reaping them; elsewhere it costs a look at all objects."""


def surely_none() -> bool:
    """Whether there is no child process, dead or alive; asks the kernel only, where that can be asked."""
    if _waitid is None:
        return not _known_to_python()
    try:
        _waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def living() -> dict[int, str]:
    """The children that have not ended: pid and name."""
    if sys.platform != "linux":
        return _known_to_python()
    found = {}
    for pid in _listed():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                head, _, rest = file.read().rpartition(b")")
        except OSError:
            continue
        if rest.split()[0] not in (b"Z", b"X"):
            found[pid] = head.partition(b"(")[2].decode("utf-8", "replace")
    return found


def _listed() -> list[int]:
    """The children of each thread, dead ones too."""
    pids: list[int] = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/children", "rb") as file:
                pids.extend(int(pid) for pid in file.read().split())
        except FileNotFoundError:
            # A kernel without CONFIG_PROC_CHILDREN.
            return [] if surely_none() else _children_by_stat()
        except OSError:
            continue
    return pids


def _children_by_stat() -> list[int]:
    own = str(os.getpid()).encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                if file.read().rpartition(b")")[2].split()[1] == own:
                    found.append(int(name))
    return found


def _known_to_python() -> dict[int, str]:
    """Where the kernel can't be asked without reaping (macOS before 3.13): what the standard library has started."""
    found: dict[int, str] = {}
    if (processes := sys.modules.get("multiprocessing.process")) is not None:
        for process in list(getattr(processes, "_children", ())):
            if process.exitcode is None and process.pid is not None:
                found[process.pid] = process.name
    if (subprocess := sys.modules.get("subprocess")) is not None:
        import gc

        for item in gc.get_objects():
            # `type`, not isinstance: asking a lazy object for its class may wake it.
            if issubclass(type(item), subprocess.Popen) and item.poll() is None:
                found[item.pid] = str(item.args)
    return found


def end(pids: Iterable[int]) -> None:
    """Ends processes: SIGTERM, and SIGKILL for what still lives a second later. They stay zombies until reaped."""
    for pid in pids:
        with suppress(OSError):
            kill(pid, signal.SIGTERM)
            _await_death(pid)
            kill(pid, signal.SIGKILL)


def _await_death(pid: int) -> None:
    if not hasattr(os, "pidfd_open"):
        return
    fd = os.pidfd_open(pid)
    try:
        poll = Poll()
        poll.register(fd, select.POLLIN)
        poll.poll(_GRACE_MS)
    finally:
        close(fd)
