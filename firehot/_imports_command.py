"""`firehot imports`: what the project's templates hold, what each import costs, and who asks for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from firehot import _daemons, _report, _report_page
from firehot._report import Item, Module, Template
from firehot.errors import FirehotError

Command = dict[str, Any]
Fact = dict[str, Any]

_SMALL = 1.0
"""Milliseconds below which distributions share a line."""
_SHARE = 0.04
"""Of a template's milliseconds: packages below that are not shown one by one."""
_DEEPEST = 3
"""Dotted parts of the packages that are shown."""
_PLACES = 3
"""Lines of the project that are shown of each import; all are in the JSON."""


def execute(command: Command) -> int:
    """Executes it; returns the exit status."""
    answer = _daemons.ask("imports")
    if command["json"]:
        print(json.dumps(told(answer), indent=2))
    elif answer is None and command["html"] is not None:
        raise FirehotError(_daemons.NONE_RUNS)
    elif answer is None:
        print(_daemons.NONE_RUNS)
    elif command["html"] is not None:
        _write(command["html"], _report_page.page(answer, _report.templates(answer)))
    else:
        print("\n".join(_page(answer)))
    return 0


def _write(name: str, page: str) -> None:
    if name == "-":
        # The page says itself that it is UTF-8, whatever the locale is.
        if sys.stdout is not None:
            sys.stdout.buffer.write(page.encode("utf-8"))
        return
    path = Path(name)
    path.write_text(page, "utf-8")
    print(path)


def told(answer: Fact | None) -> Fact:
    """The daemon's answer as the object of `--json`."""
    if answer is None:
        return {"root": _daemons.project(), "running": False, "templates": []}
    return {"running": True, **{name: told for name, told in answer.items() if name != "type"}}


def _page(answer: Fact) -> Iterator[str]:
    yield f"{answer['root']} (process {answer['pid']})"
    if not answer["templates"]:
        yield "nothing is preloaded yet: the first run of a program builds its template"
    for template in _report.templates(answer):
        yield ""
        yield from _template(template)
    if answer["runs"]:
        warm = f"{answer['warm']:,} of {_daemons.count(answer['runs'], 'run')} were warm"
        yield f"\n{warm}, {_daemons.span(answer['saved'])} saved"


def _template(template: Template) -> Iterator[str]:
    yield f"{template.told['target']}: {', '.join(_head(template))}"
    groups: dict[str, list[Module]] = {}
    for module in template.modules:
        groups.setdefault(module.distribution, []).append(module)
    by_cost = sorted(groups.items(), key=lambda group: -_milliseconds(group[1]))
    for distribution, modules in by_cost:
        if _milliseconds(modules) >= _SMALL:
            yield _row(modules, f"{distribution}  ({_why(template, modules)})")
            yield from _tree(modules, 1, _SHARE * template.milliseconds, "", distribution.partition(" ")[0])
    names = {item.name for item in template.items}
    small = [(distribution, modules) for distribution, modules in by_cost if _milliseconds(modules) < _SMALL]
    if small:
        # Where something is imported is told of what the project asks for itself.
        asked = (
            (distribution, any(module.name in names for module in modules), modules) for distribution, modules in small
        )
        told = [f"{name} ({_why(template, modules)})" if is_asked else name for name, is_asked, modules in asked]
        yield f"  {'< 1 ms':>9}  {'':>9}  {', '.join(told)}"
    if others := sorted(names.difference(module.name for module in template.modules)):
        yield f"  there before: {', '.join(others)}"
    if template.skipped:
        yield "  not preloaded:"
    for each in template.skipped:
        yield f"    {each['name']}: {each['reason']}"
        yield from (f"      {file}:{line}: {text}" for file, line, text in each["lines"][:_PLACES])
        if len(each["lines"]) > _PLACES:
            yield f"      and {len(each['lines']) - _PLACES} more"


def _head(template: Template) -> Iterator[str]:
    told = template.told
    yield told["state"]
    if "failed" in told:
        yield told["failed"]
    yield _daemons.count(told["runs"], "run")
    if template.items:
        yield f"{template.milliseconds:,.0f} ms of imports"
        yield _daemons.count(len(template.modules), "module")
        if template.memory is not None:
            yield megabytes(template.memory)


def _tree(modules: list[Module], depth: int, least: float, before: str, told: str = "") -> Iterator[str]:
    """The packages among them that cost something, and those below these; not again the one that is `told`."""
    groups: dict[str, list[Module]] = {}
    for module in modules:
        parts = module.name.split(".")
        if len(parts) >= depth:
            groups.setdefault(".".join(parts[:depth]), []).append(module)
    shown = [(name, group) for name, group in groups.items() if _milliseconds(group) >= least]
    shown.sort(key=lambda each: -_milliseconds(each[1]))
    if [name for name, _ in shown] == [told]:
        yield from _tree(shown[0][1], depth + 1, least, before)
        return
    for at, (name, group) in enumerate(shown):
        is_last = at == len(shown) - 1
        yield _row(group, f"{before}{'└─' if is_last else '├─'} {name}")
        if depth < _DEEPEST:
            yield from _tree(group, depth + 1, least, f"{before}{'   ' if is_last else '│  '}")


def _row(modules: list[Module], text: str) -> str:
    memory = sum(module.memory for module in modules)
    return f"  {_milliseconds(modules):>6,.0f} ms  {megabytes(memory) if memory else '':>9}  {text}"


def _milliseconds(modules: list[Module]) -> float:
    return sum(module.milliseconds for module in modules)


def _why(template: Template, modules: list[Module]) -> str:
    """The lines that import something of a distribution, or who else does."""
    names = {module.name for module in modules}
    if items := [item for item in template.items if item.name in names]:
        asked = [item for item in items if item.lines] or items
        return _places(asked[0]) if len(asked) == 1 else _places_of_all(asked)
    first = template.chain(modules[0])
    outside = next((module.name for module in first if module.name not in names), None)
    return f"for {outside}" if outside is not None else "with the interpreter"


def _places_of_all(items: list[Item]) -> str:
    lines = list(dict.fromkeys((file, line) for item in items for file, line, _ in item.lines))
    return _few([f"{file}:{line}" for file, line in lines]) or _places(items[0])


def _places(item: Item) -> str:
    why = {"learned": "learned from earlier runs", "preload": "[tool.firehot] preload"}
    return why.get(item.why) or _few([f"{file}:{line}" for file, line, _ in item.lines])


def _few(places: list[str]) -> str:
    more = f" and {len(places) - _PLACES} more" if len(places) > _PLACES else ""
    return ", ".join(places[:_PLACES]) + more


def megabytes(size: float) -> str:
    """A size as people say it."""
    return f"{size / 1e6:,.1f} MB"
