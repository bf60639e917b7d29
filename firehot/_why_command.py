"""`firehot why`: the last runs, warm or cold and for which reason, and why templates were rebuilt."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firehot import _daemons

Command = dict[str, Any]
Fact = dict[str, Any]

_SHOWN = 20
"""Runs that are shown; all that the daemon knows are in the JSON."""


def execute(command: Command) -> int:
    """Executes it; returns the exit status."""
    place = _daemons.place()
    answer = _daemons.ask("why")
    unreached = _unreached(Path(place["why"]))
    if command["json"]:
        facts: Fact = answer or {"templates": [], "runs": []}
        kept: Fact = {name: facts[name] for name in ("pid", "templates", "runs") if name in facts}
        found = {"root": place["root"], "running": answer is not None, **kept, "unreached": unreached}
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(_page(place["root"], answer, unreached)))
    return 0


def _unreached(path: Path) -> Fact | None:
    """The last run that came to no daemon, as the client has noted it."""
    try:
        noted = json.loads(path.read_bytes())
        return {"target": noted["target"], "reason": noted["reason"], "began": noted["time"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _page(root: str, answer: Fact | None, unreached: Fact | None) -> Iterator[str]:
    yield root if answer is None else f"{root} (process {answer['pid']})"
    if answer is None:
        yield _daemons.NONE_RUNS
    runs = [] if answer is None else list(answer["runs"])
    if unreached is not None:
        runs.append({**unreached, "warm": False, "milliseconds": None, "status": None})
    runs.sort(key=lambda run: -float(run["began"]))
    if runs:
        yield ""
        yield from _daemons.table([_row(run) for run in runs[:_SHOWN]])
    elif answer is not None:
        yield "nothing was run yet"
    templates = [] if answer is None else answer["templates"]
    told = [line for template in templates for line in _template(template)]
    if told:
        yield ""
        yield from told


def _row(run: Fact) -> tuple[str, ...]:
    took = "" if run["milliseconds"] is None else f"{run['milliseconds']:,.1f} ms"
    ago = f"{_daemons.span(max(0.0, time.time() - run['began']))} ago"
    return ago, "warm" if run["warm"] else "cold", took, run["target"], run["reason"]


def _template(template: Fact) -> Iterator[str]:
    if "failed" in template:
        yield f"the template of {template['target']} could not be built: {template['failed']}"
    elif template["state"] == "building":
        yield f"the template of {template['target']} is being built"
    elif template.get("rebuilt"):
        yield f"the template of {template['target']} was rebuilt last because: {template['rebuilt']}"
