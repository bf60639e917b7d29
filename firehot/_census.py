"""Judges the template by trial: what is left of its threads after a fork, and whether a child can exit.

Standard library only.

Two forks for nothing. The first, where there are threads, lets libraries join theirs in their own fork handlers
(OpenBLAS does); threads that are left after it stay for good, and are what children will miss. The second ends as a
child does. Both run while the template takes its census.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from posix import _exit, close, dup2, getpid, kill, read, waitpid, write
from select import POLLIN
from select import poll as Poll
from typing import Any, NamedTuple, TypeAlias

from firehot import _audit, _process, _threads

LIMIT_MS = 10_000
# Python has no audit event for threads before 3.12.
_WITHOUT_EVENT = sys.version_info < (3, 12)
Told: TypeAlias = dict[str, str]


class _Thread(NamedTuple):
    name: str
    library: str
    package: str
    item: str
    importer: str | None = None

    @property
    def text(self) -> str:
        return f"thread {self.name} ({self.library or 'of an unknown library'})"

    @property
    def modules(self) -> tuple[str, ...]:
        return (self.package, self.item, self.importer or self.item)


class Census:
    """Knows which import made which thread appear; `take` counts."""

    def __init__(self, harmless: list[dict[str, Any]], safe: tuple[str, ...]) -> None:
        """`harmless` are the remedies of the kind `harmless-thread`."""
        self._harmless = harmless
        self._safe = safe
        # Threads that the interpreter's own start has brought (`sitecustomize`) are no import's: a cold start has them.
        self._at_start = frozenset(_threads.tasks())
        self._items: dict[int, str] = {}
        self._importers: dict[int, str] = {}
        self._start: Any = None
        self._noting: Any = None

    def after(self, name: str) -> None:
        """Says that `name` has been imported: threads that are new are its."""
        for task in _threads.tasks():
            self._items.setdefault(task, name)

    def listen(self) -> None:
        """Begins to note who starts Python threads."""
        _audit.add(self._note_thread, "_thread.start_new_thread", "_thread.start_joinable_thread")
        if _WITHOUT_EVENT:
            module: Any = threading
            start = self._start = module._start_new_thread

            def note_and_start(function: Any, *arguments: Any) -> Any:
                self._note_thread("", (function,))
                return start(function, *arguments)

            module._start_new_thread = self._noting = note_and_start

    def close(self) -> None:
        """The preload is over."""
        module: Any = threading
        # A package may have put its own in its place (gevent).
        if _WITHOUT_EVENT and module._start_new_thread is self._noting:
            module._start_new_thread = self._start

    def _note_thread(self, _: str, arguments: tuple[Any, ...]) -> None:
        thread = getattr(arguments[0], "__self__", None)
        if thread is not None and (module := _audit.running_module()) is not None:
            self._importers[id(thread)] = module

    def take(
        self,
        fork: Callable[[], int],
        leave: Callable[[], None],
        tell: Callable[[str], None],
        end: Callable[[], None] | None,
        meanwhile: Callable[[], None],
    ) -> dict[str, Any]:
        """Forks for nothing and counts. Where there is no thread, nothing can end at a fork.

        Args:
            fork: Forks, with everything that is done before a fork.
            leave: Called in the forked processes: takes them off the template's sockets.
            tell: Takes a warning.
            end: Makes the second one end as a child does; `None` for no such trial.
            meanwhile: Called while they run.
        """
        maps = _threads.Maps() if len(_threads.tasks()) > 1 or _threads.python_threads() else None
        before = self._living(maps) if maps is not None else {}
        first = _Trial(fork, leave, lambda: None) if maps is not None else None
        second = _Trial(fork, leave, end) if end is not None else None
        meanwhile()
        after = self._living(maps, before) if maps is not None else {}
        if first is not None and first.result() is None:
            tell("a child of the template did not come back from fork; something preloaded hangs after a fork")
        report: dict[str, Any] = {"exit": None, "exit_ms": None}
        revived: list[str] = []
        if second is not None:
            report["exit"] = _describe(second.result())
            report["exit_ms"] = second.milliseconds
            revived = second.threads()
        return {**self._judge(before, after, revived), **report}

    def _living(self, maps: _threads.Maps, known: dict[int, _Thread] | None = None) -> dict[int, _Thread]:
        """Every thread but the main one, with its owner."""
        found = {}
        in_python = _threads.python_threads()
        main = getpid()
        for task in _threads.tasks():
            if task == main or task in self._at_start or (not _threads.HAS_TASKS and task not in in_python):
                continue
            if known is not None and task in known and known[task].library:
                found[task] = known[task]
                continue
            item = self._items.get(task, "")
            if (thread := in_python.get(task)) is not None:
                importer = self._importers.get(id(thread))
                package = _top(_threads.module_of(thread))
                package = _top(importer or item) if package in sys.stdlib_module_names else package
                found[task] = _Thread(thread.name, "python", package, item, importer)
            else:
                # The owner first: a thread that waits has given itself its name.
                path = maps.owner(task)
                if not (name := _threads.name_of(task)):
                    continue  # It has just ended.
                library = os.path.basename(path) if path else ""
                # A fork handler may start its library's thread anew, which then is too busy to be asked.
                if not library and (same := next((old for old in (known or {}).values() if old.name == name), None)):
                    found[task] = same
                    continue
                package = (_threads.package_of(path) if path else None) or ""
                found[task] = _Thread(name, library, package if package in sys.modules else _top(item), item)
        return found

    def _judge(self, before: dict[int, _Thread], after: dict[int, _Thread], revived: list[str]) -> dict[str, Any]:
        quiesced: Told = {}
        harmless: Told = {}
        unknown = []
        for task, thread in before.items():
            if task not in after:
                _add(quiesced, thread.package, f"{thread.text} ends at a fork")
        ended = {thread.library for task, thread in before.items() if task not in after}
        for task, thread in after.items():
            why = self._known_harmless(thread)
            if task not in before and thread.library in ended:
                _add(quiesced, thread.package, f"{thread.text} is started again after a fork, by its own handler")
            elif thread.library == "python" and thread.name in revived:
                _add(quiesced, thread.package, f"{thread.text} is started again in each child")
            elif any(f"{module}.".startswith(f"{name}.") for name in self._safe for module in thread.modules):
                _add(harmless, thread.package, f"{thread.text}: [tool.firehot.fork] says that it is safe")
            elif why is not None:
                package, text = why
                _add(harmless, package if package in sys.modules else thread.package, f"{thread.text}: {text}")
            else:
                unknown.append(
                    {
                        "name": thread.name,
                        "library": thread.library,
                        "package": thread.package,
                        "item": thread.item,
                        "importer": thread.importer,
                    }
                )
        return {"threads": unknown, "quiesced": quiesced, "harmless": harmless}

    def _known_harmless(self, thread: _Thread) -> tuple[str, str] | None:
        """The package of the table, and why."""
        for entry in self._harmless:
            if re.fullmatch(entry["thread"], thread.name) and re.fullmatch(entry["library"], thread.library):
                return str(entry["package"]), str(entry["why"])
        return None


def _top(module: str) -> str:
    return module.partition(".")[0]


def _add(told: Told, package: str, text: str) -> None:
    if text not in told.get(package, ""):
        told[package] = f"{told[package]}; {text}" if package in told else text


class _Trial:
    """A forked process that ends in a way of its own; it is watched, and killed after `LIMIT_MS`."""

    def __init__(self, fork: Callable[[], int], leave: Callable[[], None], end: Callable[[], Any]) -> None:
        self._alive, ends = os.pipe()
        # A package that holds descriptor numbers of its own must not meet it.
        self._alive, ends = _process.move_up(self._alive), _process.move_up(ends)
        self._start = time.monotonic()
        parent = getpid()
        self._pid = fork()
        if self._pid == 0:
            _run(parent, ends, leave, end)
        close(ends)
        self._text = b""
        self._status: int | None = None
        self.milliseconds = 0

    def result(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; `None` when it had to be killed."""
        poll = Poll()
        poll.register(self._alive, POLLIN)
        came = True
        while came:
            left = LIMIT_MS - int((time.monotonic() - self._start) * 1000)
            came = bool(poll.poll(max(left, 0)))
            piece = read(self._alive, 1 << 16) if came else b""
            self._text += piece
            if came and not piece:
                break
        close(self._alive)
        # Something that it has started may hold the pipe on.
        ended, status = waitpid(self._pid, 0 if came else os.WNOHANG)
        if not ended:
            kill(self._pid, signal.SIGKILL)
            waitpid(self._pid, 0)
        self.milliseconds = int((time.monotonic() - self._start) * 1000)
        return os.waitstatus_to_exitcode(status) if ended else None

    def threads(self) -> list[str]:
        """The names of the Python threads that the process had after its fork."""
        try:
            found: list[str] = json.loads(self._text)
        except ValueError:
            return []
        return found


def _run(parent: int, ends: int, leave: Callable[[], None], end: Callable[[], Any]) -> None:
    try:
        _process.die_with_parent(parent)
        leave()
        null = os.open(os.devnull, os.O_RDWR)
        for target in range(3):
            dup2(null, target)
        names = [thread.name for thread in _threads.python_threads().values()]
        write(ends, json.dumps(names).encode())
        end()
    finally:
        _exit(0)


def _describe(status: int | None) -> str:
    """Whether an exit went well. An exit code that a package chooses is its own in each cold start as well."""
    if status is None:
        return "hangs"
    return "ok" if status >= 0 else f"was killed by {signal.Signals(-status).name}"
