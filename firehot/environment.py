"""`Environment`: a package's template, and the functions that run in its children."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, cast
from uuid import uuid4

from firehot import _background, _call, _core, _forks, _host, hooks
from firehot._callbacks import Callbacks
from firehot._output import show
from firehot._rust_project import RustProject
from firehot.errors import CallNotPicklable, EnvironmentClosedError
from firehot.modules import PreloadedModule, SkippedModule, SourceLine
from firehot.naming import NAME_REGISTRY
from firehot.process import IsolatedProcess
from firehot.watch import Watch

__all__ = ["Environment", "IsolatedProcess", "Output"]

T = TypeVar("T")

Output = Literal["prefix", "inherit", "capture"]
"""Where a child's output goes: line by line to the host's `sys.stdout` and `sys.stderr` with the process's name before
each, to the host's own descriptors (stdin comes along), or into `IsolatedProcess.output`."""

_CLOSE_GRACE = 5.0


class Environment:
    """Runs functions in processes that have a package's third-party imports done.

    Made by `isolate_imports`; a context manager itself. Safe to use from several threads.

    Attributes:
        runner_id: Names this environment; different for each.
    """

    def __init__(
        self,
        scan: dict[str, Any],
        *,
        output: Output = "prefix",
        import_timeout: float = 60.0,
        spares: int = 1,
        fork: _forks.ForkSettings | None = None,
        learn: bool = True,
        warm_first_party: bool = False,
        watch: bool = False,
        rust: RustProject | None = None,
    ) -> None:
        """Scans and starts the template; `isolate_imports` knows what to give.

        Args:
            scan: What to scan, as `_core.Engine` takes it.
            output: Where the output of children goes unless `exec` says otherwise.
            import_timeout: Seconds that the import of one module may take.
            spares: How many children wait for a call, forked ahead.
            fork: What is known of the fork safety of packages.
            learn: Whether what children import themselves is preloaded from then on.
            warm_first_party: Whether the project's own modules are imported ahead.
            watch: Whether a watcher tells `update_environment` what has changed.
            rust: The project's Rust extensions.
        """
        self._rust = rust
        self.runner_id: str = str(uuid4())
        self._output = _checked_output(output)
        self._processes: weakref.WeakValueDictionary[int, IsolatedProcess[Any]] = weakref.WeakValueDictionary()
        # Results are as large as they are: a process is kept for the caller only until its outcome was fetched.
        self._unclaimed: dict[int, IsolatedProcess[Any]] = {}
        self._callbacks = Callbacks()
        self._lock = threading.Lock()
        self._closed = False
        self._owner = os.getpid()
        settings = fork or _forks.ForkSettings()
        policy = _forks.policy(settings, import_timeout, spares=spares, learn=learn, warm_first_party=warm_first_party)
        policy |= {"watch": watch, "must_poll": os.environ.get("FIREHOT_WATCH", "").strip().lower() == "poll"}
        setup = partial(_forks.setup, settings, learn=learn)
        self._engine = _core.Engine(scan, policy, setup, _host.launch())
        # Neither the thread nor the exit function holds this object: when an interrupt comes before the caller has
        # it, it is dropped, and the engine closes with it.
        arguments = (self._engine.pump(), weakref.ref(self))
        self._pump = _background.start(_show_output, arguments, name="firehot-output")
        # Threads can't be joined any more when the interpreter takes objects down; exit functions run before.
        self._at_exit = partial(_close_at_exit, weakref.ref(self))
        atexit.register(self._at_exit)
        if watch and rust is not None:
            rust.follow(self._engine.watch)

    # -- running ------------------------------------------------------------------------------

    def exec(
        self,
        fn: Callable[..., T],
        /,
        *args: Any,
        name: str | None = None,
        kwargs: Mapping[str, Any] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str | None] | None = None,
        output: Output | None = None,
        timeout: float | None = None,
    ) -> IsolatedProcess[T]:
        """Runs `fn(*args, **kwargs)` in a child and returns without waiting for it.

        A function that can be imported travels by name: the child imports it from disk, as it is now. One that lives
        in `__main__`, a lambda, a closure or a nested function travels by value.

        Args:
            fn: The function.
            *args: Its arguments; they are pickled.
            name: Name of the process; a random one by default.
            kwargs: Its keyword arguments.
            cwd: Working directory; the host's by default.
            env: Environment variables to set on top of the host's; a value of `None` takes one away.
            output: Where its output goes; what `isolate_imports` was given by default.
            timeout: Seconds that the process may run; then it is stopped and `result` raises `TimeoutError`.

        Raises:
            CallNotPicklable: The function or an argument can't be sent.
            RustBuildError: A Rust extension of the project was edited, and does not build.
            ValueError: `env` sets a variable that only counts when an interpreter starts.
            FileNotFoundError: There is no folder `cwd`.
            ForkError: The system refused another process.
            EnvironmentClosedError: The environment is closed.
            OSError: No descriptors are left.

        Example:
            >>> from firehot import isolate_imports
            >>> with isolate_imports("json") as env:
            ...     env.exec(max, [3, 5, 4], kwargs={"default": 0}).result()
            5
        """
        self._check_open()
        mode = self._output if output is None else _checked_output(output)
        process_name = name or NAME_REGISTRY.reserve_random_name()
        state, without = _host.state(cwd=cwd, env=env)
        if self._rust is not None:
            extensions = self._rust.ready()
            if extensions is not None:
                state["extensions"] = extensions
        try:
            call = _call.pack(state, fn, args, dict(kwargs or {}), hooks.REGISTRY.after_functions())
            folder = _call.cloudpickle_folder(call)
        except Exception as error:
            raise CallNotPicklable(
                f"{_name_of(fn)} and its arguments can't be sent to another process: {error}"
            ) from error
        if len(call) > _call.MAX_LENGTH:
            raise CallNotPicklable(f"the arguments of {_name_of(fn)} take more than 4 GiB")
        host, own = _host.launch(without or state), None if without is None else _host.launch(state)
        ticket = self._engine.exec(process_name, call, mode, timeout, folder, host, own)
        process: IsolatedProcess[T] = IsolatedProcess(self, process_name, ticket)
        with self._lock:
            self._forget_ended()
            self._processes[ticket.id] = self._unclaimed[ticket.id] = process
            ticket.claim()
        return process

    def run(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Runs `fn(*args, **kwargs)` in a child and returns its result.

        Raises:
            ChildError: As `IsolatedProcess.result`.
        """
        return self.exec(fn, *args, kwargs=kwargs).result()

    def communicate_isolated(self, process: IsolatedProcess[T], timeout: float | None = None) -> T:
        """The result of a process, waiting for it: `process.result(timeout)`."""
        return process.result(timeout)

    def stop_isolated(self, process: IsolatedProcess[Any], timeout: float = 5.0) -> bool:
        """Ends a process: SIGTERM, then SIGKILL after `timeout` seconds. Waits for the end.

        Returns:
            True when it has ended, now or before; False when it is no process of this environment.
        """
        if process._environment is not self:
            return False
        self._begin_to_stop(process._ticket, timeout)
        process.wait()
        return True

    # -- the template -------------------------------------------------------------------------

    def update_environment(self) -> bool:
        """Scans the project again; when its imports have changed, builds a template with these and swaps it in.

        What is still wanted and still true is kept: an added import is imported in a layer, a fork of the template that
        was there. A template that is not true any more (an upgraded package, another variable) is replaced as well;
        before a call that happens without being asked for.

        Children that run go on undisturbed in the old one, which exits after the last of them.

        Returns:
            True when calls are given to another template than before; a layer counts.

        Raises:
            TemplateError: The new template can't be started; the old one stays.
        """
        self._check_open()
        if self._rust is not None:
            self._rust.build_ahead()
        return self._engine.update(_host.launch())

    def watch(self) -> Watch:
        """Watches the project's files: gives out what has changed, after each burst of changes.

        Watched are the folders that the scan covers, with all files in them, and pyproject.toml; not what .gitignore
        names, and not what editors and interpreters make for themselves. Changes are given out when none has come for
        50 ms, at the latest 1 s after the first; all of a `git checkout` at once.

        Where the system can't tell of changes (network file systems, limits reached), files are looked at again and
        again; a warning says so once.

        Returns:
            An iterator, an async iterator and a context manager. What changes after this call is not missed.

        Raises:
            EnvironmentClosedError: The environment is closed.
            OSError: No threads are left.

        Example:
            >>> from firehot import isolate_imports
            >>> with isolate_imports("json") as env, env.watch() as watch:
            ...     try:
            ...         watch.wait(timeout=0.0)
            ...     except TimeoutError:
            ...         print("nothing has changed")
            nothing has changed
        """
        self._check_open()
        watch = Watch(self._engine.watch())
        if self._rust is not None:
            self._rust.follow(self._engine.watch)
        return watch

    @property
    def last_rebuild(self) -> str | None:
        """Why the template was last replaced, or `None` when it never was.

        Such as "requests 2.31.0 -> 2.32.3", "/site/external_package/mock_imports.py changed" or
        "DJANGO_SETTINGS_MODULE differs".
        """
        return self._engine.last_rebuild()

    @property
    def modules(self) -> Mapping[str, PreloadedModule]:
        """What is preloaded, by name, in the order of import, and which of it was learned from earlier runs."""
        modules, _, _ = self._engine.report()
        found: dict[str, PreloadedModule] = {}
        for name, microseconds, learned in modules:
            found.setdefault(name, PreloadedModule(name, microseconds / 1000, learned))
        return MappingProxyType(found)

    @property
    def skipped(self) -> Mapping[str, SkippedModule]:
        """What the project imports and is not preloaded, by name: the reason and the lines."""
        _, skipped, _ = self._engine.report()
        return MappingProxyType(
            {
                name: SkippedModule(
                    name,
                    reason,
                    tuple(SourceLine(Path(file), line, text) for file, line, text in lines),
                )
                for name, reason, lines in skipped
            }
        )

    @property
    def verdicts(self) -> Mapping[str, str]:
        """What is known of each third-party package in the template, by name: whether it is safe to fork, and how.

        `"safe"`; `"safe, quiesced by its own fork handlers"`; `"safe with ..."`, where firehot does something for it;
        `"left out: ..."` with the reason.
        """
        _, _, verdicts = self._engine.report()
        return MappingProxyType(verdicts)

    @property
    def processes(self) -> Sequence[IsolatedProcess[Any]]:
        """The processes that run now, oldest first."""
        with self._lock:
            known = list(self._processes.values())
        return tuple(process for process in known if process.is_running())

    # -- the end ------------------------------------------------------------------------------

    def close(self, timeout: float = _CLOSE_GRACE) -> None:
        """Stops every process (SIGTERM, SIGKILL after `timeout` seconds) and the template. May be called again.

        In a process forked from the one that opened the environment it does nothing.
        """
        if self._owner != os.getpid():
            return
        self._closed = True
        atexit.unregister(self._at_exit)
        if self._rust is not None:
            self._rust.close()
        self._engine.close(timeout)
        try:
            while not self._engine.wait_closed(60.0):
                pass
        except BaseException:
            # Ctrl-C: no more patience, but nothing is left behind.
            self._engine.close(0.0)
            self._engine.wait_closed(10.0)
            raise
        finally:
            self._pump.join()

    def __enter__(self) -> Environment:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    def __repr__(self) -> str:
        """Id and state."""
        state = "closed" if self._closed else "open"
        return f"<Environment {self.runner_id} {state}>"

    # -- inside -------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise EnvironmentClosedError("the environment is closed")

    def _forget_ended(self) -> None:
        ended = [ident for ident, process in self._unclaimed.items() if not process.is_running()]
        for ident in ended:
            del self._unclaimed[ident]

    def _outcome_fetched(self, ticket: _core.Ticket) -> None:
        with self._lock:
            self._unclaimed.pop(ticket.id, None)

    def _call_when(self, ticket: _core.Ticket, until: Literal["reply", "end"], function: Callable[[], None]) -> None:
        self._callbacks.add(ticket, until, function)

    def _begin_to_stop(self, ticket: _core.Ticket, grace: float) -> None:
        if ticket.end() is None and not self._closed:
            self._engine.stop(ticket, grace)


def _show_output(pump: _core.Pump, environment: weakref.ref[Environment]) -> None:
    """The pump: one thread that writes what children write, until the engine has ended."""
    while (task := pump.next_task()) is not None:
        ident, name, fd, lines = task
        if fd is not None:
            show(sys.stdout if fd == 1 else sys.stderr, name, lines)
        elif (alive := environment()) is not None:
            alive._callbacks.run(ident)
            del alive


def _close_at_exit(environment: weakref.ref[Environment]) -> None:
    alive = environment()
    if alive is not None:
        alive.close()


def _checked_output(output: str) -> Output:
    if output not in ("prefix", "inherit", "capture"):
        raise ValueError(f"output is 'prefix', 'inherit' or 'capture', not {output!r}")
    return cast(Output, output)


def _name_of(fn: Callable[..., object]) -> str:
    return getattr(fn, "__qualname__", None) or repr(fn)
