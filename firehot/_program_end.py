"""The end of a program in a child, in the order of `Py_RunMain` and `Py_FinalizeEx`. Standard library only.

What was the program's own is destroyed as CPython does it; what the template has loaded is left as it is.
"""

from __future__ import annotations

import atexit
import builtins
import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from posix import _exit, getpid
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from firehot import _process

if TYPE_CHECKING:
    from firehot._learn import Teller

_FLUSH_FAILED = 120
_FLUSHING = "Exception ignored while flushing sys.stdout"
_FLUSHING_3_13 = "Exception ignored on flushing sys.stdout"
_VERSION = sys.version_info[:2]
_EXIT_RETURNS = sys.version_info >= (3, 14, 7) or (3, 13, 15) <= sys.version_info < (3, 14)
"""Before, `sys.exit` ended the process in the middle of the script's run (python/cpython issue 152132)."""
# From before the program: a debugger puts functions there that complain of whoever else calls them.
_settrace, _setprofile = sys.settrace, sys.setprofile

Step: TypeAlias = Callable[[], object]
Tracing: TypeAlias = tuple[Any, Any]
_UNTRACED: Tracing = (None, None)


def finish(
    template: frozenset[str],
    teller: Teller | None,
    raised: list[BaseException | None],
    *,
    own_file: bool,
    tracing: Tracing = (None, None),
) -> NoReturn:
    """Ends the process as the interpreter would after the program: its text, its threads, its objects, its status.

    Args:
        template: The modules that are not the program's.
        teller: Tells what the program has imported.
        raised: What the program ended with; it is taken out, since it holds objects of the program.
        own_file: `__file__` was set for a script, and is taken away again.
        tracing: What the program had given to `sys.settrace` and `sys.setprofile`.
    """
    status = _conclude(raised, own_file, tracing)
    if teller is not None:
        teller.tell()
    _wait_for_threads()
    _call(tracing, atexit._run_exitfuncs)
    if teller is not None:
        teller.tell()
    failed = _flush_standard_streams()
    # Threads that still run, daemons, would stumble over what is taken from them. Python stops them first.
    if len(sys._current_frames()) == 1:
        _tear_down(template)
    _process.flush_files()
    _process.flush_streams()
    _process.flush_native()
    if status < 0:
        _process.set_handler(-status, signal.SIG_DFL)
        os.kill(getpid(), -status)
        _exit(128 - status)  # It is blocked.
    _exit(_FLUSH_FAILED if failed else status)


# -- what the program ended with -----------------------------------------------------------------


def _conclude(raised: list[BaseException | None], own_file: bool, tracing: Tracing) -> int:
    """Shows the exception, if any; the exit status, negative for a signal."""
    error = raised.pop()
    if own_file:
        for stream in (sys.stderr, sys.stdout):
            with suppress(BaseException):
                stream.flush()
    is_exit = isinstance(error, SystemExit)
    status = 0 if error is None else _exit_status(error) if is_exit else _show(error, tracing)
    if own_file and (not is_exit or _EXIT_RETURNS):
        main = sys.modules.get("__main__")
        for name in ("__file__", "__cached__"):
            if main is not None:
                vars(main).pop(name, None)
    return status


def _show(error: BaseException, tracing: Tracing) -> int:
    """As `PyErr_Print`."""
    trace = error.__traceback__
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    if _VERSION >= (3, 12):
        sys.__dict__["last_exc"] = error
    hook: Any = getattr(sys, "excepthook", None)
    sys.audit("sys.excepthook", hook, type(error), error, trace)
    if hook is None:
        _write("sys.excepthook is missing\n")
        sys.__excepthook__(type(error), error, trace)
    else:
        second = _call(tracing, hook, type(error), error, trace)
        if isinstance(second, SystemExit):
            return _exit_status(second)
        if second is not None:
            _write("Error in sys.excepthook:\n")
            sys.__excepthook__(type(second), second, second.__traceback__)
            _write("\nOriginal exception was:\n")
            sys.__excepthook__(type(error), error, trace)
    interrupted = isinstance(error, KeyboardInterrupt) if _VERSION >= (3, 14) else type(error) is KeyboardInterrupt
    return -signal.SIGINT if interrupted else 1


def _call(tracing: Tracing, function: Callable[..., object], *args: object) -> BaseException | None:
    """What the call raises, without the frame of this function."""
    tracer, profiler = tracing
    try:
        _setprofile(profiler)
        _settrace(tracer)
        function(*args)
    except BaseException as error:
        trace = error.__traceback__
        return error.with_traceback(trace.tb_next if trace is not None else None)
    finally:
        _settrace(None)
        _setprofile(None)
    return None


def _exit_status(error: BaseException) -> int:
    try:
        code: object = error.code  # type: ignore[attr-defined]
    except BaseException:
        code = error
    if code is None:
        return 0
    if isinstance(code, int):
        # What is no C long counts as -1.
        return code & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF
    with suppress(BaseException):
        _write(str(code))
    _write("\n")
    return 1


def _write(text: str) -> None:
    with suppress(BaseException):
        if sys.stderr is None:
            os.write(2, text.encode(errors="backslashreplace"))
        else:
            sys.stderr.write(text)


def _ignore(error: BaseException, message: str | None, item: object) -> None:
    """As `PyErr_WriteUnraisable`: what nobody can be told of."""

    class Raising:
        def __del__(self) -> None:
            raise ValueError

    seen: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, seen.append
    Raising()  # Nothing else makes the type of a hook's argument.
    sys.unraisablehook = hook
    arguments = type(seen.pop())((type(error), error, error.__traceback__, message, item))
    _call(_UNTRACED, hook, arguments)


# -- threads and streams -------------------------------------------------------------------------


def _wait_for_threads() -> None:
    error = _call(_UNTRACED, threading._shutdown)  # type: ignore[attr-defined]
    if error is not None:
        message = "Exception ignored on threading shutdown" if _VERSION >= (3, 14) else None
        _ignore(error, message, threading if _VERSION < (3, 13) else None)


def _flush_standard_streams() -> bool:
    """As `flush_std_files`: whether one could not be flushed. Nothing is said of stderr."""
    failed = False
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        if stream is None or _is_closed(stream):
            continue
        error = _call(_UNTRACED, stream.flush)
        failed |= error is not None
        if error is not None and name == "stdout":
            words = None if _VERSION < (3, 13) else _FLUSHING_3_13 if _VERSION < (3, 14) else _FLUSHING
            _ignore(error, words, stream if words is None else None)
    return failed


def _is_closed(stream: Any) -> bool:
    try:
        return bool(stream.closed)
    except Exception:
        return False


# -- objects -------------------------------------------------------------------------------------


def _tear_down(template: frozenset[str]) -> None:
    """Destroys what only the program knows: its modules first, then what refers to itself, then what modules hold.

    As `finalize_modules`, for the modules that were imported since the fork. What the template's modules hold stays.
    """
    modules: dict[str, Any] = sys.modules
    names = ["__main__", *_new_modules(template)]
    kept = [(name, weakref.ref(modules[name])) for name in names if issubclass(type(modules.get(name)), ModuleType)]
    if gc.isenabled():
        # What nobody can reach by now still finds all of its modules.
        _destroy([_collect])
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, name, getattr(sys, f"__{name}__"))
    _destroy(
        [
            *(partial(sys.__dict__.pop, name, None) for name in _LAST),
            partial(builtins.__dict__.pop, "_", None),
            # What destructors warn of and fail with is put into words without these.
            *(partial(modules.__setitem__, name, None) for name in ("warnings", "io")),
            *(partial(modules.__setitem__, name, None) for name, _ in kept),
            _collect,
        ]
    )
    _destroy([step for _, reference in reversed(kept) for step in _clearing(reference())])
    _destroy([_collect])


def begin() -> None:
    """The program begins."""
    global _older
    _older = _older_collections()


def _collect() -> None:
    """Destroys what refers to itself, of all that was made since the program began.

    A full collection empties the interpreter's free lists as well, and so writes to pages that are shared with the
    template: most of what the end of a short program takes where much is loaded. Where nothing of the program's
    has come into the oldest generation, a collection of the younger ones finds the same. (3.14 has two.)
    """
    has_old = _VERSION >= (3, 14) or _older_collections() != _older
    gc.collect(2 if has_old else 1)


def _older_collections() -> list[int]:
    return [stats["collections"] for stats in gc.get_stats()[1:]]


_older: list[int] = []


def _new_modules(template: frozenset[str]) -> list[str]:
    """In the order of their imports. They stand at the end; going through all names means writing to their pages."""
    found: list[str] = []
    known = 0
    for name in reversed(sys.modules):
        if name not in template:
            found.append(name)
            known = 0
        elif (known := known + 1) > _ENOUGH:
            break
    return found[::-1]


_ENOUGH = 32
"""Modules of the template in a row: a program may have taken some out, and imported them again."""


def _clearing(module: ModuleType | None) -> Iterable[Step]:
    """As `_PyModule_Clear`: first the names with one underscore, then the others."""
    if module is None:
        return
    contents = vars(module)
    names = [name for name in contents if type(name) is str and name != "__builtins__"]
    for private in (True, False):
        for name in names:
            if (name[:1] == "_" and name[1:2] != "_") == private and contents[name] is not None:
                yield partial(contents.__setitem__, name, None)


_LAST = ("last_exc", "last_type", "last_value", "last_traceback")
# Warnings of destructors are told with the innermost frame: without one, as at the end of an interpreter, as of `sys`.
_loop = compile("for step in steps: step()", "sys" if _VERSION < (3, 13) else "<sys>", "exec").replace(
    co_firstlineno=1 if _VERSION < (3, 13) else 0
)


def _destroy(steps: list[Step]) -> None:
    exec(_loop, {"__name__": "sys", "__builtins__": builtins, "steps": steps})
