"""The daemon's templates: one engine for each program that is run here, at most four, and which of them a run takes.

A slot's engine is opened on a thread of its own; until then, runs of its program are cold. After each run that thread
scans again, so that an import which was added is there for the next run: no run waits for it.

The race: a slot is retired while a run of it begins. `Slot.begin` and `Slot.retire` hold the same lock; who is retired
begins nothing, and is closed by the end of its last run.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from firehot import _background, _call, _config, _core, _forks, _host, _journal, _targets
from firehot._request import Request
from firehot.errors import FirehotError

MOST = 4
"""Templates that a daemon keeps; the one that was used least recently goes first."""
_VARIANTS = 2
"""Of these, for one program: where its imports have read variables that callers set in different ways."""
_PATIENCE = 10.0
"""Seconds after which a template that could not be built is tried again."""
_CLOSE_GRACE = 5.0
# Finding needs no interpreter.
_NOBODY: dict[str, object] = {"executable": "", "suffix": "", "free_threaded": False, "venv": None}


class Slot:
    """One program's template, and its runs.

    Attributes:
        identity: What the runs have in common that share it.
        title: The program, as the user knows it.
        born: When it was made, in seconds since 1970.
        used: When a run began last, by the monotonic clock.
        runs: How many there were.
        failed: Why there is no template, if it could not be built.
        seconds: What building it took.
        saved: Seconds that a run of it does not need for imports.
    """

    def __init__(self, request: Request, root: str, folder: str) -> None:
        """Builds nothing yet; see `open`."""
        self.identity = _targets.identity(request, root)
        self.title = request.title
        self.born = time.time()
        self.used = time.monotonic()
        self.runs = 0
        self.failed: str | None = None
        self.seconds = 0.0
        self.saved = 0.0
        self._first = request
        self._root = root
        self._folder = folder
        self._lock = threading.Condition()
        self._engine: _core.Engine | None = None
        self._settled = False
        self._retired = False
        self._active = 0
        self._wanted: _host.Launch | None = None
        self._busy = False
        self._extensions: list[tuple[str, str, str]] = []

    # -- building --------------------------------------------------------------------------------

    def open(self) -> None:
        """Builds the template; on a thread of its own."""
        began = time.monotonic()
        try:
            self._extensions = _extensions(self._first)
            engine = self._new_engine()
        except Exception as error:
            # Whatever it is: nobody would ever be told that it is not being built any more.
            is_known = isinstance(error, (FirehotError, OSError, RuntimeError))
            with self._lock:
                self.failed = str(error) if is_known else f"{type(error).__name__}: {error}"
                self._settled = True
                self._lock.notify_all()
            return
        _background.start(_drain, (engine.pump(),), name="firehot-output")
        self._weigh(engine)
        with self._lock:
            self.seconds = time.monotonic() - began
            self._engine, self._settled = engine, True
            is_late = self._retired and not self._active
            self._lock.notify_all()
        if is_late:
            engine.close(0.0)

    def _new_engine(self) -> _core.Engine:
        request = self._first
        settings = _config.read(_here(self._root))
        path = whole_path(request)
        scan = _targets.scan(request, self._root, path, settings, self._folder)
        fork = _forks.ForkSettings(
            words=settings.fork, first_party=tuple(scan["first_party"]), folders=(self._root, self._folder)
        )
        policy = _forks.policy(fork, settings.import_timeout, spares=settings.spares, learn=settings.learn)
        policy |= {"watch": False, "must_poll": False}
        setup = partial(_forks.setup, fork, learn=settings.learn, state=state_of(request, path))
        return _core.Engine(scan, policy, setup, launch_of(request, path))

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the template is there or has failed."""
        with self._lock:
            return self._lock.wait_for(lambda: self._settled, timeout)

    def fits(self, request: Request) -> bool:
        """Waits until the template is there; whether it was built for a caller like this one."""
        self.wait()
        with self._lock:
            engine = self._engine
        return engine is not None and not engine.differs(launch_of(request, whole_path(request)))

    def update(self, request: Request) -> str:
        """Waits until the template is there, and is what this program needs now.

        Returns:
            What had to be built for that: "nothing", a "layer" or a "template".

        Raises:
            FirehotError: It can't be built; an earlier one stays.
        """
        self.wait()
        with self._lock:
            engine = self._engine
        if engine is None:
            return "nothing"
        before = engine.levels()
        if engine.update(launch_of(request, whole_path(request))):
            self._weigh(engine)
        after = engine.levels()
        return "nothing" if after == before else "layer" if after[:1] == before[:1] else "template"

    @property
    def state(self) -> str:
        """What has become of it: "building", "ready" or "failed"."""
        with self._lock:
            return "building" if not self._settled else "failed" if self.failed else "ready"

    # -- running ---------------------------------------------------------------------------------

    def begin(self, request: Request, stdio: _core.Stdio) -> tuple[_core.Ticket | None, str, str]:
        """Runs a program if the template can: see `_core.Engine.exec_if_warm`. `end` follows what runs."""
        with self._lock:
            if self._retired:
                return None, "missing", "its template was given up for those of other programs"
            if self._engine is None:
                failure = self.failed and f"its template could not be built: {self.failed}"
                return None, "missing", failure or "its template is being built"
            self._active += 1
            engine = self._engine
        ticket = None
        try:
            # `_program` puts the folder of the script in front.
            state = state_of(request, list(request.path))
            state |= {"program": program_of(request), "extensions": self._extensions}
            call = _call.pack_program(state)
            launch = launch_of(request, whole_path(request))
            ticket, kind, reason = engine.exec_if_warm(request.title, call, stdio, launch)
            if ticket is not None:
                ticket.claim()
                self.used = time.monotonic()
                self.runs += 1
            if kind != "differs":
                self._refresh(launch)
            return ticket, kind, reason
        finally:
            if ticket is None:
                self.end()

    def end(self) -> None:
        """A run is over."""
        with self._lock:
            self._active -= 1
            is_last = self._retired and not self._active
            engine = self._engine
        if is_last and engine is not None:
            engine.close(0.0)

    def stop(self, ticket: _core.Ticket, grace: float) -> None:
        """SIGTERM to a run's process group, SIGKILL after so many seconds. Does not wait."""
        if self._engine is not None:
            self._engine.stop(ticket, grace)

    def retire(self) -> None:
        """Takes no more runs, and ends with the last one that it has."""
        with self._lock:
            self._retired = True
            engine = None if self._active else self._engine
        if engine is not None:
            engine.close(0.0)

    def close(self) -> None:
        """Ends the runs and the template, and waits for that."""
        with self._lock:
            self._retired = True
            engine = self._engine
        if engine is not None:
            engine.close(_CLOSE_GRACE)
            engine.wait_closed(2 * _CLOSE_GRACE)

    # -- after a run -----------------------------------------------------------------------------

    def _refresh(self, launch: _host.Launch) -> None:
        """Has the template follow the project, behind the run that has just begun."""
        with self._lock:
            self._wanted = launch
            if self._busy:
                return
            self._busy = True
        _background.start(self._follow, (), name="firehot-follow")

    def _follow(self) -> None:
        while True:
            with self._lock:
                launch, self._wanted = self._wanted, None
                engine = self._engine
                if launch is None or engine is None or self._retired:
                    self._busy = False
                    return
            try:
                if engine.update(launch):
                    self._weigh(engine)
                self._extensions = _extensions(self._first)
            except (FirehotError, OSError) as error:
                with self._lock:
                    self._wanted = None
                _journal.say(f"the template of {self.title} could not be brought up to date: {error}")

    def _weigh(self, engine: _core.Engine) -> None:
        modules, _, _ = engine.report()
        self.saved = sum(microseconds for _, microseconds, _ in modules) / 1e6

    # -- telling ---------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """What the template holds, for `firehot imports` and `firehot status`."""
        told: dict[str, Any] = {"target": self.title, "state": self.state, "runs": self.runs, "born": self.born}
        engine = self._engine
        if self.failed:
            told["failed"] = self.failed
        if engine is None or self._retired:
            return told
        modules, skipped, verdicts = engine.report()
        told["modules"] = [{"name": n, "milliseconds": us / 1000, "learned": learned} for n, us, learned in modules]
        told["skipped"] = [
            {"name": n, "reason": why, "lines": [[str(file), line, text] for file, line, text in lines]}
            for n, why, lines in skipped
        ]
        told["verdicts"] = verdicts
        told["rebuilt"] = engine.last_rebuild()
        return told

    def imports(self) -> list[dict[str, Any]]:
        """What its template was asked to import, in order, and what came with each, for `firehot imports`."""
        engine = self._engine
        if engine is None or self._retired:
            return []
        return [
            {
                "name": name,
                "milliseconds": sum(microseconds for _, microseconds in loaded) / 1000,
                "memory": memory,
                "learned": learned,
                "lines": [[str(file), line, text] for file, line, text in lines],
                "parts": [{"name": part, "milliseconds": us / 1000} for part, us in loaded if part != name],
                "modules": [{"name": module, "by": by} for module, by in modules],
            }
            for name, loaded, memory, learned, lines, modules in engine.imports()
        ]


class Slots:
    """All of them."""

    def __init__(self, root: str, folder: str) -> None:
        """None yet.

        Args:
            root: The project's folder.
            folder: For files that live as long as the daemon.
        """
        self._root = root
        self._folder = folder
        self._lock = threading.Lock()
        self._all: list[Slot] = []

    def of(self, request: Request) -> list[Slot]:
        """Those of this program, the last used first."""
        wanted = _targets.identity(request, self._root)
        with self._lock:
            found = [slot for slot in self._all if slot.identity == wanted]
        return sorted(found, key=lambda slot: slot.used, reverse=True)

    def all(self) -> list[Slot]:
        """Every one."""
        with self._lock:
            return list(self._all)

    def add(self, request: Request) -> Slot:
        """Begins to build a template for this program, in the place of the one that is needed least."""
        slot = Slot(request, self._root, self._folder)
        with self._lock:
            by_age = sorted(self._all, key=lambda slot: slot.used)
            same = [other for other in by_age if other.identity == slot.identity]
            leaving = same[: max(0, len(same) - _VARIANTS + 1)]
            left = [other for other in by_age if other not in leaving]
            leaving += left[: max(0, len(left) - MOST + 1)]
            self._all = [other for other in self._all if other not in leaving] + [slot]
        for other in leaving:
            other.retire()
        _background.start(slot.open, (), name="firehot-open")
        return slot

    def drop(self, slot: Slot) -> None:
        """Forgets one that is of no use."""
        with self._lock:
            self._all = [other for other in self._all if other is not slot]
        slot.retire()

    def close(self) -> None:
        """Ends them all."""
        closing: list[Callable[[], None]] = [slot.close for slot in self.all()]
        threads = [_background.start(close, (), name="firehot-close") for close in closing]
        for thread in threads:
            thread.join()


def is_due(slot: Slot) -> bool:
    """Whether a template that could not be built is worth another try."""
    return slot.failed is not None and time.monotonic() - slot.used > _PATIENCE


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
        "terminal": header["terminal"],
        "limits": limits,
        "nice": header["nice"],
        "blocked": header["blocked"],
    }


def launch_of(request: Request, path: list[str]) -> _host.Launch:
    """What a template for this program is started with."""
    state = {"environ": request.environ, "cwd": request.cwd, "path": path}
    return _host.launch_of(request.executable, request.options, state)


def _here(root: str) -> Any:
    from pathlib import Path

    return Path(root, "pyproject.toml")


def _extensions(request: Request) -> list[tuple[str, str, str]]:
    """The projects with Rust that are installed from their sources; a child builds what it imports of them."""
    sites = [entry for entry in request.path if entry.endswith("-packages")]
    found = _core.Workshop(_NOBODY, os.devnull).installed(sites)
    return [(extension.module, "", str(extension.place)) for extension in found]


def _drain(pump: _core.Pump) -> None:
    """Programs write to their callers' descriptors: nothing comes here but the news of ends."""
    while pump.next_task() is not None:
        continue
