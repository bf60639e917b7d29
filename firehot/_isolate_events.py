"""What a fork that runs tests tells the process that it was forked from: reports and warnings, as plain values.

Events of a test: `start`, `report`, `warning`, `finish`, each with what the hook of that name is called with. They are
taken while the test runs and given to the listeners later, in the order in which tests were collected.
"""

from __future__ import annotations

import builtins
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from _pytest._code.code import TerminalRepr

Event = tuple[str, Any]
_HEARD = ("pytest_runtest_logstart", "pytest_runtest_logreport", "pytest_runtest_logfinish", "pytest_warning_recorded")
_SHOWN = "firehot_shown"
_SUBTESTS = "firehot_failed_subtests"
_SCALARS = (str, int, float, bool, type(None), bytes)


class Recorder:
    """Takes the place of everybody who listens to reports, while a test runs."""

    def __init__(self, config: pytest.Config) -> None:
        """Registers this as a plug-in, which hears nothing yet."""
        self.take: Callable[[Event], object] = lambda _: None
        self.is_alone = False
        self._hook = config.hook
        self._saved: dict[str, list[Any]] = {}
        config.pluginmanager.register(self, "firehot-recorder")
        self._own = {name: [one for one in self._of(name) if one.plugin is self] for name in _HEARD}
        for name in _HEARD:
            self._of(name)[:] = [one for one in self._of(name) if one.plugin is not self]

    def _of(self, name: str) -> list[Any]:
        # The list itself, which the callers that pass some conftest.py over look at, too.
        implementations: list[Any] = getattr(self._hook, name)._hookimpls
        return implementations

    @contextmanager
    def alone(self, ihook: Any) -> Iterator[None]:
        """In here nobody else hears of reports."""
        for name in _HEARD:
            # A caller that passes some over finds out which when it is made: not while they are away.
            getattr(ihook, name)
        saved = self._saved = {name: self._of(name)[:] for name in _HEARD}
        for name in _HEARD:
            self._of(name)[:] = self._own[name]
        self.is_alone = True
        try:
            yield
        finally:
            self.is_alone = False
            for name in _HEARD:
                known = [*saved[name], *self._own[name]]
                added = [one for one in self._of(name) if one not in known]
                self._of(name)[:] = [*saved[name], *added]

    @contextmanager
    def aloud(self) -> Iterator[None]:
        """In `alone`: in here the others hear again."""
        quiet = {name: self._of(name)[:] for name in _HEARD}
        for name in _HEARD:
            self._of(name)[:] = self._saved[name]
        self.is_alone = False
        try:
            yield
        finally:
            self.is_alone = True
            for name in _HEARD:
                self._of(name)[:] = quiet[name]

    def pytest_runtest_logstart(self, nodeid: str, location: Any) -> None:
        """A test begins."""
        self.take(("start", {"nodeid": nodeid, "location": location}))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A phase of a test has ended."""
        self.take(("report", report))

    def pytest_runtest_logfinish(self, nodeid: str, location: Any) -> None:
        """A test has ended."""
        self.take(("finish", {"nodeid": nodeid, "location": location}))

    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str, location: Any) -> None:
        """A test has warned."""
        self.take(
            ("warning", {"warning_message": warning_message, "when": when, "nodeid": nodeid, "location": location})
        )


def deliver(event: Event, ihook: Any) -> None:
    """Calls the hook that an event was taken from."""
    kind, value = event
    if kind == "report":
        ihook.pytest_runtest_logreport(report=value)
    elif kind == "warning":
        ihook.pytest_warning_recorded.call_historic(kwargs=value)
    elif kind == "start":
        ihook.pytest_runtest_logstart(**value)
    else:
        ihook.pytest_runtest_logfinish(**value)


class _Shown(TerminalRepr):
    """What an error looked like. A plain text would be more: its first line goes into pytest's summary."""

    def __init__(self, text: str) -> None:
        self._text = text

    def toterminal(self, tw: Any) -> None:
        for line in self._text.splitlines():
            tw.line(line)


# -- plain values --------------------------------------------------------------------------------


def packed(event: Event, config: pytest.Config) -> Event:
    """An event of plain values, which `marshal` takes."""
    kind, value = event
    if kind == "report":
        failed, longrepr = _failed_subtests(config).get(key_of(value), 0), value.longrepr
        value = config.hook.pytest_report_to_serializable(config=config, report=value)
        value[_SUBTESTS] = failed
        value[_SHOWN] = isinstance(value["longrepr"], str) and not isinstance(longrepr, str)
    elif kind == "warning":
        value = {**value, "warning_message": _packed_warning(value["warning_message"])}
    return kind, plain(value)


def unpacked(event: Event, config: pytest.Config) -> Event:
    """The event that was packed."""
    kind, value = event
    if kind == "report":
        failed, context = value.pop(_SUBTESTS), value.get("_subtest.context")
        is_shown = value.pop(_SHOWN)
        value = config.hook.pytest_report_from_serializable(config=config, data=value)
        if is_shown:
            value.longrepr = _Shown(value.longrepr)
        if failed:
            _failed_subtests(config)[key_of(value)] = failed
        if context is not None:
            # Made anew, it has quoted its values once more.
            object.__setattr__(value.context, "kwargs", context["kwargs"])
    elif kind == "warning":
        value = {**value, "warning_message": _unpacked_warning(value["warning_message"])}
    return kind, value


def _failed_subtests(config: pytest.Config) -> Any:
    """What pytest counts for a test that passes while its subtests do not."""
    try:
        from _pytest.subtests import failed_subtests_key
    except ImportError:  # They came with pytest 9.
        return {}
    return config.stash.get(failed_subtests_key, {})


def key_of(report: Any) -> Any:
    """What pytest keeps things about a test by."""
    return getattr(report, "id", report.nodeid)


def plain(value: Any) -> Any:
    """The same of plain types; what has none is a text."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind in (list, tuple):
        return kind([plain(one) for one in value])
    if isinstance(value, dict):
        return {plain(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    for scalar in (int, float):
        if isinstance(value, scalar):
            return scalar(value)
    return str(value)


def _packed_warning(warning: warnings.WarningMessage) -> dict[str, Any]:
    message, category = warning.message, warning.category
    return {
        "text": str(message),
        "args": [plain(one) for one in getattr(message, "args", ())],
        "kind": _names(type(message) if isinstance(message, Warning) else category),
        "category": _names(category),
        "filename": warning.filename,
        "lineno": warning.lineno,
        "line": warning.line,
    }


def _unpacked_warning(told: dict[str, Any]) -> warnings.WarningMessage:
    message = _message(_kind(told["kind"]), told)
    return warnings.WarningMessage(
        message, _kind(told["category"]), told["filename"], told["lineno"], line=told["line"]
    )


def _message(kind: type[Warning], told: dict[str, Any]) -> Warning:
    try:
        message = kind(*told["args"])
        if str(message) == told["text"]:
            return message
    except Exception:  # It wants other arguments, which are not plain.
        pass
    return Warning(told["text"])


def _names(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def _kind(names: tuple[str, str]) -> type[Warning]:
    """The class of this name; one that looks like it where only the fork has it."""
    found: Any = sys.modules.get(names[0], builtins)
    for part in names[1].split("."):
        found = getattr(found, part, None)
    if isinstance(found, type) and issubclass(found, Warning):
        return found
    return type(names[1], (Warning,), {"__module__": names[0]})
