"""One template of the daemon: one engine, and the runs that it has.

The engine is opened on a thread of its own; until then, runs of its program are cold. After each run that thread scans
again, so that an import which was added is there for the next run: no run waits for it.

The race: a slot is retired while a run of it begins. `begin` and `retire` hold the same lock; who is retired begins
nothing, and is closed by the end of its last run.
"""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from firehot import _background, _call, _config, _core, _forks, _host, _journal, _rust_project, _targets
from firehot._caller import launch_of, program_of, state_of, whole_path
from firehot._request import Request
from firehot.errors import FirehotError

_CLOSE_GRACE = 5.0
_PATIENCE = 0.05
"""Seconds that an answer waits for what is being built: those who ask want to know what is there."""
_CAME = ("name", "file", "by", "own", "total", "memory", "during")
"""What is told of a module that came with an import: see `_core.Engine.imports`."""


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
            _background.start(_drain, (engine.pump(),), name="firehot-output")
            self._weigh(engine)
        except Exception as error:
            # Whatever it is: nobody would ever be told that it is not being built any more.
            is_known = isinstance(error, (FirehotError, OSError, RuntimeError))
            self.fail(str(error) if is_known else f"{type(error).__name__}: {error}")
            return
        with self._lock:
            self.seconds = time.monotonic() - began
            self._engine, self._settled = engine, True
            is_late = self._retired and not self._active
            self._lock.notify_all()
        if is_late:
            engine.close(0.0)

    def fail(self, why: str) -> None:
        """There is no template, and none is being built any more."""
        with self._lock:
            self.failed = why
            self._settled = True
            self._lock.notify_all()

    def _new_engine(self) -> _core.Engine:
        request = self._first
        settings = _config.read(Path(self._root, "pyproject.toml"))
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
        try:
            _background.start(self._follow, (), name="firehot-follow")
        except RuntimeError as error:
            # The run goes on, and the next one tries again.
            with self._lock:
                self._busy = False
            _journal.say(f"the template of {self.title} could not be brought up to date: {error}")

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
            except (FirehotError, OSError, RuntimeError) as error:
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
        modules, skipped, verdicts = engine.report(_PATIENCE)
        told["modules"] = [{"name": n, "milliseconds": us / 1000, "learned": learned} for n, us, learned in modules]
        told["skipped"] = [
            {"name": n, "reason": why, "lines": [[str(file), line, text] for file, line, text in lines]}
            for n, why, lines in skipped
        ]
        told["verdicts"] = verdicts
        told["rebuilt"] = engine.last_rebuild(_PATIENCE)
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
                "modules": [dict(zip(_CAME, came, strict=True)) for came in modules],
                "files": files,
                "effects": [{"kind": kind, "detail": detail, "by": by} for kind, detail, by in effects],
            }
            for name, loaded, memory, learned, lines, modules, files, effects in engine.imports(_PATIENCE)
        ]


def _extensions(request: Request) -> list[tuple[str, str, str]]:
    """The projects with Rust that are installed from their sources; a child builds what it imports of them."""
    sites = [entry for entry in request.path if entry.endswith("-packages")]
    found = _core.Workshop(_rust_project.NOBODY, os.devnull).installed(sites)
    return [(extension.module, "", str(extension.place)) for extension in found]


def _drain(pump: _core.Pump) -> None:
    """Programs write to their callers' descriptors: nothing comes here but the news of ends."""
    while pump.next_task() is not None:
        continue
