"""Has extensions built before a call: those that are stale at the same time, each on a thread of its own.

The thread that asks only waits, so that Ctrl-C reaches it at once; then, and when the environment is closed, cargo is
ended.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Collection, Sequence

from firehot import _background, _core
from firehot._rust_build import Builder
from firehot._rust_settings import Settings
from firehot.errors import EnvironmentClosedError, RustBuildError

Given = list[tuple[str, str, str]]
"""Module, published file (empty: who imports it builds it), and the `.rs` file or folder that it comes from."""

_Stale = tuple[_core.Extension, Settings, "str | None"]
_Outcome = tuple[_Stale, "str | BaseException"]


class Builds:
    """Builds for one environment. Safe to use from several threads."""

    def __init__(self) -> None:
        """Builds nothing yet."""
        self._builder = Builder()
        self._lock = threading.Lock()
        self._told: dict[str, str] = {}
        self._is_over = False

    def ready(self, extensions: Sequence[_core.Extension], theirs: Collection[str]) -> Given:
        """The file to load for each, built where it is stale.

        Args:
            extensions: All of them.
            theirs: Modules that are other projects': the first to import one builds it, and only who imports it hears
                that it does not build.

        Raises:
            RustBuildError: One does not build.
            EnvironmentClosedError: `end` was called.
        """
        files: dict[str, str] = {}
        stale: list[_Stale] = []
        for extension in extensions:
            settings = self._builder.settings(extension)
            state, found, _ = self._builder.workshop.check(extension, settings.for_engine())
            file = None if found is None else str(found)
            if file is not None and (settings.prebuilt or (state == "fresh" and not settings.force)):
                files[extension.module] = file
            # Without a build and a toolchain, the import says what to do; another project may never be imported.
            elif settings.prebuilt or (extension.module in theirs and file is None and not extension.by_maturin):
                continue
            elif _is_there(extension, self._builder.workshop):
                stale.append((extension, settings, file))
        errors = []
        for (extension, settings, last), made in self._build(stale):
            if isinstance(made, str):
                files[extension.module] = made
                self._told.pop(extension.module, None)
            elif last is not None and settings.on_build_error == "keep":
                files[extension.module] = last
                self._tell(extension.module, made)
            elif extension.module not in theirs:
                errors.append(made)
        if errors:
            raise errors[0]
        return [
            (each.module, files.get(each.module, ""), str(each.place))
            for each in extensions
            if (each.module in files or each.module in theirs) and not each.by_maturin
        ]

    def end(self) -> None:
        """Ends what is being built, for good."""
        self._is_over = True
        self._builder.workshop.end_builds()

    def _build(self, stale: list[_Stale]) -> list[tuple[_Stale, str | RustBuildError]]:
        if not stale:
            return []
        todo: queue.SimpleQueue[_Stale | None] = queue.SimpleQueue()
        done: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        count = min(len(stale), os.cpu_count() or 1)
        for each in (*stale, *[None] * count):
            todo.put(each)
        threads = [_background.start(self._work, (todo, done), name="firehot-rust") for _ in range(count)]
        outcomes = []
        try:
            for _ in stale:
                outcomes.append(done.get())
        except BaseException:
            # Ctrl-C. Nobody waits for the rest.
            while not todo.empty():
                todo.get()
            for _ in threads:
                todo.put(None)
            self._builder.workshop.end_builds()
            raise
        finally:
            for thread in threads:
                thread.join()
        made: list[tuple[_Stale, str | RustBuildError]] = []
        for each, outcome in outcomes:
            if self._is_over:
                raise EnvironmentClosedError("the environment is closed")
            if not isinstance(outcome, (str, RustBuildError)):
                raise outcome
            made.append((each, outcome))
        return made

    def _work(self, todo: queue.SimpleQueue[_Stale | None], done: queue.SimpleQueue[_Outcome]) -> None:
        while (each := todo.get()) is not None:
            extension, settings, _ = each
            try:
                if self._is_over:
                    raise EnvironmentClosedError("the environment is closed")
                outcome: str | BaseException = self._builder.build(extension, settings)
            except BaseException as error:
                outcome = error
            done.put((each, outcome))

    def _tell(self, module: str, error: RustBuildError) -> None:
        with self._lock:
            if self._told.get(module) == str(error):
                return
            self._told[module] = str(error)
        first = str(error).partition("\n")[0].rstrip(":")
        print(f"firehot: {first}; going on with the last build that was good", file=sys.stderr)


def _is_there(extension: _core.Extension, workshop: _core.Workshop) -> bool:
    """Whether a file or crate is still what it was found as: to import what is gone fails as ever."""
    if extension.kind == "project":
        return True
    try:
        found = workshop.find(extension.module, [str(extension.place.parent)])
    except RustBuildError:
        return True  # That is told by the build.
    return found is not None and found.place == extension.place
