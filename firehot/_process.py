"""What the template and its children both do with their own process. Standard library only."""

from __future__ import annotations

import fcntl
import gc
import io
import os
import signal
import sys
import types
import weakref
from collections.abc import Callable
from importlib.machinery import FileFinder, PathFinder
from posix import _exit, close, dup2, getppid
from typing import Any

plain_signal: Any = sys.modules["_signal"]
"""What `signal` stands on, without an enum member for each number: for a child, those are pages to copy."""

_SIG_BLOCK, _SIG_SETMASK, _SIG_IGN = int(signal.SIG_BLOCK), int(signal.SIG_SETMASK), int(signal.SIG_IGN)

_HIGH = 200
"""Own descriptors lie above this, out of the way of programs that count on the next free number."""
_PR_SET_PDEATHSIG = 1


def move_up(fd: int) -> int:
    """Moves a descriptor out of the way; it is closed on exec."""
    try:
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH)
    except OSError:
        # A limit below that.
        if fd > 2:
            os.set_inheritable(fd, False)
            return fd
        moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    close(fd)
    return moved


def set_handler(number: int, handler: Any) -> None:
    """As `signal.signal`."""
    # The default and the ignoring one are enum members there, and plain numbers here.
    plain_signal.signal(int(number), int(handler) if isinstance(handler, int) else handler)


def is_ignored(number: int) -> bool:
    """Whether the process ignores this signal."""
    handler: object = plain_signal.getsignal(number)
    return type(handler) is int and handler == _SIG_IGN


def set_mask(mask: set[int]) -> None:
    """Blocks these signals and no others."""
    plain_signal.pthread_sigmask(_SIG_SETMASK, mask)


def blocked_signals() -> set[int]:
    """Those that are blocked."""
    blocked: set[int] = plain_signal.pthread_sigmask(_SIG_BLOCK, ())
    return blocked


def open_null(fd: int) -> None:
    """Makes `fd` /dev/null, to be read."""
    null = os.open(os.devnull, os.O_RDONLY)
    if null != fd:
        dup2(null, fd)
        close(null)
    os.set_inheritable(fd, True)


def close_quietly(fd: int) -> None:
    """Closes what may not be there: a kqueue is not inherited by a fork."""
    try:
        close(fd)
    except OSError:
        return


def die_with_parent(parent: int, *, clear: bool = False) -> None:
    """Has the kernel kill this process when its parent dies (Linux; elsewhere the host does it by pid)."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, 0 if clear else signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the kernel was asked.
    if getppid() != parent:
        _exit(1)


def _prctl(*arguments: int) -> None:
    global _PRCTL
    if _PRCTL is None:
        _PRCTL = _find_prctl()
    function, call = _PRCTL
    call(function, arguments)


def _find_prctl() -> tuple[int, Callable[[int, tuple[int, ...]], int]]:
    """The C function, and how to call it: without `ctypes`, whose import costs much more."""
    native = _native()
    return native.dlsym(native.dlopen(None, 0), "prctl"), native.call_cdeclfunction


def native_function(library: str, name: str, argument: int) -> Callable[[], int] | None:
    """Calls `int name(int)` of a library that is loaded; `None` when it is not, or has no such function."""
    native = _native()
    try:
        function = native.dlsym(native.dlopen(library, os.RTLD_NOW | os.RTLD_NOLOAD), name)
    except (OSError, AttributeError):
        return None
    return lambda: int(native.call_cdeclfunction(function, (argument,)))


def flush_native() -> None:
    """Writes out what C code has buffered: `_exit` does not."""
    global _FFLUSH
    native = _native()
    if _FFLUSH is None:
        _FFLUSH = native.dlsym(native.dlopen(None, 0), "fflush")
    native.call_cdeclfunction(_FFLUSH, (None,))


def _native() -> Any:
    """What `ctypes` stands on."""
    if (loaded := sys.modules.get("_ctypes")) is not None:
        return loaded
    low: list[int] = []
    # From 3.5 on libffi opens its own file for good when it is loaded: that must not be the program's descriptor 3.
    while os.sysconf("SC_OPEN_MAX") > 2 * _HIGH and (not low or low[-1] < _HIGH):
        low.append(os.dup(0))
    import _ctypes

    for fd in low:
        close(fd)
    return _ctypes


def signal_descriptor() -> int:
    """Can be read while a blocked signal is pending (Linux)."""
    native = _native()
    function = native.dlsym(native.dlopen(None, 0), "signalfd")
    every = b"\xff" * _SIGSET
    fd: int = native.call_cdeclfunction(function, (-1, every, os.O_NONBLOCK | os.O_CLOEXEC))
    return fd


_SIGSET = 128
"""Bytes of `sigset_t`."""
_FFLUSH: int | None = None
_PRCTL: tuple[int, Callable[[int, tuple[int, ...]], int]] | None = None


def disown_finalizers() -> list[Any]:
    """Takes the template's `weakref.finalize` objects out of the exit of children; returns them for the template's own.

    They delete temporary folders made by imports, which the next child needs.
    """
    owned = []
    registry: dict[Any, Any] = weakref.finalize._registry  # type: ignore[attr-defined]
    for finalizer, info in list(registry.items()):
        if info.atexit:
            info.atexit = False
            owned.append(finalizer)
    return owned


def load_cloudpickle(folder: str) -> None:
    """Makes cloudpickle importable, from the host's copy unless the path leads to one."""
    if "cloudpickle" in sys.modules:
        return
    from importlib.util import module_from_spec, spec_from_file_location

    # The template runs no code of the project: a `uuid.py` beside the script must not be found by this import.
    path, library = sys.path[:], os.path.dirname(os.__file__)
    sys.path[:] = [entry for entry in path if entry in (library, os.path.join(library, "lib-dynload"))]
    location = os.path.join(folder, "__init__.py")
    spec = spec_from_file_location("cloudpickle", location, submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        raise ImportError(f"no cloudpickle in {folder}")
    module = module_from_spec(spec)
    sys.modules["cloudpickle"] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules["cloudpickle"]
        raise
    finally:
        sys.path[:] = path


def fresh_main(state: dict[str, Any]) -> None:
    """A new `__main__` that knows the host's script, so that multiprocessing works inside."""
    main = types.ModuleType("__main__")
    main.__dict__["__builtins__"] = sys.modules["builtins"]
    if state["main_file"] is not None:
        main.__file__ = state["main_file"]
    if state["main_name"] is not None:
        from importlib.machinery import ModuleSpec

        main.__spec__ = ModuleSpec(state["main_name"], None, origin=state["main_file"])
        main.__package__ = main.__spec__.parent
    set_main(main)


def set_main(main: types.ModuleType) -> None:
    """Makes a module the main one, by both names if `multiprocessing` has given it a second one."""
    for name in ("__main__", "__mp_main__"):
        if name == "__main__" or name in sys.modules:
            sys.modules[name] = main


def invalidate_finders() -> None:
    """`importlib.invalidate_caches`, without its import of `importlib.metadata` (from 3.13 on).

    That takes 10 ms, to empty a cache that nobody can have filled.
    """
    for finder in sys.meta_path:
        if finder is PathFinder and _METADATA not in sys.modules:
            sys.modules[_METADATA] = _NO_METADATA
            try:
                finder.invalidate_caches()
            finally:
                del sys.modules[_METADATA]
        elif (invalidate := getattr(finder, "invalidate_caches", None)) is not None:
            invalidate()


def forget_finders() -> int:
    """Drops what the finders of folders remember, and lines of source files; returns how many entries have no file.

    A child would have to go through all of it to find out that it may be old, and write to its pages. Both are made
    anew when they are needed, as after a cold start.
    """
    finders = sys.path_importer_cache
    for path in [path for path, finder in finders.items() if finder is None or type(finder) is FileFinder]:
        del finders[path]
    if (linecache := sys.modules.get("linecache")) is None:
        return 0
    for file in [file for file, entry in linecache.cache.items() if len(entry) > 1 and entry[1] is not None]:
        del linecache.cache[file]
    return len(linecache.cache)


class _NoCache:
    @staticmethod
    def invalidate_caches() -> None:
        """Nothing is in it."""


_METADATA = "importlib.metadata"
_NO_METADATA: Any = types.ModuleType(_METADATA)
_NO_METADATA.MetadataPathFinder = _NoCache


def flush_streams() -> None:
    """Writes out what Python has buffered for stdout and stderr."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except Exception:
            continue


def flush_files() -> None:
    """Flushes files that the call left open. The template's objects are frozen, so that they are not among these."""
    for item in gc.get_objects():
        # `type`, not isinstance: asking a lazy object for its class may wake it.
        if issubclass(type(item), (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
            try:
                if not item.closed:
                    item.flush()
            except Exception:
                continue
