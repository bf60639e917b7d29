"""What imports do that children must not share: found after each import of the preload. Standard library only.

A fork shares the open descriptions of files, not copies of them: two children that read one socket, write at one file
offset or wait on one epoll set disturb each other and their template. Each effect is told once, after the import that
had it, with the module whose body was running where an audit event shows it.

Effect = {"name": what was being imported, "kind", "detail", "importer", "action"}; whatever its action, but for
"kept", the package has to be left out: "undone" says that the template itself is as it was before.
"""

from __future__ import annotations

import os
import signal
import sys
import weakref
from _signal import getsignal  # type: ignore[import-not-found]
from collections.abc import Callable, Iterable
from os import umask
from posix import getcwd
from typing import Any, TypeAlias

from firehot import _audit, _descriptors, _process, _strays

Effect: TypeAlias = dict[str, Any]
Entry: TypeAlias = dict[str, Any]

LEAVE_OUT, KEPT, UNDONE = "leave-out", "kept", "undone"

_SIGNALS = sorted(int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_WRITES = os.O_WRONLY | os.O_RDWR
_PATCHERS = (("gevent.monkey", "saved"), ("eventlet.patcher", "already_patched"))
# Standard-library modules that register one exit function each when they are imported: harmless in a child.
_REGISTER_EXITS = ("logging", "multiprocessing.util")


class Watch:
    """Compares this process with what it was before; made before the preload, `close`d after it."""

    def __init__(self, safe: Iterable[str] = (), harmless: Iterable[Entry] = (), used: Iterable[Entry] = ()) -> None:
        """Takes what is known.

        Args:
            safe: Packages that are not judged, by the user's word.
            harmless: Remedies of the kind `harmless-effect`.
            used: Remedies of the kind `used-by-import`.
        """
        self._safe = tuple(safe)
        self._harmless = tuple(harmless)
        self._unused = list(used)
        self._importers: dict[object, str] = {}
        self._temporary: dict[str, str | None] = {}
        self._descriptors = _descriptors.Watch()
        self._strays: set[int] = set()
        self._started = False
        self._cwd = _current_folder()
        self._umask = _current_umask()
        self._handlers = _handlers()
        self._modules_at_exit = _exit_functions()
        # A layer tells only what is new in it.
        self._patched = {name for name, attribute in _PATCHERS if _has_patched(name, attribute)}
        self._policy: object = getattr(sys.modules.get("asyncio.events"), "_event_loop_policy", None)
        self.any_left_out = False
        _audit.add(self._note_socket, "socket.bind", "socket.connect")
        _audit.add(self._note_file, "open", "sqlite3.connect")
        _audit.add(self._note_process, "subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system")
        _audit.add(self._note_folder, "os.chdir")
        _audit.add(self._note_temporary, "tempfile.mkdtemp", "tempfile.mkstemp")

    def after(self, name: str) -> list[Effect]:
        """What the import of `name` left behind."""
        effects: list[Effect] = []

        def tell(kind: str, detail: str, importer: str | None, action: str = LEAVE_OUT) -> bool:
            if self._is_safe(importer or name):
                return False
            if any(_excuses(entry, kind, importer or name, importer is None) for entry in self._harmless):
                action = KEPT
            effects.append({"name": name, "kind": kind, "detail": detail, "importer": importer, "action": action})
            self.any_left_out |= action != KEPT
            return True

        self._check_descriptors(tell)
        self._check_processes(tell)
        self._check_process_state(tell)
        self._check_exits(tell)
        self._check_patches(tell)
        self._check_use(tell)
        self._importers.clear()
        return effects

    def close(self) -> None:
        """After the preload: text that was kept back for a shared log file is written once, not by each child."""
        if self._descriptors.appends:
            _process.flush_files()

    @property
    def strays(self) -> frozenset[int]:
        """Child processes that imports have started and that live."""
        return frozenset(self._strays)

    def counts(self) -> dict[str, int]:
        """For the census: what there is now that was not before the preload."""
        return {"children": len(_strays.living()), **self._descriptors.counts()}

    def _is_safe(self, module: str) -> bool:
        return any(module == name or module.startswith(name + ".") for name in self._safe)

    # -- what is looked at -----------------------------------------------------------------------

    def _check_descriptors(self, tell: Callable[..., bool]) -> None:
        found = self._descriptors.new()
        if not found:
            return
        loop = any(item.kind == "event loop" for item in found)
        for item in found:
            # The two ends of a loop's own wake-up channel: told with the loop.
            if loop and item.is_nameless:
                continue
            importer = self._importers.get(item.fd) or self._importers.get(item.detail)
            tell(item.kind, item.detail, importer, KEPT if item.is_harmless else LEAVE_OUT)

    def _check_processes(self, tell: Callable[..., bool]) -> None:
        started, self._started = self._started, False
        if (not started and not _strays.CAN_ASK) or _strays.surely_none():
            self._strays.clear()
            return
        living = _strays.living()
        new = {pid: text for pid, text in living.items() if pid not in self._strays}
        self._strays = set(living)
        importer = self._importers.get("process")
        guilty = [pid for pid, text in new.items() if tell("child process", f"{text}, pid {pid}", importer)]
        # The template will be replaced by one without that import: nobody else would end these.
        _strays.end(guilty)

    def _check_process_state(self, tell: Callable[..., bool]) -> None:
        cwd = _current_folder()
        if cwd != self._cwd:
            importer = self._importers.get("cwd")
            if not tell("working directory", f"changed to {cwd}", importer, UNDONE):
                self._cwd = cwd
            elif self._cwd is not None:
                os.chdir(self._cwd)
        mask = _current_umask()
        if mask != self._umask:
            if tell("umask", f"changed from {self._umask:03o} to {mask:03o}", None, UNDONE):
                umask(self._umask)
            else:
                self._umask = mask
        handlers = _handlers()
        if handlers != self._handlers:
            for number, old, new in zip(_SIGNALS, self._handlers, handlers, strict=True):
                if old is not new and number != signal.SIGCHLD:
                    tell("signal handler", f"{signal.Signals(number).name} is {_name_of(new)}", None, KEPT)
            self._handlers = handlers

    def _check_exits(self, tell: Callable[..., bool]) -> None:
        registered = _exit_functions()
        added, self._modules_at_exit = registered - self._modules_at_exit, registered
        if not self._temporary:
            return
        kept = {path: importer for path, importer in self._temporary.items() if os.path.lexists(path)}
        self._temporary.clear()
        if added <= 0 or not kept:
            return
        # These leave the exit of children: `_process.disown_finalizers`.
        disowned = " ".join(_finalizer_arguments())
        for path, importer in kept.items():
            if path not in disowned:
                tell("temporary files", f"{path}, which an exit function deletes", importer)

    def _check_patches(self, tell: Callable[..., bool]) -> None:
        for name, attribute in _PATCHERS:
            if name not in self._patched and _has_patched(name, attribute):
                self._patched.add(name)
                tell("monkey-patching", f"by {name}", None, KEPT)
        if (events := sys.modules.get("asyncio.events")) is not None:
            policy = getattr(events, "_event_loop_policy", None)
            if policy is not self._policy:
                self._policy = policy
                # asyncio makes its own one on demand.
                if not type(policy).__module__.startswith("asyncio."):
                    tell("event loop policy", _name_of(type(policy)), None, KEPT)

    def _check_use(self, tell: Callable[..., bool]) -> None:
        """What an import has made by calling a package, not by importing it."""
        for entry in list(self._unused):
            if is_made(entry["if_made"]):
                self._unused.remove(entry)
                tell("used package", f"{entry['package']}: {entry['why']}", None)

    # -- what audit events say -------------------------------------------------------------------

    def _note(self, key: object) -> None:
        if (module := _audit.running_module()) is not None:
            self._importers[key] = module

    def _note_socket(self, _: str, arguments: tuple[Any, ...]) -> None:
        self._note(arguments[0].fileno())

    def _note_file(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event != "open" or (isinstance(arguments[2], int) and arguments[2] & _WRITES):
            path = arguments[0]
            if isinstance(path, (str, bytes)):
                self._note(os.path.realpath(os.fsdecode(path)))

    def _note_process(self, event: str, arguments: tuple[Any, ...]) -> None:
        self._started = True
        self._note("process")

    def _note_folder(self, event: str, arguments: tuple[Any, ...]) -> None:
        self._note("cwd")

    def _note_temporary(self, event: str, arguments: tuple[Any, ...]) -> None:
        self._temporary[os.path.abspath(os.fsdecode(arguments[0]))] = _audit.running_module()


def _has_patched(name: str, attribute: str) -> bool:
    return name in sys.modules and bool(getattr(sys.modules[name], attribute, None))


def is_made(where: str) -> bool:
    """Whether `module:name` is there and true, or returns something when it is called; imports nothing."""
    module, _, name = where.partition(":")
    found: object = getattr(sys.modules.get(module), name, None)
    if callable(found):
        return found() is not None
    return bool(found)


def _excuses(entry: Entry, kind: str, importer: str, is_guess: bool) -> bool:
    """Whether the table knows an effect to be harmless: by who had it, or by what is there when nobody is known."""
    if entry["effect"] != kind:
        return False
    if entry.get("if_made") is not None:
        return is_guess and is_made(entry["if_made"])
    return bool(importer.partition(".")[0] == entry["package"])


def _current_folder() -> str | None:
    try:
        return getcwd()
    except OSError:
        return None


def _current_umask() -> int:
    mask = umask(0o077)
    umask(mask)
    return mask


def _handlers() -> list[Any]:
    return [getsignal(number) for number in _SIGNALS]


def _exit_functions() -> int:
    """How many there are, without those that the standard library registers for itself."""
    import atexit

    own = sum(name in sys.modules for name in _REGISTER_EXITS)
    own += bool(weakref.finalize._registered_with_atexit)  # type: ignore[attr-defined]
    return atexit._ncallbacks() - own


def _finalizer_arguments() -> list[str]:
    registry: dict[Any, Any] = weakref.finalize._registry  # type: ignore[attr-defined]
    return [
        str(value)
        for info in list(registry.values())
        for value in (*info.args, *(info.kwargs or {}).values())
        if isinstance(value, (str, os.PathLike))
    ]


def _name_of(value: object) -> str:
    if isinstance(value, int):
        return signal.Handlers(value).name
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    return f"{module}.{name}" if module and name else repr(type(value))
