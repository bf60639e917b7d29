"""One client of the daemon: what it asks, and the run that it waits for.

The thread that took the connection waits for the run; another one reads what the client has to say meanwhile. When the
client is gone, its program is: SIGHUP and SIGTERM at once, SIGKILL half a second later, to the whole process group.
"""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import closing, suppress
from queue import SimpleQueue
from typing import Any, TypeAlias

from firehot import _background, _core
from firehot._journal import Journal, Run, say
from firehot._request import Request, decode_header
from firehot._slot import Slot
from firehot._slots import Slots, is_due
from firehot._surroundings import obstacle
from firehot.errors import FirehotError

_GRACE = 0.5
_LOST = -int(signal.SIGKILL)


_Begun: TypeAlias = "tuple[Slot, _core.Ticket, str]"
"""A program that runs: where, and why it is warm."""


class _ColdError(Exception):
    """The client runs the program cold."""

    def __init__(self, reason: str, *, is_quiet: bool = True) -> None:
        """`is_quiet` where that is nobody's concern: something new is always cold at first."""
        super().__init__(reason)
        self.is_quiet = is_quiet


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
    begun: SimpleQueue[_Begun | None] = SimpleQueue()
    started = None
    try:
        # There before the program is, which has to end with its client.
        _background.start(_listen, (connection, begun), name="firehot-listen")
        started = _agree(connection, request, slots)
    except _ColdError as cold:
        _cold(connection, journal, request, str(cold), quiet=cold.is_quiet)
    except (FirehotError, OSError, RuntimeError) as error:
        # Descriptors, threads or memory are short.
        _cold(connection, journal, request, f"the daemon can't run it: {error}", quiet=False)
    finally:
        begun.put(started)
    if started is None:
        return
    slot, ticket, reason = started
    try:
        note = Run(request.title, True, reason, milliseconds=(time.monotonic() - began) * 1000, saved=slot.saved)
        try:
            send(connection, "started", pid=ticket.pid)
        except OSError:
            slot.stop(ticket, 0.0)
            raise
        journal.add(note)
        ticket.wait("end")
        _tell_end(connection, ticket, note)
    finally:
        slot.end()


def _agree(connection: _core.Connection, request: Request, slots: Slots) -> _Begun | None:
    """The program, begun; nothing where the client has turned away.

    Raises:
        _ColdError: The client is to run it.
    """
    # Until it has said `go`, the client may turn away and run the program itself. Its descriptors come with that.
    send(connection, "ready")
    if connection.receive() is None:
        return None
    if (stdio := connection.take_stdio(3 + len(request.header["descriptors"]))) is None:
        raise _ColdError("stdin, stdout or stderr is closed", is_quiet=False)
    with closing(stdio):
        return _begin(request, stdio, slots)


def _begin(request: Request, stdio: _core.Stdio, slots: Slots) -> _Begun:
    """A process of a template that fits.

    Raises:
        _ColdError: There is none; the next run shall find one.
    """
    script = os.path.join(request.cwd, request.target)
    if request.kind == "script" and not os.access(script, os.R_OK):
        # Python says so; a mistyped name costs no other program its template.
        raise _ColdError("the script can't be read" if os.path.exists(script) else "there is no such file")
    known = slots.of(request)
    reason, wants_another, is_quiet = "it is the first run of this program here", True, True
    for slot in known:
        try:
            ticket, kind, why = slot.begin(request, stdio)
        except Exception as error:  # Whatever it is, nothing was forked, and the program can still run.
            raise _ColdError(f"no process could be forked: {error}", is_quiet=False) from error
        if ticket is not None:
            return slot, ticket, "its template was ready"
        reason, wants_another = why, kind == "differs"
        if slot.failed is not None:
            is_quiet = False
            wants_another = is_due(slot)
            if wants_another:
                slots.drop(slot)
        if kind != "differs":
            break
    if wants_another:
        slots.add(request)
    raise _ColdError(reason, is_quiet=is_quiet)


def _cold(connection: _core.Connection, journal: Journal, request: Request, reason: str, *, quiet: bool) -> None:
    journal.add(Run(request.title, False, reason))
    # One line for a user who wants to run something else; `firehot why` has what the template said.
    line = reason.partition("\n")[0].removesuffix("; its last output:")
    send(connection, "cold", reason=line, quiet=quiet)


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


def _listen(connection: _core.Connection, begun: SimpleQueue[_Begun | None]) -> None:
    """Hands on the client's signals, from the beginning of its program until it is gone, or the run is over."""
    if (started := begun.get()) is None:
        return
    slot, ticket, _ = started
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
