"""Tests in forks of the pytest process: `--firehot-isolate`, `--firehot-jobs`.

A test begins here, as ever. When its wider fixtures are set up, the process forks in the middle of the test's setup:
the fork goes on from there to the end of its unit (a test, a class or a module), and tells what happens; here an
exception leaves the test. So every plug-in around a test is around it in the fork, too, and each hook is called once
for what it is about. See `_isolate_fixtures` for what belongs to whom, `_isolate_events` for what is told.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, TypeVar

import pytest
from _pytest.outcomes import Exit

import firehot
from firehot import _isolate_coverage, _isolate_events, _isolate_fixtures, _isolate_fork, _isolate_inside
from firehot._isolate_forks import Forks
from firehot._isolate_slot import Slot

_NAME = "firehot-isolate"


def enable(config: pytest.Config, unit: str, jobs: int) -> None:
    """Registers the loop that runs tests in forks.

    Raises:
        pytest.UsageError: Another plug-in runs the tests in processes of its own, or the options contradict.
    """
    option = config.option
    if hasattr(config, "workerinput") or getattr(option, "numprocesses", None) or getattr(option, "tx", None):
        raise pytest.UsageError("--firehot-isolate can't be combined with -n of pytest-xdist: use --firehot-jobs N")
    if getattr(option, "forked", False):
        raise pytest.UsageError("--firehot-isolate can't be combined with --forked of pytest-forked")
    debugs = getattr(option, "usepdb", False) or getattr(option, "trace", False)
    if jobs > 1 and debugs:
        raise pytest.UsageError("--pdb and --trace need the terminal for one test at a time: leave --firehot-jobs out")
    if getattr(option, "setuponly", False) or getattr(option, "setupplan", False):
        return
    config.pluginmanager.register(_Loop(config, unit, jobs, bool(debugs)), _NAME)


_Method = TypeVar("_Method", bound=Callable[..., Any])


def _unseen(method: _Method) -> _Method:
    """Takes the frames of a method out of the tracebacks of reports, as those of pytest: generated code is left out."""
    function: Any = method
    function.__code__ = function.__code__.replace(co_filename="<firehot>")
    return method


class _HandedOver(Exit):
    """Leaves a test that goes on in a fork. What ends pytest is what everything around a test lets through."""


class _Loop:
    """Runs the tests of a session."""

    def __init__(self, config: pytest.Config, unit: str, jobs: int, debugs: bool) -> None:
        self._config = config
        self._unit = unit
        self._recorder = _isolate_events.Recorder(config)
        self._measured = _isolate_coverage.Measured()
        self._jobs = jobs
        # With a process group of its own a fork can't read from the terminal.
        self._has_group = not debugs and not (config.getoption("capture", "no") == "no" and _at_terminal())
        self._handing: list[Slot] = []
        """The rest of the unit, beginning with the test that is about to be handed over."""
        self._last: Slot | None = None
        self._has_handed_over = False
        self._interrupts = _isolate_fork.Interrupts()
        self._teller: _isolate_inside.Teller | None = None
        """In a fork only."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Instead of pytest's own."""
        if session.config.option.collectonly or (
            session.testsfailed and not session.config.option.continue_on_collection_errors
        ):
            return None
        state: Any = session._setupstate
        self._session, self._state = session, state
        self._forks = Forks(session, self._recorder, self._measured, self._jobs)
        self._setup, self._teardown = state.setup, state.teardown_exact
        state.setup, state.teardown_exact = self._set_up, self._tear_down
        if "freezegun" in sys.modules:
            # It asks every module for all of its names, once in each process: each fork would load the rest of us.
            for name in dir(firehot):
                getattr(firehot, name)
        try:
            self._run_all()
        except KeyboardInterrupt as error:
            if self._teller is not None:
                raise
            place = self._forks.stop()
            if place is not None or _isolate_inside.lacks_lines(error):
                _isolate_inside.raise_at(*(place or _isolate_inside.place_of(error)), KeyboardInterrupt())
            raise
        finally:
            if self._teller is not None:
                os._exit(1)  # No way leads here: a fork ends where it has begun.
            state.setup, state.teardown_exact = self._setup, self._teardown
            self._forks.stop()
            self._measured.merge()
        return True

    # -- the tests, one after the other ----------------------------------------------------------

    def _run_all(self) -> None:
        work = self._work = deque(self._units())
        while work:
            slots = work.popleft()
            self._forks.wait_for_room()
            again = self._forks.lost_units()
            if again:
                # A fork died; what it has not begun comes before everything else.
                work.extendleft(reversed([*again, slots]))
                slots = work.popleft()
                self._leave(None, slots[0].item)
            self._run(slots)
            self._stop_if_asked()
            if not work:
                self._forks.wait_for_all()
                self._stop_if_asked()
                work.extend(self._forks.lost_units())

    def _stop_if_asked(self) -> None:
        if not self._session.shouldfail and not self._session.shouldstop:
            return
        self._forks.stop()
        if self._last is not None and self._state.stack:
            # Its teardown was told before anybody knew that it is the last.
            with self._recorder.alone(self._last.item.ihook):
                self._recorder.take = lambda _: None
                torn = _isolate_inside.tear_down(self._last.item, None)
            if torn.report is not None:
                self._last.item.ihook.pytest_runtest_logreport(report=torn.report)
        if self._session.shouldfail:
            raise self._session.Failed(self._session.shouldfail)
        if self._session.shouldstop:
            raise self._session.Interrupted(self._session.shouldstop)

    def _units(self) -> list[list[Slot]]:
        units: list[list[Slot]] = []
        last = None
        for item in self._session.items:
            top = _isolate_fixtures.top(item, self._unit)
            if top is not last:
                units.append([])
                last = top
            units[-1].append(Slot(item))
        return units

    def _next(self, slots: list[Slot]) -> pytest.Item | None:
        if len(slots) > 1:
            return slots[1].item
        return self._work[0][0].item if self._work else None

    def _run(self, slots: list[Slot]) -> None:
        """A unit, up to the moment when all of it was run or handed over."""
        while slots:
            slot, nextitem = slots[0], self._next(slots)
            self._handing = slots
            self._last = slot
            self._forks.queue(slot)
            self._recorder.take = partial(self._hear, slot)
            try:
                with self._recorder.alone(slot.item.ihook):
                    self._config.hook.pytest_runtest_protocol(item=slot.item, nextitem=nextitem)
                    if self._teller is not None:
                        self._go_on(slots, self._teller)
            except _HandedOver:
                pass
            except BaseException as error:
                if self._teller is not None:
                    self._teller.fail(self._teardown, error)
                raise
            finally:
                self._interrupts.release()
            if self._has_handed_over:
                self._has_handed_over = False
                os.environ.pop("PYTEST_CURRENT_TEST", None)
                self._leave(slots[-1], self._work[0][0].item if self._work else None)
                return
            slot.is_done = True
            self._forks.deliver()
            slots = slots[1:]
            if slots:
                self._stop_if_asked()

    def _hear(self, slot: Slot, event: _isolate_events.Event) -> None:
        slot.add(event)
        if event[0] == "start":
            # Before the test runs, if the ones before it have ended.
            with self._recorder.aloud():
                self._forks.deliver()

    # -- set up and torn down --------------------------------------------------------------------

    @_unseen
    def _set_up(self, item: pytest.Item) -> None:
        """In place of `SetupState.setup`: up to the unit here, and the rest in a fork."""
        if self._teller is None and self._handing and item is self._handing[0].item:
            self._setup(_isolate_fixtures.top(item, self._unit).parent)
            self._inherit(item)
            self._fork()
        self._setup(item)

    @_unseen
    def _inherit(self, item: Any) -> None:
        names = list(_isolate_fixtures.inherited_names(item, self._state.stack))
        # A test that is being set up may ask for fixtures, and no other.
        self._state.stack[item] = ([], None)
        try:
            for name in names:
                if _isolate_fixtures.is_replaced(item, name):
                    self._forks.wait_for_all()
                value = item._request.getfixturevalue(name)
                if name == "tmp_path_factory":
                    # The folder of the session, which it makes when it is first asked.
                    value.getbasetemp()
            for other in self._handing[1:]:
                _isolate_fixtures.prepare(other.item, self._state.stack)
        finally:
            del self._state.stack[item]

    def _fork(self) -> None:
        self._interrupts.hold()
        fork, line = _isolate_fork.start(self._config, self._has_group)
        if fork is not None:
            self._forks.started(fork, self._handing)
            self._has_handed_over = True
            # What listeners of this process would hear from here on, they hear from the fork.
            self._recorder.take = fork.spare.append
            raise _HandedOver("in a fork")
        assert line is not None
        self._teller = _isolate_inside.Teller(self._session, line)
        self._recorder.take = self._teller.take
        self._state.teardown_exact = self._tear_down_inside
        _isolate_fixtures.disown(self._session)
        self._interrupts.release()

    @_unseen
    def _tear_down(self, nextitem: pytest.Item | None) -> None:
        """In place of `SetupState.teardown_exact`: forks may need what goes."""
        if _isolate_fixtures.has_work(self._state.stack, _isolate_fixtures.surplus(self._state.stack, nextitem)):
            self._forks.wait_for_all()
        self._teardown(nextitem)

    @_unseen
    def _tear_down_inside(self, nextitem: pytest.Item | None) -> None:
        """In a fork: what it has set up goes with its last test."""
        is_last = all(nextitem is not slot.item for slot in self._handing)
        self._teardown(None if is_last else nextitem)

    def _leave(self, slot: Slot | None, nextitem: pytest.Item | None) -> None:
        """Tears down what the next test does not need, as a part of the last test that needed it."""
        stack = self._state.stack
        nodes = _isolate_fixtures.surplus(stack, nextitem)
        is_work = _isolate_fixtures.has_work(stack, nodes)
        if slot is not None and (is_work or self._forks.jobs == 1):
            slot.is_held = True
            self._forks.wait_for_all()
            if self._forks.has_lost():
                # The tests that were lost need it as well.
                slot.is_held = False
                return
            if self._session.shouldfail or self._session.shouldstop:
                nextitem = None
                is_work = _isolate_fixtures.has_work(stack, list(stack))
        if is_work and slot is not None:
            self._recorder.take = slot.add_late
            with self._recorder.alone(slot.item.ihook):
                slot.merge(_isolate_inside.tear_down(slot.item, nextitem))
        else:
            self._tear_down(nextitem)
        if slot is not None:
            slot.is_held = False
            self._forks.deliver()

    # -- in a fork -------------------------------------------------------------------------------

    def _go_on(self, slots: list[Slot], teller: _isolate_inside.Teller) -> NoReturn:
        """The rest of the unit, and the end."""
        for at in range(1, len(slots)):
            if self._session.shouldfail or self._session.shouldstop:
                break
            teller.next(at)
            self._config.hook.pytest_runtest_protocol(item=slots[at].item, nextitem=self._next(slots[at:]))
        teller.finish()


def _at_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False
