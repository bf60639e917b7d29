"""One client of the daemon: what it asks, and the run that it waits for.

The thread that took the connection waits for the run; another one reads what the client has to say meanwhile. When the
client is gone, its program is: SIGHUP and SIGTERM at once, SIGKILL half a second later, to the whole process group.
"""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress
from typing import Any

from firehot import _background, _core
from firehot._journal import Journal, Run, say
from firehot._request import Request, decode_header
from firehot._slots import Slot, Slots, is_due
from firehot.errors import FirehotError

_GRACE = 0.5
_LOST = -int(signal.SIGKILL)
_INFINITY = -1


def send(connection: _core.Connection, kind: str, **told: Any) -> None:
    """A frame for the client.

    Raises:
        OSError: It is gone.
    """
    connection.send(json.dumps({"type": kind, **told}).encode())


def run(connection: _core.Connection, header: dict[str, Any], body: bytes, slots: Slots, journal: Journal) -> None:
    """Runs a program for a client, or has it run it cold.

    Raises:
        OSError: The client is gone before it began.
        FirehotError: It asks for nothing that can be run.
    """
    began = time.monotonic()
    request = Request.parse(header, body)
    if (obstruction := obstacle(request)) is not None:
        _cold(connection, journal, request, obstruction, quiet=False)
        return
    # Until it has said `go`, the client may turn away and run the program itself. Its descriptors come with that.
    send(connection, "ready")
    if connection.receive() is None:
        return
    if (stdio := connection.take_stdio()) is None:
        _cold(connection, journal, request, "stdin, stdout or stderr is closed", quiet=False)
        return
    slot, ticket, reason = _begin(request, stdio, slots)
    stdio.close()
    if slot is None or ticket is None:
        _cold(connection, journal, request, reason, quiet=True)
        return
    try:
        note = Run(request.title, True, reason, milliseconds=(time.monotonic() - began) * 1000, saved=slot.saved)
        try:
            send(connection, "started", pid=ticket.pid)
        except OSError:
            slot.stop(ticket, 0.0)
            raise
        journal.add(note)
        _background.start(_listen, (connection, slot, ticket), name="firehot-listen")
        ticket.wait("end")
        _tell_end(connection, ticket, note)
    finally:
        slot.end()


def _begin(request: Request, stdio: _core.Stdio, slots: Slots) -> tuple[Slot | None, _core.Ticket | None, str]:
    """A process of a template that fits, or why there is none; the next run shall find one."""
    if request.kind == "script" and not os.path.exists(os.path.join(request.cwd, request.target)):
        # Python says so; a mistyped name costs no other program its template.
        return None, None, "there is no such file"
    known = slots.of(request)
    reason, wants_another = "it is the first run of this program here", True
    for slot in known:
        try:
            ticket, kind, why = slot.begin(request, stdio)
        except (FirehotError, OSError) as error:
            return None, None, f"no process could be forked: {error}"
        if ticket is not None:
            return slot, ticket, "its template was ready"
        reason, wants_another = why, kind == "differs"
        if slot.failed is not None:
            wants_another = is_due(slot)
            if wants_another:
                slots.drop(slot)
        if kind != "differs":
            break
    if wants_another:
        slots.add(request)
    return None, None, reason


def _cold(connection: _core.Connection, journal: Journal, request: Request, reason: str, *, quiet: bool) -> None:
    journal.add(Run(request.title, False, reason))
    send(connection, "cold", reason=reason, quiet=quiet)


def _tell_end(connection: _core.Connection, ticket: _core.Ticket, note: Run) -> None:
    end = ticket.end()
    status, cause, detail = (None, "", "") if end is None else end[:3]
    note.status = status
    with suppress(OSError):
        if status is None:
            send(connection, "exited", status=_LOST, lost=f"its template {detail}" if detail else cause)
        else:
            send(connection, "exited", status=status)
    connection.close()


def _listen(connection: _core.Connection, slot: Slot, ticket: _core.Ticket) -> None:
    """Hands on the client's signals until it is gone, or the run is over."""
    try:
        while (frame := connection.receive()) is not None:
            message = decode_header(frame[0])
            if message["type"] == "signal":
                ticket.signal(int(message["number"]))
    except (OSError, FirehotError, KeyError, ValueError) as error:
        say(f"a client is not listened to any more: {error}")
    if ticket.end() is None:
        with suppress(FirehotError):  # The engine is closed: it ends its processes.
            ticket.signal(signal.SIGHUP)
            slot.stop(ticket, _GRACE)


def obstacle(request: Request) -> str | None:
    """What a child of this daemon can't be given, if there is anything."""
    if not request.path:
        return f"sys.path with {' '.join(request.options)} is not known before python starts"
    if request.environ.get("PYTHONINSPECT") and not request.has_option("IE"):
        return "PYTHONINSPECT is set"
    if request.environ.get("COVERAGE_PROCESS_START"):
        return "COVERAGE_PROCESS_START is set, which counts when an interpreter starts"
    if not os.access(request.cwd, os.X_OK):
        return "the working directory can't be entered"
    if request.is_other_text():
        return "its locale's encoding is not UTF-8"
    own, told = _core.client_surroundings(), request.header
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


_PLACES = {
    "mnt": "their mount namespace",
    "net": "their network namespace",
    "pid": "their process namespace",
    "user": "their user namespace",
    "root": "their root folder",
    "groups": "their groups",
}
_AT_START = ("RLIMIT_STACK", "RLIMIT_AS", "RLIMIT_DATA")


def _is_above(one: int, other: int) -> bool:
    return other != _INFINITY and (one == _INFINITY or one > other)
