"""What a template and its children need to know of the host's interpreter, read at the moment that it counts."""

from __future__ import annotations

import errno
import os
import pickle
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from firehot import _call
from firehot.errors import TemplateError

Launch: TypeAlias = tuple[str, list[str], list[tuple[str, str]], str, list[str]]
"""Executable, arguments, environment, working directory, `sys.path`."""

_BOOTSTRAP = (
    # The folder of this firehot comes as an argument: no entry of sys.path can put another one, or a module that hides
    # one of the standard library, in its place.
    # What is loaded at this point is loaded in any interpreter.
    "import sys; at_start = frozenset(sys.modules); sys.path[:1] = [p for p in sys.path[:1] if p]; "
    "from importlib.util import module_from_spec as m, spec_from_file_location as s; "
    "f = sys.argv[1]; "
    "i = s('firehot', f + '/__init__.py', submodule_search_locations=[f]); "
    "sys.modules['firehot'] = p = m(i); i.loader.exec_module(p); "
    "from firehot._template import main; main()"
)
_FLAGS = {
    "debug": "d",
    "dont_write_bytecode": "B",
    "no_site": "S",
    "verbose": "v",
    "bytes_warning": "b",
    "quiet": "q",
    "optimize": "O",
}
# `python --help-env`, without those that are read later (PYTHONBREAKPOINT, PYTHONASYNCIODEBUG, PYTHONSTARTUP,
# PYTHONINSPECT); the dynamic loader's; the C library's.
_PYTHON_AT_START = """
    CASEOK COERCECLOCALE DEBUG DEVMODE DONTWRITEBYTECODE DUMPREFS EXECUTABLE FAULTHANDLER HASHSEED HOME INTMAXSTRDIGITS
    IOENCODING LEGACYWINDOWSFSENCODING LEGACYWINDOWSSTDIO MALLOC MALLOCSTATS NODEBUGRANGES NOUSERSITE OPTIMIZE PATH
    PERFSUPPORT PLATLIBDIR PROFILEIMPORTTIME PYCACHEPREFIX SAFEPATH TRACEMALLOC UNBUFFERED USERBASE UTF8 VERBOSE
    WARNDEFAULTENCODING WARNINGS _BASIC_REPL _COLORS _CONTEXT_AWARE_WARNINGS _CPU_COUNT _DISABLE_REMOTE_DEBUG
    _FROZEN_MODULES _GIL _HISTORY _JIT _LAZY_IMPORTS _PERF_JIT_SUPPORT _PRESITE _THREAD_INHERIT_CONTEXT _TLBC
"""
START_VARIABLES = (
    *(f"PYTHON{name}" for name in _PYTHON_AT_START.split()),
    "LD_*",
    "DYLD_*",
    "GLIBC_TUNABLES",
    "MALLOC_*",
    "LC_ALL",
    "LC_CTYPE",
    "LANG",
)
"""Environment variables that only count when an interpreter starts; `*` stands for any end."""
_START_ONLY = re.compile("|".join(name.replace("*", ".+") for name in START_VARIABLES))


def launch(state: Mapping[str, Any] | None = None) -> Launch:
    """What a template has to be started with to be what this interpreter is, or what a call with this state shall find.

    A call's state is read once: another thread may change the environment at any moment.

    Raises:
        TemplateError: There is no interpreter to start, or no working directory.
    """
    if not sys.executable:
        raise TemplateError(
            "sys.executable is empty: this program embeds Python; set sys.executable to a Python of the same version"
        )
    if state is None:
        state = {"environ": dict(os.environ), "cwd": _cwd(), "path": search_path()}
    return launch_of(sys.executable, interpreter_options(), state)


def launch_of(executable: str, options: Sequence[str], state: Mapping[str, Any]) -> Launch:
    """The same for another program than this one: its interpreter, python's own options, and its state."""
    arguments = [*options, "-c", _BOOTSTRAP, str(Path(__file__).parent), "firehot._template"]
    return executable, arguments, list(state["environ"].items()), state["cwd"], state["path"]


def setup(path: list[str], fork: dict[str, Any], *, learn: bool, state: Mapping[str, Any] | None = None) -> bytes:
    """The body of `setup`: the rest of what a template has to know.

    `fork` is what it has to know of forks; with `learn` its children tell what they import themselves; `state` is that
    of the program it is for, this one by default.
    """
    if state is None:
        state = {"argv": list(sys.argv), "umask": _umask(), **_main()}
    told = {name: state[name] for name in ("argv", "umask", "main_file", "main_name")}
    return pickle.dumps({**told, "path": path, "fork": fork, "learn": learn}, protocol=pickle.HIGHEST_PROTOCOL)


def state(
    *,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str | None] | None = None,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What a child takes over from the host at the moment of exec, and what it would without `cwd` and `env`.

    The second is `None` when there is neither.

    Raises:
        ValueError: `env` sets a variable that only counts when an interpreter starts.
        TemplateError: The working directory was deleted.
        FileNotFoundError: There is no folder `cwd`.
    """
    if cwd is not None and not os.path.isdir(cwd):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to run in", os.fspath(cwd))
    host = dict(os.environ)
    own = {
        "environ": _environment(host, env),
        "cwd": os.path.abspath(os.fspath(cwd)) if cwd is not None else _cwd(),
        "umask": _umask(),
        "argv": list(sys.argv),
        "orig_argv": list(sys.orig_argv),
        "path": search_path(),
        "ignored_signals": _ignored_signals(),
        **_main(),
    }
    if cwd is None and not env:
        return own, None
    try:
        folder = own["cwd"] if cwd is None else _cwd()
    except TemplateError:
        folder = own["cwd"]  # The host's own directory is gone; the call has another.
    return own, {"environ": host, "cwd": folder, "path": own["path"]}


def interpreter_options() -> list[str]:
    """The options that make another interpreter behave as this one: see `python --help-all`."""
    options = [
        "-" + letter * int(getattr(sys.flags, flag))
        for flag, letter in _FLAGS.items()
        if int(getattr(sys.flags, flag, 0)) > 0
    ]
    if getattr(sys.__stdout__, "write_through", False):
        options.append("-u")
    if sys.flags.isolated:
        options.append("-I")
    else:
        if sys.flags.ignore_environment:
            options.append("-E")
        if sys.flags.no_user_site:
            options.append("-s")
        if getattr(sys.flags, "safe_path", False):
            options.append("-P")
    for name, value in sys._xoptions.items():
        options += ["-X", name if value is True else f"{name}={value}"]
    # `-X dev` and `-b` add these by themselves.
    implied = {"default"} if sys.flags.dev_mode else set()
    implied |= {"default::BytesWarning", "error::BytesWarning"} if sys.flags.bytes_warning else set()
    from_environment = os.environ.get("PYTHONWARNINGS", "").split(",")
    options += [f"-W{option}" for option in sys.warnoptions if option not in implied and option not in from_environment]
    return options


def _environment(host: Mapping[str, str], changes: Mapping[str, str | None] | None) -> dict[str, str]:
    environ = dict(host)
    for name, value in (changes or {}).items():
        given: tuple[object, object] = (name, value)
        if not isinstance(given[0], str) or not isinstance(given[1], (str, type(None))):
            raise TypeError(f"env maps names to text, not {name!r} to {value!r}")
        if _START_ONLY.fullmatch(name) and value != environ.get(name):
            raise ValueError(
                f"env can't set {name}: it only counts when an interpreter starts. "
                "Set it for the whole program, or start a new interpreter with subprocess."
            )
        if value is None:
            environ.pop(name, None)
        else:
            environ[name] = value
    return environ


def _main() -> dict[str, str | None]:
    return {"main_file": _call.main_file(), "main_name": _call.main_name()}


def search_path() -> list[str]:
    """The entries of `sys.path` that count."""
    entries: list[object] = list(sys.path)  # Programs put Path objects there; the import system passes them over.
    return [entry for entry in entries if isinstance(entry, str)]


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError as error:
        raise TemplateError(
            f"the working directory was deleted ({error}); change to one that exists with os.chdir"
        ) from error


def _umask() -> int:
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"Umask:"):
                    return int(line.split()[1], 8)
    except (OSError, ValueError):
        pass
    # The only portable way is to set it. For that moment files of other threads are made private, not public.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


_SIGNALS = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_IGNORED_BY_PYTHON = {getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)}


def _ignored_signals() -> list[int]:
    """Signals that a process started by the host would ignore."""
    return [
        int(number)
        for number in _SIGNALS
        if number not in _IGNORED_BY_PYTHON and signal.getsignal(number) is signal.SIG_IGN
    ]
