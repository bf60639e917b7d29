"""`firehot doctor`: whether firehot is worth it here, what can't be forked, and what is wrong around it.

A finding is a fact, why it matters, and the way out. Only a problem needs a hand: then the exit status is 1.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from firehot import _daemons, _doctor_checks, _doctor_packages
from firehot._doctor_finding import Finding
from firehot._doctor_packages import Measured
from firehot.errors import FirehotError

Command = dict[str, Any]

_WORTH = 0.05
"""Seconds of imports below which nobody would notice that they are gone."""


def execute(command: Command) -> int:
    """Executes it; returns the exit status."""
    place, findings = _doctor_checks.runtime_folder()
    root = place["root"] if place is not None else _doctor_checks.root_without_place()
    settings, wrong = _doctor_checks.settings(root)
    findings += wrong
    measured, wrong = _measure(root, place, settings, is_quiet=command["json"])
    findings += wrong
    if measured is not None:
        findings = [_worth(measured), *_doctor_packages.findings(measured, root), *findings]
    findings += _doctor_checks.environment()
    if settings is not None:  # Else both complain of the same file.
        findings += _doctor_checks.cargo(root)
    failed = any(finding.level == "problem" for finding in findings)
    if command["json"]:
        facts = {"root": root, "ok": not failed, "seconds": None if measured is None else measured.seconds}
        print(json.dumps({**facts, "findings": [finding.told() for finding in findings]}, indent=2))
    else:
        print(root)
        print("\n".join(line for finding in findings for line in _lines(finding)))
        print("something needs a hand" if failed else "nothing needs a hand")
    return int(failed)


def _measure(
    root: str, place: dict[str, str] | None, settings: Any, *, is_quiet: bool
) -> tuple[Measured | None, list[Finding]]:
    """The templates of the daemon, or, where there are none, one that is made for this and gone afterwards."""
    try:
        answer = _daemons.ask("imports") if place is not None else None
    except FirehotError as error:
        why = "runs are cold as long as it is like this"
        return None, [Finding("problem", f"the daemon can't be asked: {error}", why, "firehot restart")]
    if answer is not None:
        findings = [
            Finding("problem", f"the template of {each['target']} can't be built", each["failed"], "firehot logs")
            for each in answer["templates"]
            if "failed" in each
        ]
        if measured := _doctor_packages.of_templates(answer["templates"]):
            return measured, findings
    else:
        findings = []
    if settings is None:
        return None, findings
    if not is_quiet:
        print("no template is there to look at: importing once what the project's files import", file=sys.stderr)
    try:
        return _doctor_packages.measure(root, settings), findings
    except (FirehotError, OSError) as error:
        why = "no run can be forked"
        return None, [*findings, Finding("problem", f"no template can be built: {error}", why, "see the message")]


def _worth(measured: Measured) -> Finding:
    slowest = sorted(measured.costs.items(), key=lambda item: -item[1])[:3]
    most = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in slowest if seconds >= 0.01)
    saved = f"a run here saves {measured.seconds:.2f} s of imports"
    if measured.seconds < _WORTH:
        return Finding("note", saved, "that is hardly worth a daemon", "use firehot where imports are slow")
    return Finding("ok", saved + (f" ({most})" if most else ""), f"measured with {measured.what}", "")


def _lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.level:<8} {finding.what}"
    if finding.why:
        yield f"         {finding.why}"
    if finding.way_out:
        yield f"         -> {finding.way_out}"
