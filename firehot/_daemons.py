"""`firehot status`, `stop`, `restart` and `logs`: what a user does with daemons."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from firehot import _core, _run
from firehot.errors import FirehotError

Command = dict[str, Any]

_STOP_LIMIT = 15.0
"""Seconds that a daemon is given to end its runs."""
_BETWEEN = 0.02
_PATIENCE = 3.0
"""Seconds that an answer may take; a daemon does nothing else for it."""
NONE_RUNS = "no daemon runs for this project; the first `firehot run` starts one, and so does `firehot warm`"


def here() -> dict[str, Any]:
    """The project of the working directory, for the client."""
    return {**_run.where(), "script": None}


def ask(kind: str, **told: Any) -> dict[str, Any] | None:
    """Asks the project's daemon; `None` where there is none.

    Raises:
        FirehotError: It does not answer.
    """
    answer = _core.client_ask(here(), json.dumps({"type": kind, **told}), False, _PATIENCE)
    return None if answer is None else json.loads(answer)


def place() -> dict[str, str]:
    """Where the project's daemon is, running or not: `root`, `socket`, `lock`, `log`, `why`.

    Raises:
        FirehotError: The folder for it can't be used.
    """
    return dict(_core.client_place(here()))


def project() -> str:
    """The project's folder."""
    return place()["root"]


def status(command: Command) -> int:
    """`firehot status`: every daemon of this user."""
    told = [_status_of(each) for each in _core.client_places()]
    if command["json"]:
        print(json.dumps({"daemons": told}, indent=2))
    elif not told:
        print("no daemon runs; the first `firehot run` starts one")
    else:
        for daemon in told:
            _show(daemon)
    return 0


def _status_of(told: dict[str, Any]) -> dict[str, Any]:
    question = json.dumps({"type": "status"})
    try:
        answer = _core.client_ask({**_run.where(), "socket": told["socket"]}, question, False, _PATIENCE)
    except FirehotError as error:
        return {**told, "problem": str(error)}
    return {**told, **(json.loads(answer) if answer is not None else {"problem": "it is just ending"})}


def _show(daemon: dict[str, Any]) -> None:
    print(daemon["root"])
    if "problem" in daemon:
        print(f"  process {daemon['pid']}: {daemon['problem']}")
        return
    runs, warm = daemon["runs"], daemon["warm"]
    share = f", {100 * warm / runs:.0f} % warm" if runs else ""
    memory = "" if daemon["memory"] is None else f", {daemon['memory'] / 1e6:,.0f} MB"
    print(f"  process {daemon['pid']}, Python {daemon['python']}, {span(daemon['age'])} old{memory}")
    print(f"  {count(runs, 'run')}{share}, {span(daemon['saved'])} saved")
    rows = [
        (
            slot["target"],
            slot["state"],
            count(slot["modules"], "module"),
            f"{slot['milliseconds']:,.0f} ms",
            count(slot["runs"], "run"),
        )
        for slot in daemon["templates"]
    ]
    for line in table(rows):
        print(f"    {line}")


def stop(command: Command) -> int:
    """`firehot stop`."""
    places = _core.client_places()
    if not command["all"]:
        socket = place()["socket"]
        places = [each for each in places if each["socket"] == socket]
    if not places:
        print("no daemon runs" if command["all"] else "no daemon runs for this project")
    for each in places:
        _stop(each)
        print(f"stopped {each['root']} (process {each['pid']})")
    return 0


def _stop(daemon: dict[str, Any]) -> None:
    limit = _PATIENCE
    with suppress(FirehotError):  # Another version's would wait for its runs; one that is stuck, for ever.
        _core.client_ask({**_run.where(), "socket": daemon["socket"]}, json.dumps({"type": "stop"}), False, _PATIENCE)
        limit = _STOP_LIMIT
    if _is_gone(daemon, limit):
        return
    # The lock is held, so the number is still the daemon's. Its templates end with it.
    with suppress(ProcessLookupError):
        os.kill(daemon["pid"], signal.SIGKILL)
    if not _is_gone(daemon, _STOP_LIMIT):
        raise FirehotError(f"process {daemon['pid']} does not end; its log is {daemon['log']}")


def _is_gone(daemon: dict[str, Any], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(other["pid"] == daemon["pid"] for other in _core.client_places()):
        if time.monotonic() > deadline:
            return False
        time.sleep(_BETWEEN)
    return True


def restart(command: Command) -> int:
    """`firehot restart`."""
    stop({"all": False})
    question = json.dumps({"type": "status"})
    answer = _core.client_ask(here(), question, True)
    if answer is None:
        raise FirehotError(f"no daemon could be started: see {place()['log']}")
    print(f"started {json.loads(answer)['root']} (process {json.loads(answer)['pid']})")
    return 0


def logs(command: Command) -> int:
    """`firehot logs`."""
    path = Path(place()["log"])
    try:
        with path.open("rb") as file:
            sys.stdout.flush()
            shutil.copyfileobj(file, sys.stdout.buffer)
    except FileNotFoundError:
        print(f"firehot: there is no log yet: {path}", file=sys.stderr)
    return 0


def completion(command: Command) -> int:
    """`firehot completion`."""
    sys.stdout.buffer.write(command["script"])
    return 0


def span(seconds: float) -> str:
    """A time as people say it: "1.3 s", "4 min", "2.5 h"."""
    for limit, unit, size in ((90, "s", 1), (90 * 60, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.1f} {unit}" if seconds / size < 10 else f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} days"


def count(number: int, what: str) -> str:
    """So many of them: "1 run", "2 runs"."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, in columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
