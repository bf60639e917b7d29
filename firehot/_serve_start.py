"""Starts one generation of `firehot serve`: has the template follow the project first, so that the run is warm.

It is a process of its own, which becomes the daemon's client, or the application where that runs cold; so the front
waits for nothing.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any, NoReturn

from firehot import _core, _run
from firehot._control import Control
from firehot._front import follow

Command = dict[str, Any]


def execute(command: Command) -> NoReturn:
    """Runs the generation in the place of this process, or waits for its end."""
    settings = json.loads(command["settings"])
    what = {"kind": "module", "target": "firehot._generation", "options": []}
    args = [command["target"], command["settings"]]
    asked = _run.request({**command, **what, "args": args}, "serve")
    if settings["error"] is not None or _run.is_disabled():
        _core.client_cold(asked, None)
    if settings["follows"]:
        control = Control(socket.socket(fileno=settings["control"]))
        control.say("template", effect=follow(asked))
        control.socket.detach()
    os._exit(_core.client_run(asked))
