"""What `firehot doctor` says of the packages that a project imports: what they cost, and whether they can be forked.

Asks the daemon's templates; where there are none, builds one of all that the project's files import, as the daemon does
for a program, and ends it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from firehot import _background, _core, _forks, _host, _remedies, _run, context
from firehot._config import Settings
from firehot._doctor_finding import Finding

_LIMIT = 10.0
"""Seconds that ending a template may take."""
_SHOWN = 8
"""Imports that are told one by one."""
_PLACES = 3


@dataclass
class Measured:
    """What the project imports.

    Attributes:
        seconds: What its imports take, in the slowest template.
        what: Where that was found.
        costs: Seconds of each import, in the slowest template.
        verdicts: What is known of each package: see `firehot.Environment.verdicts`.
        skipped: What is not preloaded: reason and lines.
    """

    seconds: float
    what: str
    costs: dict[str, float]
    verdicts: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, tuple[str, list[tuple[str, int, str]]]] = field(default_factory=dict)


def of_templates(templates: list[dict[str, Any]]) -> Measured | None:
    """From the daemon's answer to `imports`."""
    slowest: Measured | None = None
    verdicts: dict[str, str] = {}
    skipped: dict[str, tuple[str, list[tuple[str, int, str]]]] = {}
    for template in templates:
        if template["state"] != "ready":
            continue
        verdicts.update(template["verdicts"])
        skipped.update({each["name"]: (each["reason"], each["lines"]) for each in template["skipped"]})
        costs: dict[str, float] = {}
        for each in template["imports"]:
            costs[each["name"]] = costs.get(each["name"], 0.0) + each["milliseconds"] / 1000
        seconds = sum(costs.values())
        if slowest is None or seconds > slowest.seconds:
            slowest = Measured(seconds, f"the template of {template['target']}", costs)
    if slowest is not None:
        slowest.verdicts, slowest.skipped = verdicts, skipped
    return slowest


def measure(root: str, settings: Settings) -> Measured:
    """Imports what any file of the project imports, in a template that ends with this.

    Raises:
        FirehotError: There is no template to be had.
        OSError: The system says no.
    """
    path = [root, *_run.search_path([])]
    scan: dict[str, Any] = {
        "package": "__main__",
        "locations": [root],
        "own_folders": [root],
        "only_reached": False,
        "modules": [],
        "first_party": list(settings.first_party),
        "ignored": list(settings.ignored_modules),
        "preload": list(settings.preload),
        "watched": [],
        **context.interpreter(path),
    }
    fork = _forks.ForkSettings(words=settings.fork, first_party=settings.first_party, folders=(root,))
    policy = _forks.policy(fork, settings.import_timeout) | {"watch": False, "must_poll": False}
    launch = _host.launch_of(sys.executable, [], {"environ": dict(os.environ), "cwd": root, "path": path})
    _core.configure_logging("error")
    engine = _core.Engine(scan, policy, partial(_forks.setup, fork), launch)
    thread = _background.start(_drain, (engine.pump(),), name="firehot-output")
    try:
        _, skipped, verdicts = engine.report()
        costs: dict[str, float] = {}
        for name, loaded, *_ in engine.imports():
            costs[name] = costs.get(name, 0.0) + sum(microseconds for _, microseconds in loaded) / 1e6
    finally:
        engine.close(0.0)
        engine.wait_closed(_LIMIT)
        thread.join()
    lines = {name: (why, [(str(file), line, text) for file, line, text in sites]) for name, why, sites in skipped}
    return Measured(sum(costs.values()), "all that the project's files import", costs, verdicts, lines)


def _drain(pump: _core.Pump) -> None:
    while pump.next_task() is not None:
        continue


def findings(measured: Measured, root: str) -> Iterator[Finding]:
    """What is to be said of packages and of imports that fail."""
    left = {name: verdict for name, verdict in measured.verdicts.items() if verdict.startswith("left out")}
    for name, verdict in sorted(left.items()):
        yield Finding(
            "note",
            f"{name} is not safe to fork, so each run imports it itself",
            verdict.partition(": ")[2],
            f'if you know better: [tool.firehot.fork] "{name}" = "safe"',
        )
    helped = [f"{name} ({verdict})" for name, verdict in sorted(measured.verdicts.items()) if "with" in verdict.split()]
    if helped:
        yield Finding("ok", f"made safe to fork: {'; '.join(helped)}", "firehot does it by itself", "")
    yield from _variables(measured)
    yield from _failing(measured, left, root)


def _failing(measured: Measured, left: dict[str, str], root: str) -> Iterator[Finding]:
    """Imports that fail here: those of what is not installed in one finding, since there may be many."""
    missing: set[str] = set()
    others: list[tuple[str, str, list[tuple[str, int, str]]]] = []
    for name, (reason, lines) in sorted(measured.skipped.items()):
        if any(name == each or name.startswith(f"{each}.") for each in left):
            continue
        if reason.startswith("ModuleNotFoundError"):
            missing.add(name.partition(".")[0])
        else:
            others.append((name, reason, lines))
    for name, reason, lines in others[:_SHOWN]:
        where = ", ".join(_place(file, line, root) for file, line, _ in lines[:_PLACES])
        why = f"{reason} ({where})" if where else reason
        yield Finding("note", f"the import of {name} fails, so it is not preloaded", why, "firehot imports tells more")
    if len(others) > _SHOWN:
        yield Finding("note", f"and {len(others) - _SHOWN} more imports fail", "", "firehot imports tells which")
    if missing:
        names = sorted(missing)
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        what = f"imported, and not found here: {', '.join(names[:_SHOWN])}{more}"
        yield Finding("note", what, "a run that needs one of them fails", "install what is meant to be there")


def _variables(measured: Measured) -> Iterator[Finding]:
    """Variables of the caller's that break children of packages that are here."""
    for entry in _remedies.load():
        if entry.kind != "leave-unset" or entry.package not in measured.verdicts:
            continue
        name = entry.parameters["variable"]
        if os.environ.get(name, "").lower() in entry.parameters["values"]:
            what = f"{name} is {os.environ[name]}"
            yield Finding("problem", what, f"{entry.package}: {entry.symptom}", entry.remedy)


def _place(file: str, line: int, root: str) -> str:
    inside = Path(file).is_relative_to(root)
    return f"{os.path.relpath(file, root) if inside else file}:{line}"
