"""What the daemon tells of itself: the answers to `status`, `imports`, `why` and `warm`."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from firehot import __version__
from firehot._request import Request
from firehot._slot import Slot
from firehot._slots import is_due
from firehot._surroundings import obstacle
from firehot.errors import FirehotError

if TYPE_CHECKING:
    from firehot._daemon import Daemon


def answer(daemon: Daemon, header: dict[str, Any], body: bytes) -> dict[str, Any]:
    """The answer to a client's question.

    Raises:
        FirehotError: It is none.
    """
    kind = header["type"]
    if kind == "status":
        return status(daemon)
    if kind == "imports":
        return {**_about(daemon, [_whole(slot) for slot in daemon.slots.all()]), **daemon.journal.totals()}
    if kind == "why":
        return {**_about(daemon, [_short(slot) for slot in daemon.slots.all()]), "runs": daemon.journal.last()}
    if kind == "warm":
        return warm(daemon, Request.parse(header, body))
    raise FirehotError(f"a client asks for {kind!r}, which this daemon does not know")


def status(daemon: Daemon) -> dict[str, Any]:
    """The daemon and its templates, in numbers."""
    return {
        **_about(daemon, [_short(slot) for slot in daemon.slots.all()]),
        "firehot": __version__,
        "python": sys.version.split()[0],
        "age": time.time() - daemon.born,
        "memory": family_memory(os.getpid()),
        **daemon.journal.totals(),
    }


def _about(daemon: Daemon, templates: list[dict[str, Any]]) -> dict[str, Any]:
    return {"root": daemon.root, "pid": os.getpid(), "templates": templates}


def warm(daemon: Daemon, request: Request) -> dict[str, Any]:
    """Builds a program's template, and waits for it."""
    if (reason := obstacle(request)) is not None:
        raise FirehotError(f"{request.title} can't be warmed: {reason}")
    known = daemon.slots.of(request)
    for slot in known:
        if is_due(slot):
            daemon.slots.drop(slot)
    slot = next((slot for slot in known if slot.fits(request)), None) or daemon.slots.add(request)
    update = slot.update(request)
    return {**_short(slot), "update": update}


def _short(slot: Slot) -> dict[str, Any]:
    told = slot.report()
    modules = told.pop("modules", [])
    told.pop("skipped", None)
    told.pop("verdicts", None)
    return {**told, "modules": len(modules), "milliseconds": sum(module["milliseconds"] for module in modules)}


def _whole(slot: Slot) -> dict[str, Any]:
    told = slot.report()
    told.pop("modules", None)
    return {**told, "imports": slot.imports()}


def family_memory(pid: int) -> int | None:
    """Bytes of memory that a process and all that descend from it hold together; shared pages count once.

    `None` where the system does not tell.
    """
    if sys.platform != "linux":
        return None
    found, left = 0, [pid]
    while left:
        one = left.pop()
        left += _children(one)
        try:
            with open(f"/proc/{one}/smaps_rollup", "rb") as file:
                lines = (line.split() for line in file)
                found += sum(int(words[1]) for words in lines if words[0] == b"Pss:") << 10
        except OSError:
            continue  # It has ended.
    return found


def _children(pid: int) -> list[int]:
    """Those that any of its threads has started."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:
        pass  # It has ended, or the kernel was built without that file.
    return found
