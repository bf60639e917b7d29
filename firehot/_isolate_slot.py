"""One test of an isolated session: what is known of it, until it is told in its turn."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from contextlib import suppress
from typing import Any

import pytest

from firehot import _isolate_inside
from firehot._isolate_events import Event
from firehot._isolate_fork import Fork


class Slot:
    """A test, and what is known of it so far."""

    def __init__(self, item: pytest.Item) -> None:
        """Nothing is known."""
        self.item = item
        self.is_queued = False
        self.is_done = False
        self.is_told = False
        self.is_held = False
        """Its teardown goes on here, after that in the fork."""
        self._events: deque[Event] = deque()
        self._late: list[Event] = []
        self._reports: list[Any] = []
        self._began = time.time()

    def add(self, event: Event) -> None:
        """Something has happened."""
        if event[0] == "report":
            self._reports.append(event[1])
        self._events.append(event)

    def add_late(self, event: Event) -> None:
        """Something has happened in the teardown here."""
        self._late.append(event)

    def take(self) -> Event | None:
        """The next event that may be told."""
        if not self._events or (self.is_held and _is_teardown(self._events[0])):
            return None
        self.is_told = True
        return self._events.popleft()

    def merge(self, torn: _isolate_inside.TornDown) -> None:
        """Makes the teardown here a part of the one in the fork, which is held."""
        at = next((at for at, event in enumerate(self._events) if _is_teardown(event)), None)
        if at is not None:
            held = self._events[at][1]
            held.sections = _joined(held.sections, torn.sections)
            if torn.report is not None and held.passed:
                torn.report.sections = held.sections
                torn.report.duration += held.duration
                self._events[at] = "report", torn.report
            elif torn.report is not None:
                self._events.insert(at + 1, ("report", torn.report))
            else:
                held.duration += torn.duration
        elif torn.report is not None:
            self._events.append(("report", torn.report))
        self._events.extend(self._late)
        self._late = []

    def died(self, status: int, fork: Fork) -> None:
        """Its process is dead, and it had not ended."""
        phases = [report.when for report in self._reports]
        when = "setup" if "setup" not in phases else "teardown" if "call" in phases else "call"
        if not self._events and not phases:
            self.add(("start", {"nodeid": self.item.nodeid, "location": self.item.location}))
        if "teardown" not in phases:
            sections = list(self._reports[-1].sections) if self._reports else []
            sections += [(f"Captured {key} {when}", text) for key, text in fork.output.rest()]
            self._report(when, "failed", _longrepr(self.item, status), sections)
            if when != "teardown":
                self._report("teardown", "passed", None, sections)
        for event in fork.spare:
            if event[0] == "warning":
                self.add(event)
        self.add(("finish", {"nodeid": self.item.nodeid, "location": self.item.location}))
        self.is_done = True

    def _report(self, when: Any, outcome: Any, longrepr: Any, sections: list[tuple[str, str]]) -> None:
        item, stop = self.item, time.time()
        start = self._began if longrepr is not None else stop
        keywords: Any = dict.fromkeys(item.keywords, 1)
        report = pytest.TestReport(
            item.nodeid,
            item.location,
            keywords,
            outcome,
            longrepr,
            when,
            sections,
            stop - start,
            start,
            stop,
            list(item.user_properties),
        )
        self.add(("report", report))


def _joined(sections: list[tuple[str, str]], more: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """As if one process had captured it all; what plug-ins add comes after that."""
    joined = dict(more)
    found = [(title, text + joined.pop(title, "")) for title, text in sections]
    captured = [at for at, (title, _) in enumerate(found) if title.startswith("Captured ")]
    at = captured[-1] + 1 if captured else 0
    return [*found[:at], *joined.items(), *found[at:]]


def _is_teardown(event: Event) -> bool:
    return event[0] == "report" and event[1].when == "teardown"


def _longrepr(item: pytest.Item, status: int) -> Any:
    from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback

    code = os.waitstatus_to_exitcode(status)
    how = f"exited with status {code}"
    if code < 0:
        how = f"was killed by signal {-code}"
        with suppress(ValueError):
            how += f" ({signal.Signals(-code).name})"
    text = f"the process of this test {how}"
    path, line, _ = item.location
    place = ReprFileLocation(path, (line or 0) + 1, text)
    return ReprExceptionInfo(ReprTraceback([ReprEntryNative([f"{text}\n"])], None, "native"), place)
