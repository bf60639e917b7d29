"""What template and child do around a fork: remedies from the table, and hooks. Standard library only.

The host sends the table (`_table.py`), the user's words about packages and the names of hooks within `setup`; this
file knows how each kind of remedy is done, not for whom.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from firehot import _audit, _census, _child, _effects, _process, _threads, hooks
from firehot._rewriting import REWRITING

Tell = Callable[[str], None]
_ENTRY_POINTS = "firehot.fork"


class Care:
    """One template's care for its forks, in the order of its methods; a child calls `enter_child`."""

    def __init__(self, setup: dict[str, Any], tell: Tell) -> None:
        """Takes the part of the host's setup that is about forks.

        Args:
            setup: `remedies`, `safe`, `before_fork`, `entry_points`; each may be missing.
            tell: Takes warnings.
        """
        self._setup = setup
        self._tell = tell
        self._safe: tuple[str, ...] = tuple(setup.get("safe", ()))
        self._set_here: dict[str, str] = {}
        # An import may put another object in its place.
        self._environ = os.environ
        self._pauses: list[Callable[[], object]] = []
        self._reseeds: tuple[tuple[Callable[..., object], dict[str, Any]], ...] = ()
        self._calls: tuple[dict[str, Any], ...] = ()
        self._watch: _effects.Watch | None = None
        self._counts: dict[str, int] = {}
        self._broken_hooks: dict[str, str] = {}
        self._counter = _census.Census(list(self._of_kind("harmless-thread")), self._safe)
        self._called: set[tuple[str, str]] = set()

    def above(self, setup: dict[str, Any]) -> Care:
        """The care of a layer, which goes on from this one: what is done already is not done again."""
        care = Care(setup, self._tell)
        care._pauses = self._pauses
        care._called = set(self._called)
        return care

    def _of_kind(self, kind: str) -> Iterator[dict[str, Any]]:
        return (entry for entry in self._setup.get("remedies", ()) if entry["kind"] == kind)

    # -- the preload -----------------------------------------------------------------------------

    def before_preload(self) -> None:
        """Sets what keeps libraries quiet, and begins to watch."""
        hooks.REGISTRY.enter_template(self._tell)
        for entry in self._of_kind("environment"):
            for name, value in entry["variables"].items():
                if name not in self._environ:
                    self._environ[name] = self._set_here[name] = value
        harmless, used = self._of_kind("harmless-effect"), self._of_kind("used-by-import")
        self._watch = _effects.Watch(self._safe, harmless, used)
        self._counter.listen()

    def after_import(self, name: str) -> list[dict[str, Any]]:
        """What the import of `name`, which has loaded modules, left behind that children must not share."""
        self._counter.after(name)
        REWRITING.watch()
        return self._watch.after(name) if self._watch is not None else []

    def after_preload(self) -> None:
        """Takes away what `before_preload` has set, and makes ready for the first fork. Runs hooks of packages."""
        for name, value in self._set_here.items():
            if self._environ.get(name) == value:
                del self._environ[name]
        self._load_hooks()
        REWRITING.settle()
        _audit.stop()
        self._counter.close()
        if self._watch is not None:
            self._watch.close()
            self._counts = self._watch.counts()
        self._find_openmp()
        self._find_what_children_do()
        for entry in self._of_kind("leave-unset"):
            name = entry["variable"]
            if entry["package"] in sys.modules and os.environ.get(name, "").lower() in entry["values"]:
                self._tell(f"{name}={os.environ[name]} is set: {entry['symptom']}; {entry['remedy']}")

    # -- forks -----------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Before each fork, on the one thread that forks."""
        for pause in self._pauses:
            pause()
        hooks.REGISTRY.run_before()

    def reseed(self) -> None:
        """In a child, once, at any time before its call: each process serves one."""
        reseeds, self._reseeds = self._reseeds, ()
        for function, entry in reseeds:
            self._reseed(function, entry)

    def enter_child(self) -> None:
        """In a child that has taken over the host's state, before it imports what its call names.

        Raises:
            BaseException: What a hook raises.
        """
        self.reseed()
        for entry in self._calls:
            self._call_in_child(entry)
        hooks.REGISTRY.run_in_child()

    def _find_what_children_do(self) -> None:
        """Here, and not in each child: going through the table means writing to its pages."""
        self._calls = tuple(entry for entry in self._of_kind("call-in-child") if entry["module"] in sys.modules)
        found = []
        for entry in self._of_kind("reseed"):
            function: Any = sys.modules.get(entry["module"])
            for part in entry["function"].split("."):
                function = function.get(part) if isinstance(function, dict) else getattr(function, part, None)
            if function is not None:
                found.append((function, entry))
        self._reseeds = tuple(found)

    def _reseed(self, function: Callable[..., object], entry: dict[str, Any]) -> None:
        try:
            if entry["bits"]:
                function(int.from_bytes(os.urandom(8), "little") >> (64 - entry["bits"]))
            else:
                function()
        except Exception as error:
            print(f"firehot: {entry['module']} could not be given a seed of its own: {error}", file=sys.stderr)

    def _call_in_child(self, entry: dict[str, Any]) -> None:
        module = sys.modules.get(entry["module"])
        try:
            if module is not None and _effects.is_made(entry["if_made"]):
                getattr(module, entry["function"])()
        except Exception as error:
            text = f"{entry['module']}.{entry['function']}() failed in the child: {error}"
            print(f"firehot: {text}", file=sys.stderr)

    # -- the census ------------------------------------------------------------------------------

    def take_census(
        self, fork: Callable[[], int], leave: Callable[[], None], trial: bool, meanwhile: Callable[[], None]
    ) -> dict[str, Any]:
        """Forks for nothing, the last one when `trial`, and what they show: see `_census`. A part of `ready`."""
        left_out = self._watch is not None and self._watch.any_left_out

        def fork_with_care() -> int:
            self.before_fork()
            return fork()

        # The exit of a template that will be replaced says nothing, and would delete what is still in use.
        end = self._end_as_child if trial and not left_out else None
        report = self._counter.take(fork_with_care, leave, self._tell, end, meanwhile)
        return {**report, **self._counts, "remedies": self._done(), "hook_errors": self._broken_hooks}

    def _end_as_child(self) -> None:
        with suppress(BaseException):
            self.enter_child()
        _child.end(0)

    def _done(self) -> dict[str, str]:
        """What has been done for packages that are loaded, by package."""
        done: dict[str, str] = {}
        for entry in self._setup.get("remedies", ()):
            package = entry["package"]
            if package not in sys.modules or not self._is_applied(entry):
                continue
            done[package] = f"{done[package]}; {entry['remedy']}" if package in done else entry["remedy"]
        return done

    def _is_applied(self, entry: dict[str, Any]) -> bool:
        kind = entry["kind"]
        if kind == "environment":
            return any(name in self._set_here for name in entry["variables"])
        if kind == "pause-openmp":
            return bool(self._pauses)
        if kind in ("reseed", "call-in-child"):
            return entry["module"] in sys.modules
        return False

    def _find_openmp(self) -> None:
        entry = next(self._of_kind("pause-openmp"), None)
        if entry is None or not _threads.HAS_TASKS:
            return
        self._pauses = []
        for path in sorted(_threads.mapped_files()):
            if os.path.basename(path).startswith(entry["library"]):
                pause = _process.native_function(path, entry["function"], entry["argument"])
                if pause is not None:
                    self._pauses.append(pause)

    # -- hooks -----------------------------------------------------------------------------------

    def _load_hooks(self) -> None:
        """Calls the entry points of packages that are loaded, and finds what the host has named."""
        for point in self._setup.get("entry_points", ()):
            names = point["module"], point["function"]
            if point["name"] not in sys.modules or names in self._called:
                continue
            self._called.add(names)
            try:
                hooks.find(point["module"], point["function"])()
            except BaseException as error:
                where = f"{_ENTRY_POINTS} entry point {point['name']!r} of {point['distribution']}"
                self._broken_hooks[point["name"]] = f"{where} failed: {type(error).__name__}: {error}"
                self._tell(self._broken_hooks[point["name"]])
        for module, function in self._setup.get("before_fork", ()):
            try:
                hooks.REGISTRY.add_before(hooks.find(module, function))
            except BaseException as error:
                self._tell(f"before_fork: {module}.{function} can't be found: {type(error).__name__}: {error}")
