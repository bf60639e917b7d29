"""`firehot serve`: from the command line to what is served, where, and by what options of uvicorn."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from firehot import _config, _core, _run, _targets
from firehot._serve_front import Front
from firehot._serve_saves import Plan
from firehot._serve_socket import HOST, PORT, Listening
from firehot.errors import FirehotError

Command = dict[str, Any]

_PATIENCE = 5.0
"""Seconds that requests have when the next generation is there; `--timeout-graceful-shutdown` of uvicorn is another, 0
none."""
_OWN = ("host", "port", "uds", "fd", "app", "app_dir", "factory", "interface", "backlog")
"""What is not for uvicorn's configuration in a generation."""
_WATCHED = ("reload_dirs", "reload_includes", "reload_excludes")
_WITHOUT_MEANING = ("reload", "reload_delay", "workers")
_FILES = ("ssl_certfile", "ssl_keyfile", "ssl_ca_certs")
"""Those that uvicorn itself finds missing only when it has started up."""
_INSTALL = "-m pip install 'firehot[serve]'"


def execute(command: Command) -> int:
    """Serves until Ctrl-C, or a signal that ends this process.

    Returns:
        The exit status.

    Raises:
        FirehotError: There is nothing to serve, or nowhere to.
    """
    if _targets.find("uvicorn", sys.path) is None:
        raise FirehotError(f"there is no uvicorn: {sys.executable} {_INSTALL}")
    target: str = command["target"]
    options = _options(command)
    _check(target, options["app_dir"])
    listening = Listening({**options, "ssl": options.get("ssl_certfile")})
    try:
        return Front(_plan(target, options, command), listening).play()
    finally:
        listening.close()


def _options(command: Command) -> dict[str, Any]:
    """What the command line says, in uvicorn's words; what it does not say is not there."""
    given = ("host", "port", "uds", "fd", "app_dir")
    found = {name: command[name] for name in given if command[name] is not None}
    if command["factory"]:
        found["factory"] = True
    if command["interface"] != "auto":
        found["interface"] = command["interface"]
    if command["reload_dirs"]:
        found["reload_dirs"] = command["reload_dirs"]
    if not command["access_log"]:
        found["access_log"] = False
    # uvicorn's own command reads these variables, too; importing it takes a while.
    words: list[str] = command["words"]
    if command["log_level"] is not None:
        # It knows which there are.
        words = ["--log-level", command["log_level"], *words]
    if words or any(name.startswith("UVICORN_") for name in os.environ):
        found = {**_of_uvicorn(command["target"], words), **found}
    return {"host": HOST, "port": PORT, "app_dir": "", "interface": "auto", "factory": False, **found}


def _of_uvicorn(target: str, words: list[str]) -> dict[str, Any]:
    """What uvicorn's own command makes of its options."""
    import click
    from uvicorn.main import main

    try:
        context = main.make_context("uvicorn", [*words, target], auto_envvar_prefix="UVICORN")
    except click.exceptions.Exit as end:
        raise SystemExit(end.exit_code) from None
    except click.ClickException as error:
        raise FirehotError(f"uvicorn's options: {error.format_message()}") from None
    plain = click.core.ParameterSource.DEFAULT
    found = {name: value for name, value in context.params.items() if context.get_parameter_source(name) != plain}
    for name in _WITHOUT_MEANING:
        found.pop(name, None)
    for name in _FILES:
        if name in found and not os.path.isfile(found[name]):
            raise FirehotError(f"uvicorn's options: --{name.replace('_', '-')}: there is no file {found[name]}")
    for header in found.get("headers", ()):
        if ":" not in header:
            raise FirehotError(f"uvicorn's options: --header wants name:value, not {header!r}")
    if "headers" in found:
        found["headers"] = [tuple(header.split(":", 1)) for header in found["headers"]]
    return found


def _check(target: str, folder: str) -> None:
    """That there is such a module: a word mistyped is told at once.

    Raises:
        FirehotError: There is none.
    """
    module, colon, attributes = target.partition(":")
    if not (colon and all(part.isidentifier() for part in [*module.split("."), *attributes.split(".")])):
        hint = f" ({_as_module(module)}:app?)" if _as_module(module) else ""
        raise FirehotError(f"{target!r} is not module:attribute{hint}")
    if not os.path.isdir(folder or "."):
        raise FirehotError(f"there is no folder {folder}")
    path = [os.path.abspath(folder or "."), *sys.path]
    if _targets.find(module, path) is None:
        hint = f"; {_as_module(module)}:{attributes}?" if module.endswith(".py") else ""
        raise FirehotError(f"there is no module {module!r} in {path[0]}, nor is it installed{hint}")


def _as_module(name: str) -> str:
    """What somebody means who names a file."""
    with contextlib.suppress(ValueError):
        return ".".join(Path(name).with_suffix("").parts) if name.endswith(".py") else name.replace("/", ".")
    return ""


def _plan(target: str, options: dict[str, Any], command: Command) -> Plan:
    ours = {*_OWN, *_WATCHED}
    settings = {
        # UTF-8, whatever the application's locale is.
        "app_dir": os.path.abspath(options["app_dir"] or ""),
        "factory": options["factory"],
        "interface": {"asgi3": "asgi", "asgi2": "asgi"}.get(options["interface"], options["interface"]),
        "overlay": command["overlay"],
        "live_reload": command["live_reload"],
        "patience": options.get("timeout_graceful_shutdown", _PATIENCE),
        "uvicorn": {name: value for name, value in options.items() if name not in ours},
    }
    root = _core.client_place({**_run.where(), "script": None})["root"]
    folders = [os.path.abspath(folder) for folder in options.get("reload_dirs", ())] or [root]
    for folder in folders:
        if not os.path.isdir(folder):
            raise FirehotError(f"there is no folder {folder}")
    return Plan(
        target=target,
        settings=settings,
        folders=tuple(Path(folder) for folder in folders),
        start_timeout=_config.read(Path(root, "pyproject.toml")).import_timeout,
        includes=tuple(options.get("reload_includes", ())),
        excludes=tuple(options.get("reload_excludes", ())),
    )
