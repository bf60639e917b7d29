"""What a fork tells of its tests and of its end; and the teardown that its parent does for a test of the fork's."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest

from firehot import _isolate_coverage, _isolate_events, _isolate_fork
from firehot._isolate_events import Event
from firehot._isolate_fork import Line


def xml_of(config: pytest.Config) -> Any:
    """What writes `--junitxml`, if that is asked for."""
    with suppress(ImportError):
        from _pytest.junitxml import xml_key

        return config.stash.get(xml_key, None)
    return None


class Teller:
    """Sends each event of a fork's tests to the parent."""

    def __init__(self, session: pytest.Session, line: Line) -> None:
        """Remembers what the parent knows."""
        self._session, self._line = session, line
        self._xml = xml_of(session.config)
        self._known = len(self._xml.global_properties) if self._xml is not None else 0

    def take(self, event: Event) -> None:
        """What a recorder has heard."""
        kind, value = event
        if kind == "report":
            if self._xml is not None:
                self._tell_attributes(value)
            # It counts for -x, which ends the unit.
            self._session.pytest_runtest_logreport(value)
        self._line.send("event", *_isolate_events.packed(event, self._session.config))

    def _tell_attributes(self, report: Any) -> None:
        reporter = self._xml.node_reporters.get((_isolate_events.key_of(report), None))
        if reporter is not None and reporter.attrs:
            self._line.send("event", "attributes", (report.nodeid, _isolate_events.plain(reporter.attrs)))

    def next(self, at: int) -> None:
        """The unit's test of this number begins."""
        self._line.send("next", at)

    def finish(self) -> NoReturn:
        """After the last test."""
        added = self._xml.global_properties[self._known :] if self._xml is not None else []
        self._line.send("over", _isolate_coverage.of_fork(), _isolate_events.plain(list(added)))
        _isolate_fork.end(self._session.config)

    def fail(self, tear_down: Callable[[None], object], error: BaseException) -> NoReturn:
        """After what ends pytest itself: an interrupt, `pytest.exit`, an error in a plug-in."""
        # Once is enough.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        path, lineno = place_of(error)
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        # As at the end of a session that is interrupted.
        with suppress(Exception):
            tear_down(None)
        if isinstance(error, KeyboardInterrupt):
            self._line.send("interrupt", path, lineno)
        elif isinstance(error, pytest.exit.Exception):
            self._line.send("exit", path, lineno, str(error.msg), error.returncode)
        else:
            self._line.send("broken", text)
        _isolate_fork.end(self._session.config)


def place_of(error: BaseException) -> tuple[str, int]:
    """The file and line where it was raised, as far as that has one: an interrupt may come between two lines."""
    lines = [(at.f_code.co_filename, lineno) for at, lineno in traceback.walk_tb(error.__traceback__) if lineno]
    return lines[-1] if lines else ("", 1)


def lacks_lines(error: BaseException) -> bool:
    """Whether pytest can't show its traceback: it counts on a line number in each entry."""
    return any(not lineno for _, lineno in traceback.walk_tb(error.__traceback__))


def raise_at(path: str, lineno: int, error: BaseException) -> NoReturn:
    """Raises an error where it was raised in a fork, as far as reports of it can tell."""
    code = compile("\n" * (lineno - 1) + "raise error", path or "<fork>", "exec")
    exec(code, {"error": error})
    raise error


# -- the parent's part of a teardown -------------------------------------------------------------


@dataclass
class TornDown:
    """What a teardown of wider fixtures came to."""

    report: Any
    """Only when something was raised."""
    sections: list[tuple[str, str]]
    duration: float


def tear_down(item: Any, nextitem: pytest.Item | None) -> TornDown:
    """Tears down what the next test does not need, as the teardown of this test, which has ended in a fork.

    Only pytest's own hooks are called for it: those of others have seen this teardown in the fork.
    """
    manager: Any = item.config.pluginmanager
    others = [one.plugin for one in item.ihook.pytest_runtest_teardown.get_hookimpls() if not _is_pytests(one.plugin)]
    hook = manager.subset_hook_caller("pytest_runtest_teardown", remove_plugins=others)
    _make_ready(item)
    before = len(item._report_sections)
    reraise: tuple[type[BaseException], ...] = (pytest.exit.Exception, KeyboardInterrupt)
    with _warnings_of(item):
        call = pytest.CallInfo.from_call(lambda: hook(item=item, nextitem=nextitem), when="teardown", reraise=reraise)
    sections = [(f"Captured {key} {when}", text) for when, key, text in item._report_sections[before:]]
    return TornDown(_report(item, call) if call.excinfo is not None else None, sections, call.duration)


def _report(item: Any, call: Any) -> Any:
    try:
        return item.ihook.pytest_runtest_makereport(item=item, call=call)
    except Exception:  # A plug-in counts on what only the fork has done.
        return pytest.TestReport.from_item_and_call(item, call)


def _is_pytests(plugin: object) -> bool:
    module = getattr(plugin, "__name__", None) or type(plugin).__module__
    return module.partition(".")[0] == "_pytest"


def _make_ready(item: Any) -> None:
    """The setup of this test may have been in the fork alone."""
    with suppress(ImportError):
        from _pytest.logging import caplog_handler_key, caplog_records_key

        item.stash.setdefault(caplog_records_key, {})
        if caplog_handler_key not in item.stash:
            item.stash[caplog_handler_key] = None


def _warnings_of(item: pytest.Item) -> AbstractContextManager[None]:
    if not item.config.pluginmanager.has_plugin("warnings"):
        return nullcontext()
    from _pytest.warnings import catch_warnings_for_item

    return catch_warnings_for_item(item.config, item.ihook, "runtest", item)
