"""The forks of a session: which run, what each has told, and the reports in the order of the tests."""

from __future__ import annotations

import select
import time
from collections import deque
from typing import Any

import pytest

from firehot import _isolate_events, _isolate_inside
from firehot._isolate_coverage import Measured
from firehot._isolate_events import Recorder
from firehot._isolate_fork import GRACE, Fork
from firehot._isolate_slot import Slot

_TICK_MS = 100
"""How often forks are looked at whose descriptor somebody else holds open."""
_HEARD_SECONDS = 0.5


class _Running:
    """A fork, the tests that it was given, and the one that it is at."""

    def __init__(self, fork: Fork, slots: list[Slot]) -> None:
        self.fork, self.slots, self.at = fork, slots, 0

    @property
    def slot(self) -> Slot:
        return self.slots[self.at]


class Forks:
    """All of them."""

    def __init__(self, session: pytest.Session, recorder: Recorder, measured: Measured, jobs: int) -> None:
        """None yet."""
        self.jobs = jobs
        self._session = session
        self._config, self._recorder, self._measured = session.config, recorder, measured
        self._running: list[_Running] = []
        self._ending: list[Fork] = []
        self._order: deque[Slot] = deque()
        self._lost: list[list[Slot]] = []
        self._interrupted: tuple[str, int] | None = None

    # -- the reports -----------------------------------------------------------------------------

    def queue(self, slot: Slot) -> None:
        """A test begins."""
        if not slot.is_queued:
            slot.is_queued = True
            self._order.append(slot)

    def deliver(self) -> None:
        """Tells listeners what has come of the first test that has not ended, and so on."""
        # Nobody listens while a test is run here.
        while self._order and not self._recorder.is_alone:
            slot = self._order[0]
            if not slot.is_told and (self._session.shouldfail or self._session.shouldstop):
                return  # What was begun meanwhile is nobody's business.
            while (event := slot.take()) is not None:
                if event[0] == "attributes":
                    self._attribute(*event[1])
                else:
                    _isolate_events.deliver(event, slot.item.ihook)
            if not slot.is_done or slot.is_held:
                return
            self._order.popleft()

    def _attribute(self, nodeid: str, attributes: dict[str, Any]) -> None:
        if (xml := _isolate_inside.xml_of(self._config)) is not None:
            xml.node_reporter(nodeid).attrs.update(attributes)

    # -- the forks -------------------------------------------------------------------------------

    def started(self, fork: Fork, slots: list[Slot]) -> None:
        """A fork has taken these tests over."""
        for slot in slots:
            self.queue(slot)
        self._running.append(_Running(fork, slots))

    def wait_for_room(self) -> None:
        """Until one more may run."""
        self._wait_until(self.jobs - 1)

    def wait_for_all(self) -> None:
        """Until none runs."""
        self._wait_until(0)

    def _wait_until(self, number: int) -> None:
        self.deliver()
        while len(self._running) > number:
            self._wait()
            self.deliver()

    def has_lost(self) -> bool:
        """Whether a fork has died before it came to all of its tests."""
        return bool(self._lost)

    def lost_units(self) -> list[list[Slot]]:
        """The tests of such forks; they are to be run anew."""
        lost, self._lost = self._lost, []
        return lost

    def _wait(self) -> None:
        poll = select.poll()
        for one in self._running:
            poll.register(one.fork.fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(_TICK_MS)}
        for one in self._running[:]:
            if one.fork.fd in ready:
                self._read(one)
            elif not ready and one.fork.is_dead():
                self._died(one)
        for fork in self._ending[:]:
            if fork.reap():
                self._ending.remove(fork)
                fork.close()

    def _read(self, one: _Running) -> None:
        messages, is_end = one.fork.read()
        for kind, *values in messages:
            self._message(one, kind, values)
        if is_end and not one.fork.is_over:
            self._died(one)

    def _message(self, one: _Running, kind: str, values: list[Any]) -> None:
        if kind == "event":
            one.slot.add(_isolate_events.unpacked((values[0], values[1]), self._config))
            return
        if kind == "next":
            one.slot.is_done = True
            one.at = values[0]
            return
        self._running.remove(one)
        self._ending.append(one.fork)
        one.fork.over()
        if kind == "over":
            self._over(one, *values)
        elif kind == "interrupt":
            self._interrupted = self._interrupted or (values[0], values[1])
            _isolate_inside.raise_at(values[0], values[1], KeyboardInterrupt())
        elif kind == "exit":
            self.deliver()
            path, lineno, text, status = values
            _isolate_inside.raise_at(path, lineno, pytest.exit.Exception(text, status))
        else:
            raise RuntimeError(f"in the process of {one.slot.item.nodeid}:\n{values[0]}")

    def _over(self, one: _Running, measured: bytes, properties: list[Any]) -> None:
        for slot in one.slots[one.at :]:
            slot.is_done = True
        self._measured.add(measured)
        if properties and (xml := _isolate_inside.xml_of(self._config)) is not None:
            xml.global_properties.extend(tuple(each) for each in properties)

    def _died(self, one: _Running) -> None:
        self._running.remove(one)
        one.fork.over()
        one.fork.reap(wait=True)
        one.slot.died(one.fork.status or 0, one.fork)
        one.fork.close()
        if rest := one.slots[one.at + 1 :]:
            self._lost.append(rest)

    # -- the end ---------------------------------------------------------------------------------

    def stop(self) -> tuple[str, int] | None:
        """Ends what runs, as Ctrl-C does, and after a while by force; where the first of them was interrupted."""
        try:
            # Those in the terminal's process group have heard of a Ctrl-C there already: once is enough.
            self._await_last_words(0.0 if all(one.fork.has_group for one in self._running) else _HEARD_SECONDS)
            for one in self._running:
                one.fork.interrupt()
            self._await_last_words(GRACE)
        finally:
            # A second Ctrl-C comes here at once.
            for one in self._running:
                one.fork.kill()
            for fork in [*(one.fork for one in self._running), *self._ending]:
                fork.over()
                fork.reap(wait=True)
                fork.close()
            self._running, self._ending = [], []
        return self._interrupted

    def _await_last_words(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._running and time.monotonic() < deadline:
            self._last_words()

    def _last_words(self) -> None:
        poll = select.poll()
        for one in self._running:
            poll.register(one.fork.fd, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(_TICK_MS)}
        for one in self._running[:]:
            if one.fork.fd not in ready:
                if not one.fork.is_dead():
                    continue
                messages: list[Any] = []
                is_end = True
            else:
                messages, is_end = one.fork.read()
            for kind, *values in messages:
                if kind == "interrupt":
                    self._interrupted = self._interrupted or (values[0], values[1])
            if is_end or any(kind not in ("event", "next") for kind, *_ in messages):
                self._running.remove(one)
                self._ending.append(one.fork)
                one.fork.over()
