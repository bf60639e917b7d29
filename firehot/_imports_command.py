"""`firehot imports`: what the project's templates hold, what each import costs, and who asks for it."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from firehot import _daemons

Command = dict[str, Any]
Fact = dict[str, Any]

_SMALL = 1.0
"""Milliseconds below which imports share a line."""
_PLACES = 3
"""Lines of the project that are shown of each import; all are in the JSON."""


def execute(command: Command) -> int:
    """Executes it; returns the exit status."""
    answer = _daemons.ask("imports")
    if command["json"]:
        print(json.dumps(told(answer), indent=2))
    elif answer is None:
        print(_daemons.NONE_RUNS)
    else:
        print("\n".join(_page(answer)))
    return 0


def told(answer: Fact | None) -> Fact:
    """The daemon's answer as the object of `--json`."""
    if answer is None:
        return {"root": _daemons.project(), "running": False, "templates": []}
    return {"root": answer["root"], "running": True, "pid": answer["pid"], "templates": answer["templates"]}


def _page(answer: Fact) -> Iterator[str]:
    yield f"{answer['root']} (process {answer['pid']})"
    if not answer["templates"]:
        yield "nothing is preloaded yet: the first run of a program builds its template"
    for template in answer["templates"]:
        yield ""
        yield from _template(template, answer["root"])


def _template(template: Fact, root: str) -> Iterator[str]:
    imports = _merged(template["imports"])
    yield f"{template['target']}: {', '.join(_head(template, imports))}"
    large = [each for each in imports if each["milliseconds"] >= _SMALL]
    for each in sorted(large, key=lambda each: -each["milliseconds"]):
        yield from _import(each, root)
    names = [each["name"] for each in imports if each["milliseconds"] < _SMALL]
    if names:
        yield f"  {'< 1 ms':>9}  {'':>8}  {', '.join(names)}"
    skipped = template.get("skipped", [])
    if skipped:
        yield "  not preloaded:"
    for each in skipped:
        yield f"    {each['name']}: {each['reason']}"
        yield from (f"      {place(file, line, root)}: {text}" for file, line, text in each["lines"][:_PLACES])
        if len(each["lines"]) > _PLACES:
            yield f"      and {len(each['lines']) - _PLACES} more"


def _head(template: Fact, imports: list[Fact]) -> Iterator[str]:
    yield template["state"]
    if "failed" in template:
        yield template["failed"]
    yield _daemons.count(template["runs"], "run")
    if imports:
        yield f"{sum(each['milliseconds'] for each in imports):,.0f} ms of imports"
        memory = [each["memory"] for each in imports if each["memory"] is not None]
        if memory:
            yield megabytes(sum(memory))


def _merged(imports: list[Fact]) -> list[Fact]:
    """One for each module: the scan has several where submodules are named after other imports."""
    found: dict[str, Fact] = {}
    for each in imports:
        known = found.get(each["name"])
        if known is None:
            found[each["name"]] = dict(each)
            continue
        known["milliseconds"] += each["milliseconds"]
        known["memory"] = None if known["memory"] is None else known["memory"] + (each["memory"] or 0)
        known["parts"] = known["parts"] + each["parts"]
        known["modules"] = known["modules"] + each["modules"]
    return list(found.values())


def _import(each: Fact, root: str) -> Iterator[str]:
    lines = each["lines"]
    where = ", ".join(place(file, line, root) for file, line, _ in lines[:_PLACES])
    more = f" and {len(lines) - _PLACES} more" if len(lines) > _PLACES else ""
    why = "learned from earlier runs" if each["learned"] else where + more or "[tool.firehot] preload"
    size = "" if each["memory"] is None else megabytes(each["memory"])
    yield f"  {each['milliseconds']:>6,.0f} ms  {size:>8}  {each['name']}  ({why})"
    indent = " " * 23
    for part in each["parts"]:
        if part["milliseconds"] >= _SMALL:
            yield f"  {part['milliseconds']:>6,.0f} ms  {'':>8}    {part['name']}"
    own = each["name"].partition(".")[0]
    counts: Counter[str] = Counter()
    askers: dict[str, str] = {}
    for module in each["modules"]:
        top = module["name"].partition(".")[0]
        counts[top] += 1
        if module["by"] is not None:
            askers.setdefault(top, module["by"])
    if counts[own] > 1:
        yield f"{indent}{_daemons.count(counts[own], 'module')} of its own"
    library = sum(counts[top] for top in counts if top != own and top in sys.stdlib_module_names)
    for top, number in counts.most_common():
        if top != own and top not in sys.stdlib_module_names:
            by = f", for {askers[top]}" if top in askers else ""
            yield f"{indent}{top}: {_daemons.count(number, 'module')}{by}"
    if library and own not in sys.stdlib_module_names:
        yield f"{indent}{_daemons.count(library, 'module')} of the standard library"


def place(file: str, line: int, root: str) -> str:
    """A line of the project, as an editor finds it from there."""
    inside = file.startswith(os.path.join(root, ""))
    return f"{os.path.relpath(file, root) if inside else file}:{line}"


def megabytes(size: float) -> str:
    """A size as people say it."""
    return f"{size / 1e6:,.1f} MB"
