"""What a client's program is given of its caller, in the words of templates and children. Decides nothing."""

from __future__ import annotations

import os
from typing import Any

from firehot import _core, _host, _targets
from firehot._request import Request


def whole_path(request: Request) -> list[str]:
    """`sys.path` of the program."""
    return [*_targets.first_entry(request), *request.path]


def state_of(request: Request, path: list[str]) -> dict[str, Any]:
    """What the child takes over from the caller: see `_host.state`."""
    is_script = request.kind == "script"
    return {
        "environ": request.environ,
        "cwd": request.cwd,
        "umask": request.header["umask"],
        "argv": request.argv,
        "orig_argv": request.orig_argv,
        "path": path,
        "ignored_signals": request.header["ignored"],
        "main_file": os.path.join(request.cwd, request.target) if is_script else None,
        "main_name": None,
    }


def program_of(request: Request) -> dict[str, Any]:
    """What `_program` runs."""
    own, header = _core.client_surroundings()["limits"], request.header
    limits = {name: values for name, values in header["limits"].items() if values != own.get(name)}
    return {
        "kind": request.kind,
        "target": request.target,
        "code": request.code,
        "argv": list(request.args),
        "options": list(request.options),
        "words": list(request.words),
        "terminal": header["terminal"],
        "limits": limits,
        "nice": header["nice"],
        "blocked": header["blocked"],
        "descriptors": header["descriptors"],
        "saved": header["saved"],
    }


def launch_of(request: Request, path: list[str]) -> _host.Launch:
    """What a template for this program is started with."""
    state = {"environ": request.environ, "cwd": request.cwd, "path": path}
    return _host.launch_of(request.executable, request.options, state)
