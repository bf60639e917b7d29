"""What a generation of `firehot serve` has preloaded: what the application's module reaches, and uvicorn.

Imports nothing of the project, and not uvicorn.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from firehot import _targets
from firehot._request import Request

_SERVER = (
    *("uvicorn.server", "uvicorn.config", "uvicorn.lifespan.on", "uvicorn.lifespan.off", "uvicorn.logging"),
    *("uvicorn.loops.auto", "uvicorn.middleware.asgi2", "uvicorn.middleware.proxy_headers", "uvicorn.middleware.wsgi"),
    *("uvicorn.protocols.http.auto", "uvicorn.protocols.http.h11_impl", "uvicorn.protocols.websockets.auto"),
)
_WITH = {
    "httptools": ("httptools", "uvicorn.protocols.http.httptools_impl"),
    "uvloop": ("uvloop", "uvicorn.loops.uvloop"),
    "websockets": ("websockets", "uvicorn.protocols.websockets.websockets_sansio_impl"),
    "dotenv": ("dotenv",),
}
"""What uvicorn takes where it is installed."""


def target_of(request: Request) -> tuple[str, str]:
    """The application's module, and the folder that is in front of `sys.path` for it."""
    settings = json.loads(request.args[1])
    return request.args[0].partition(":")[0], settings["app_dir"]


def identity(request: Request) -> tuple[object, ...]:
    """What runs share that share a template: not the options, nor the attribute."""
    return "serve", *target_of(request), request.executable, request.options


def additions(request: Request, root: str, path: Sequence[str]) -> dict[str, Any]:
    """What the engine scans: see `_test_targets.additions`."""
    module, folder = target_of(request)
    spec = _targets.find(module, [folder, *path])
    file = None if spec is None or not spec.has_location else spec.origin
    preload = [name for name in _SERVER if _targets.find(name, path) is not None]
    for package, names in _WITH.items():
        if _targets.find(package, path) is not None:
            preload += [name for name in names if _targets.find(name, path) is not None]
    is_own = file is not None and file.endswith(".py") and _targets.is_own(file, root)
    if not is_own and spec is not None:
        preload.append(module)
    modules = [*_parents(module, folder), (module, file)] if is_own else []
    return {"modules": modules, "folders": [folder], "ignored": [], "preload": preload}


def _parents(module: str, folder: str) -> list[tuple[str, str]]:
    """The packages that the module is in, which Python imports before."""
    found = []
    parts = module.split(".")[:-1]
    for end in range(1, len(parts) + 1):
        file = os.path.join(folder, *parts[:end], "__init__.py")
        if os.path.isfile(file):
            found.append((".".join(parts[:end]), file))
    return found
