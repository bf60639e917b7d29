"""`firehot run`, `pytest`, `shell` and `warm`: from the command line to the client, which is the engine's.

This stands between a user and every run, so it imports nothing that an interpreter has not loaded anyway.
"""

from __future__ import annotations

import os
import sys

from firehot import _core
from firehot.errors import FirehotError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, NoReturn

    Command = dict[str, Any]

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_DESCRIPTORS = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"
_MOST = 1024
"""Descriptors that are looked for where they can't be listed."""
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
_WATCH = "--watch"
"""Behind the first argument clap takes it for one of pytest's, which has none of that name."""
SAVED = "_FIREHOT_SAVED"
"""The variable by which `--watch` tells a run when the change was saved that it is for; no program sees it."""
_SHELL = "import code; code.interact(exitmsg='')"


def run(command: Command) -> int:
    """`firehot run`."""
    if command["watch"]:
        from firehot import _watch_command

        _watch_command.run(command)
    if "python" in command:
        _become_python(command["words"], command["python"])
    if command["debugpy"] is not None:
        return _run(request(_under_debugpy(command), "debugpy"))
    return _run(request(command, "run"))


def _under_debugpy(command: Command) -> Command:
    """The same program, run by debugpy, which waits for whoever attaches.

    Raises:
        FirehotError: There is no debugpy, or something else listens on the port.
    """
    from firehot import _targets

    if _targets.find("debugpy", sys.path) is None:
        raise FirehotError(f"there is no debugpy: {sys.executable} -m pip install debugpy")
    _try_port(command["debugpy"])
    kind, target = command["kind"], command["target"]
    if kind == "function":
        module, _, function = target.partition(":")
        call = f"import sys; from importlib import import_module as m; sys.exit(m({module!r}).{function}())"
        what = ["-c", call]
    else:
        what = {"module": ["-m", target], "code": ["-c", target]}.get(kind, [target])
    args = ["--listen", str(command["debugpy"]), "--wait-for-client", *what, *command["args"]]
    return command | {"kind": "module", "target": "debugpy", "args": args, "words": []}


def _try_port(port: int) -> None:
    """What debugpy itself says where something listens there is a traceback of thirty lines."""
    import socket

    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            raise FirehotError(f"debugpy can't listen on port {port}: {os.strerror(error.errno or 0)}") from error


def pytest(command: Command) -> int:
    """`firehot pytest`."""
    if command["watch"] or _WATCH in command["words"]:
        from firehot import _watch_command

        words = [word for word in command["words"] if word != _WATCH]
        _watch_command.pytest(command | {"words": words, "watch": True})
    return _run(pytest_request(command))


def pytest_request(command: Command) -> dict[str, Any]:
    """What the client is asked for by `firehot pytest`."""
    script = _script_of_pytest()
    what = {"kind": "module", "target": "pytest"} if script is None else {"kind": "script", "target": script}
    return request(command | what | {"options": [], "args": command["words"], "words": []}, "pytest")


def _script_of_pytest() -> str | None:
    """The command `pytest` of this interpreter, which puts another folder into `sys.path` than `python -m pytest`."""
    script = os.path.join(os.path.dirname(sys.executable), "pytest")
    try:
        with open(script, "rb") as file:
            head = file.read(1024)
    except OSError:
        return None
    # It may be a program of any kind that sets something up first.
    return script if b"python" in head.partition(b"\n")[0] and b"import" in head and b"pytest" in head else None


def shell(command: Command) -> int:
    """`firehot shell`."""
    from firehot import _targets

    if _targets.find("IPython", sys.path) is not None:
        what = {"kind": "module", "target": "IPython"}
    else:
        what = {"kind": "code", "target": _SHELL}
    return _run(request(command | what | {"options": [], "args": []}, "shell"))


def warm(command: Command) -> int:
    """`firehot warm`: builds the template and waits for it."""
    if "python" in command:
        raise FirehotError("there is no program to warm: name a script, -m MODULE, -c CODE or package.module:function")
    import json

    told: dict[str, Any] = json.loads(_core.client_warm(request(command, "run")) or "{}")
    if told.get("problem"):
        raise FirehotError(told["problem"])
    if told.get("failed"):
        raise FirehotError(f"the template could not be built: {told['failed']}")
    print(f"{told['target']}: {told['modules']} modules, {told['milliseconds']:,.0f} ms of imports")
    return 0


def is_disabled() -> bool:
    """Whether the user has turned it all off."""
    return os.environ.get("FIREHOT_DISABLE", "").strip().lower() not in ("", "0", "false", "no")


def restore_locale() -> None:
    """Takes back what an interpreter that starts in the locale "C" sets for the processes that it starts (PEP 538).

    The program's interpreter shall find the locale that this one has found, and do the same.
    """
    environ = os.environ
    if (
        sys.flags.utf8_mode
        and environ.get("LC_CTYPE") in _COERCED
        and not environ.get("LC_ALL")
        and environ.get("PYTHONUTF8") != "1"
        and environ.get("PYTHONCOERCECLOCALE") != "0"
    ):
        environ["LC_CTYPE"] = "C"


def _run(asked: dict[str, Any]) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    if is_disabled():
        _core.client_cold(asked, None)
    os._exit(_core.client_run(asked))


def _become_python(words: list[str], reason: str | None) -> NoReturn:
    if reason is not None and not is_disabled():
        print(f"firehot: running cold: {reason}", file=sys.stderr, flush=True)
    os.execv(sys.executable, [sys.executable, *words])


def where() -> dict[str, Any]:
    """Which interpreter and which firehot, for the client."""
    return {"executable": sys.executable, "prefix": sys.prefix, "package": _FOLDER}


def request(command: Command, asked: str) -> dict[str, Any]:
    """What the client is asked for."""
    kind = command["kind"]
    return {
        **where(),
        "kind": kind,
        "target": "-c" if kind == "code" else command["target"],
        "code": os.fsencode(command["target"]) if kind == "code" else b"",
        "args": command["args"],
        "options": command["options"],
        # Python has other words for a function.
        "words": [] if kind == "function" else command.get("words", []),
        "path": search_path(command["options"]),
        "asked": asked,
        "saved": _saved(),
        "descriptors": handed_down(),
    }


def _saved() -> float | None:
    try:
        return float(os.environ.pop(SAVED))
    except (KeyError, ValueError):
        return None


def handed_down() -> list[int]:
    """The descriptors above the standard ones that a program would inherit, lowest first: `<(command)` is one."""
    names: Iterable[str | int]
    try:
        names = os.listdir(_DESCRIPTORS)
    except OSError:
        names = range(_MOST)  # There is no /proc.
    found = []
    for name in names:
        try:
            if (fd := int(name)) > 2 and os.get_inheritable(fd):
                found.append(fd)
        except (OSError, ValueError):
            continue  # The listing's own.
    return sorted(found)


def search_path(options: list[str]) -> list[str]:
    """`sys.path` of an interpreter with these options, without a script's folder; empty where this one can't know.

    In this order: PYTHONPATH, the standard library from its archive on, what `site` has added.
    """
    entries = sys.path if getattr(sys.flags, "safe_path", False) else sys.path[1:]
    letters = {letter for option in options if option[1:2] not in ("X", "W", "-") for letter in option[1:]}
    if not letters & set("IEsS"):
        return list(entries)
    archive = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    start = next((at for at, entry in enumerate(entries) if os.path.basename(entry) == archive), None)
    if start is None:
        return []
    library = os.path.dirname(os.__file__)
    end = start + 1
    while end < len(entries) and entries[end] in (library, os.path.join(library, "lib-dynload")):
        end += 1
    before, standard, added = entries[:start], entries[start:end], entries[end:]
    if letters & set("IE"):
        before = []
    if "S" in letters:
        added = []
    elif letters & set("Is") and _has_user_folder(added):
        return []  # What its .pth files have added can't be told from the rest.
    return [*before, *standard, *added]


def _has_user_folder(entries: list[str]) -> bool:
    site = sys.modules.get("site")
    folder = getattr(site, "USER_SITE", None)
    return folder in entries
