"""What caller and daemon have from whoever started them: limits, processors, namespaces.

Which differences keep a run from being a child of this daemon, and what a daemon does not keep of its first caller.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from typing import Any

from firehot import _core
from firehot._request import Request

_INFINITE = (-1, resource.RLIM_INFINITY)
OWN_INTERPRETER = (
    "PYTHONINSPECT",
    "PYTHONVERBOSE",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONMALLOCSTATS",
    "PYTHONDUMPREFS",
    "PYTHONDUMPREFSFILE",
    "PYTHONPERFSUPPORT",
    "PYTHON_PERF_JIT_SUPPORT",
)
"""Variables that have an interpreter tell of its whole life, or go on after the program's end."""
_PLACES = {
    "mnt": "their mount namespace",
    "net": "their network namespace",
    "pid": "their process namespace",
    "user": "their user namespace",
    "ipc": "their IPC namespace",
    "uts": "their host name's namespace",
    "cgroup": "their cgroup namespace",
    "time": "their time namespace",
    "root": "their root folder",
    "groups": "their groups",
}
_AT_START = ("RLIMIT_STACK", "RLIMIT_AS", "RLIMIT_DATA")
_RAISED = {"RLIMIT_CPU": None, "RLIMIT_FSIZE": None, "RLIMIT_NPROC": None, "RLIMIT_NOFILE": 1 << 16}
"""Limits that could end a daemon, or leave it without descriptors, and what is enough; children get their callers'."""


class OutgrownError(Exception):
    """A daemon that this caller starts could serve it, and all whom this one serves."""


def widen() -> None:
    """Raises this process's limits as far as its first caller's let it. What lies above those can't be undone."""
    for name, enough in _RAISED.items():
        if (number := getattr(resource, name, None)) is None:
            continue
        soft, hard = resource.getrlimit(number)
        wanted = hard if enough is None or _is_above(enough, hard) else enough
        if _is_above(wanted, soft):
            with suppress(ValueError, OSError):  # The system's own bound is below that, on macOS.
                resource.setrlimit(number, (wanted, hard))


def obstacle(request: Request) -> str | None:
    """What a child of this daemon can't be given, if there is anything.

    Raises:
        OutgrownError: A child of this caller's own daemon could.
    """
    if not request.path:
        return f"sys.path with {' '.join(request.options)} is not known before python starts"
    if not request.has_option("IE") and (name := next(filter(request.environ.get, OWN_INTERPRETER), None)):
        return f"{name} is set, which is for an interpreter of its own"
    if request.environ.get("COVERAGE_PROCESS_START"):
        return "COVERAGE_PROCESS_START is set, which counts when an interpreter starts"
    if not os.access(request.cwd, os.X_OK):
        return "the working directory can't be entered"
    if request.is_other_text():
        return "its locale's encoding is not UTF-8"
    own, told = _core.client_surroundings(), request.header
    reason = _difference(told, own)
    if reason is not None and _has_all_of(told, own):
        raise OutgrownError(reason)
    return reason


def _difference(told: dict[str, Any], own: dict[str, Any]) -> str | None:
    for name, value in told["places"].items():
        if value != own["places"].get(name):
            return f"the caller and the daemon differ in {_PLACES.get(name, name)}"
    if told["affinity"] != own["affinity"]:
        return "the caller's processor affinity is another one than the daemon's"
    if told["nice"] < own["nice"]:
        return f"the caller's nice value {told['nice']} is below the daemon's {own['nice']}"
    for name, (soft, hard) in told["limits"].items():
        if name not in own["limits"]:
            return f"{name} is not known to the daemon"
        own_soft, own_hard = own["limits"][name]
        if name in _AT_START and (soft, hard) != (own_soft, own_hard):
            return f"{name} counts when an interpreter starts, and the caller's is another one than the daemon's"
        if _is_above(hard, own_hard):
            return f"the caller's {name} is above the daemon's"
    return None


def _has_all_of(told: dict[str, Any], own: dict[str, Any]) -> bool:
    """Whether a caller lacks nothing that this daemon has.

    It is an order: where daemons make room for each other by it, that comes to an end.
    """
    limits = own["limits"]
    if told["places"] != own["places"] or told["limits"].keys() != limits.keys() or told["nice"] > own["nice"]:
        return False
    for name, (soft, hard) in told["limits"].items():
        if _is_above(limits[name][1], hard) or (name in _AT_START and _is_above(limits[name][0], soft)):
            return False
    return set(told["affinity"] or ()) >= set(own["affinity"] or ())


def _is_above(one: int, other: int) -> bool:
    return other not in _INFINITE and (one in _INFINITE or one > other)
