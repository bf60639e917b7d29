"""The child: takes over its stdio and the host's state, runs one call, tells how it ended, and ends as Python would.

Runs right after a fork of the template. Standard library only; cloudpickle when the call holds a function by value.
"""

from __future__ import annotations

import _socket
import atexit
import io
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from posix import _exit, getpid
from typing import TYPE_CHECKING, Any, NoReturn

import firehot
from firehot import _call, _learn, _process, _program, _rust_child, _spare, _wire, hooks

if TYPE_CHECKING:
    from firehot import _care

_STDIO = 3
_DESCRIPTORS = 253
"""That may come with a call: a program inherits others, too."""
_TEXT = 1 << 20
"""Characters of an exception's text and traceback that are sent; the exception itself is sent whole."""


class Inherited:
    """What the template's imports and its start left, which every child has to know."""

    def __init__(self, mask: set[int], at_start: frozenset[str]) -> None:
        """Before the preload: the signal mask that the host gave, and the modules of any interpreter."""
        self.mask = mask
        self.at_start = at_start
        self.ignored = frozenset(number for number in _program.SIGNALS if _process.is_ignored(number))
        self.modules: frozenset[str] = frozenset()
        self.sigchld: Any = signal.SIG_DFL
        self.lines = 0
        self.locale = os.environ.get("LC_CTYPE")
        self.environ_at_start: dict[str, str] = {}
        self.environ_changes: dict[str, str | None] = {}
        self.path_before: list[str] = []
        self.path_after: list[str] = []
        self.care: _care.Care | None = None
        self.learn = False

    def take_over(self, environ: dict[str, str], path: list[str]) -> None:
        """Makes the environment and the path what the host has now, and what imports have changed in them."""
        _set_environ(environ, self)
        sys.path[:] = self.whole_path(path)
        # What the host has changed since counts from now on.
        before = self.environ_at_start
        self.environ_changes = {
            name: value for name, value in self.environ_changes.items() if environ.get(name) == before.get(name)
        }
        self.environ_at_start = environ

    def whole_path(self, path: list[str]) -> list[str]:
        """The host's path with what imports have added."""
        before = (entry for entry in self.path_before if entry not in path)
        return [*before, *path, *(entry for entry in self.path_after if entry not in path)]

    def note_changes(self, environ: dict[str, str], path: list[str]) -> None:
        """After a preload: what imports changed counts in children as it would after a cold start."""
        now = dict(os.environ)
        for name in {*environ, *now}:
            if environ.get(name) != now.get(name):
                self.environ_changes[name] = now.get(name)
        in_front = next((i for i, entry in enumerate(sys.path) if entry in path), 0)
        new = [entry for entry in sys.path if entry not in path]
        before = [entry for entry in sys.path[:in_front] if entry in new]
        self.path_before = [*before, *self.path_before]
        self.path_after = [*self.path_after, *(entry for entry in new if entry not in before)]


def run(fd: int, template: int, host: int, inherited: Inherited, *, ahead: bool) -> NoReturn:
    """The whole life of a child; `fd` is its private socket. `ahead` of its call it is a spare."""
    _process.die_with_parent(template)
    sock = _process.move_up(fd)
    try:
        if ahead:
            with suppress(Exception):
                _rehearse(inherited, sock)
            _spare.wait(sock, (template, host))
        body, others = _receive_call(sock)
    except (EOFError, OSError):
        _exit(1)  # The host is gone, or has nothing to run.
    context, travelling, call = _call.split(body)
    state: dict[str, Any] = pickle.loads(context)
    by_value = _call.is_by_value(body)
    del body
    teller = _learn.Teller(sock, inherited.whole_path(state["path"])) if inherited.learn else None
    if "program" in state:
        _program.run(state, partial(_enter, state, inherited), inherited, teller, others)
    try:
        code = _run_call(sock, state, travelling, call, by_value, inherited)
    except KeyboardInterrupt:
        code = -signal.SIGINT
    end(code, teller)


def _rehearse(inherited: Inherited, sock: int) -> None:
    """Does what can be done before the call, and what the call will do, for nothing.

    What is written to for the first time after a fork has to be copied, page by page: here that costs nobody's time.
    Nothing stays of it but the seeds, which are for this one process. It is cut short where the call is there.
    """
    if inherited.care is not None:
        inherited.care.reseed()
    if _spare.is_called(sock):
        return
    state = {
        "environ": dict(os.environ),
        "main_file": None,
        "main_name": None,
    }
    body = _wire.rehearse(_call.rehearse(state))
    context, _, call = _call.split(body)
    _set_environ(pickle.loads(context)["environ"], inherited)
    _process.fresh_main(state)
    if _spare.is_called(sock):
        return
    for _ in _hidden(inherited):
        continue
    finders = set(sys.path_importer_cache)
    try:
        function, args, kwargs = _call.load(call)
        header, body = _pickle_result(function(*args, **kwargs), by_value=False)
        _wire.encode(header, len(body))
    finally:
        sys.modules.pop("firehot._rehearsal", None)
        vars(firehot).pop("_rehearsal", None)
        for path in set(sys.path_importer_cache) - finders:
            del sys.path_importer_cache[path]


def _receive_call(sock: int) -> tuple[bytes, list[int]]:
    """Waits for the call, and takes over the stdin, stdout and stderr that come with it; the others are returned.

    The template's own are closed first: so there is room for three even where no other descriptor is to be had, and
    since the lowest free numbers are given, they come where they belong.
    """
    stream = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, sock)
    for standard in range(_STDIO):
        _process.close_quietly(standard)
    _, body, found = _wire.receive_with_descriptors(stream, _DESCRIPTORS)
    stream.detach()
    if found[:_STDIO] != [0, 1, 2]:
        raise OSError("stdin, stdout and stderr did not come with the call")
    return body, found[_STDIO:]


# -- before the call -----------------------------------------------------------------------------


def _enter(state: dict[str, Any], inherited: Inherited) -> None:
    """Makes this process what the host is at the moment of exec.

    Raises:
        OSError: The working directory is gone.
    """
    _set_environ(state["environ"], inherited)
    os.umask(state["umask"])
    for number in state["ignored_signals"]:
        _process.set_handler(number, signal.SIG_IGN)
    sys.path[:] = inherited.whole_path(state["path"])
    os.chdir(state["cwd"])
    if (processes := sys.modules.get("multiprocessing.process")) is not None:
        vars(processes)["ORIGINAL_DIR"] = state[
            "cwd"
        ]  # Where it was imported: a spawned process looks for modules there.
    if "program" in state:
        _program.enter(state["program"])
    else:
        _enter_call(state)
    _uncover(inherited)
    _process.invalidate_finders()
    # What is no file's (a dataclass's methods, say) has nothing to be checked by, but much to be looked at.
    if (linecache := sys.modules.get("linecache")) is not None and len(linecache.cache) != inherited.lines:
        linecache.checkcache()
    if "extensions" in state:
        _rust_child.install(state["extensions"])
    _process.set_mask(inherited.mask)
    if inherited.care is not None:
        inherited.care.enter_child()


def _enter_call(state: dict[str, Any]) -> None:
    sys.argv[:] = state["argv"]
    sys.orig_argv[:] = state["orig_argv"]
    _process.fresh_main(state)
    for fd, stream in ((1, sys.__stdout__), (2, sys.__stderr__)):
        # A program started with -u writes through; the others buffer lines on a terminal only. stderr always does.
        if isinstance(stream, io.TextIOWrapper) and not stream.write_through:
            stream.reconfigure(line_buffering=fd == 2 or os.isatty(fd))


def _set_environ(wanted: dict[str, str], inherited: Inherited) -> None:
    wanted = dict(wanted)
    for name, value in inherited.environ_changes.items():
        if wanted.get(name) != inherited.environ_at_start.get(name):
            continue  # The host has changed it since: that counts.
        if value is None:
            wanted.pop(name, None)
        else:
            wanted[name] = value
    if inherited.locale and not wanted.get("LC_ALL") and wanted.get("LC_CTYPE", "") in ("", "C", "POSIX"):
        # A template has its program's locale. So this was set as the interpreter started (PEP 538).
        wanted["LC_CTYPE"] = inherited.locale
    environ = os.environ
    before = dict(environ)
    if before == wanted:
        return
    for name in before:
        if name not in wanted:
            del environ[name]
    for name, value in wanted.items():
        if before.get(name) != value:
            environ[name] = value
    if wanted.get("TZ") != before.get("TZ"):
        import time

        time.tzset()


def _uncover(inherited: Inherited) -> None:
    """Takes modules out of `sys.modules` that another one of the same name hides in this process.

    Only entries of the path before the standard library's can hide what the template has loaded: the folder of the
    script, mostly, with a `json.py` or a `utils.py` of the project in it. A folder that an import has put in front came
    when they were loaded already, and hides nothing (ray brings copies of what is installed).
    """
    for name in list(_hidden(inherited)):
        _forget(name)


def _hidden(inherited: Inherited) -> Iterator[str]:
    library = os.path.dirname(os.__file__)
    passed: list[str] = []
    for entry in sys.path:
        folder = os.path.abspath(entry)
        if folder == library:
            return
        passed.append(folder + os.sep)
        if entry in inherited.path_before:
            continue
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            stem, _, suffix = name.partition(".")
            module = sys.modules.get(stem)
            if module is None or stem in inherited.at_start or stem == "__main__":
                continue
            file = getattr(module, "__file__", None)
            if not isinstance(file, str) or os.path.abspath(file).startswith(tuple(passed)):
                continue
            if suffix == "py" or os.path.isfile(os.path.join(folder, stem, "__init__.py")):
                yield stem


def _forget(package: str) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]


# -- the call ------------------------------------------------------------------------------------


def _run_call(
    sock: int, state: dict[str, Any], travelling: memoryview, call: memoryview, by_value: bool, inherited: Inherited
) -> int:
    """Runs the call and sends its outcome; returns the exit code. `sys.exit` sends nothing: the exit code says it."""
    own = getpid()
    try:
        _enter(state, inherited)
        hooks.REGISTRY.run_travelling(_call.load_hooks(travelling))
        function, args, kwargs = _call.load(call)
        result = function(*args, **kwargs)
        del function, args, kwargs
        header, body = _pickle_result(result, by_value)
        del result
        code = 0
    except SystemExit as error:
        return _exit_code(error)
    except BaseException as error:
        if getpid() != own:
            _print_exception(error)
            return 1
        header, body = _pickle_exception(error)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    # What was written before the return is in the pipe before the outcome is in the socket.
    _process.flush_streams()
    if getpid() != own:
        return code  # The function has forked, and this is not the process that was called.
    try:
        _wire.send(sock, header, body)
    except (OSError, _wire.BadFrame) as error:
        print(f"firehot: the result could not be sent: {error}", file=sys.stderr)
        return 1
    return code


def _pickle_result(result: object, by_value: bool) -> tuple[dict[str, Any], bytes]:
    name = type_name(result)
    try:
        return {"type": "returned", "type_name": name}, _dumps(result, by_value)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return {"type": "unpicklable", "type_name": name, "error": text}, b""


def _pickle_exception(error: BaseException) -> tuple[dict[str, Any], bytes]:
    import traceback

    if error.__traceback__ is not None:
        # The first entry is this file's.
        error = error.with_traceback(error.__traceback__.tb_next)
    lines = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        text = str(error)
    except Exception:
        text = "(its text can't be made)"
    try:
        body = _dumps(error.with_traceback(None), by_value=False)
    except Exception:
        body = b""
    header = {
        "type": "raised",
        "type_name": type_name(error),
        "text": _cut(text),
        "traceback": _cut(lines),
    }
    return header, body


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT else f"{text[: _TEXT // 2]}\n[...]\n{text[-_TEXT // 2 :]}"


def _dumps(value: object, by_value: bool) -> bytes:
    try:
        return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception:
        cloudpickle = sys.modules.get("cloudpickle")
        # Lambdas and local classes can go back the way they came.
        if cloudpickle is None or not by_value:
            raise
        body: bytes = cloudpickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        return body


def type_name(value: object) -> str:
    """`package.module.Class` of a value's type."""
    kind = type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


def _exit_code(error: SystemExit) -> int:
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


# -- the end -------------------------------------------------------------------------------------


def end(code: int, teller: _learn.Teller | None = None) -> NoReturn:
    """Ends as the interpreter does, but leaves memory and the template's objects as they are.

    Threads are waited for, exit functions run and files flushed. Destructors do not run: most of what they would
    destroy belongs to the template. What the call has imported is told first, since a child that waits for its threads
    may be killed at it; then what its threads and exit functions have.
    """
    try:
        if teller is not None:
            teller.tell()
        shutdown: Callable[[], None] = threading._shutdown  # type: ignore[attr-defined]
        shutdown()
    except BaseException as error:
        _print_exception(error)
    try:
        atexit._run_exitfuncs()
        if teller is not None:
            teller.tell()
    except BaseException as error:
        _print_exception(error)
    _process.flush_files()
    _process.flush_streams()
    if code < 0:
        _process.set_handler(-code, signal.SIG_DFL)
        os.kill(getpid(), -code)
    _exit(code)


def _print_exception(error: BaseException) -> None:
    sys.excepthook(type(error), error, error.__traceback__)
