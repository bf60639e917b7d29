"""The page of `firehot imports --html`: the template of the package with one report in it, which asks no network."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from firehot import __version__
from firehot._report import Module, Template

_PAGE = Path(__file__).with_name("_report.html")
_MARK = "@@REPORT@@"


def page(answer: dict[str, Any], templates: list[Template]) -> str:
    """The whole page."""
    told = {
        "root": answer["root"],
        "python": sys.version.split()[0],
        "firehot": __version__,
        "made": time.strftime("%Y-%m-%d %H:%M"),
        **{name: answer[name] for name in ("runs", "warm", "saved")},
        "templates": [_template(each) for each in templates],
    }
    return _PAGE.read_text("utf-8").replace(_MARK, embedded(told), 1)


def embedded(told: object) -> str:
    """JSON that is also the text of a `script` element, whatever names and lines are in it."""
    # Beyond ASCII it has escapes only, so no line separator ends a line, and half a surrogate stays one.
    text = json.dumps(told, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _template(template: Template) -> dict[str, Any]:
    told = template.told
    owners = list(dict.fromkeys([*(module.distribution for module in template.modules), *template.data]))
    index = {name: at for at, name in enumerate(owners)}
    places = {module.name: at for at, module in enumerate(template.modules)}

    def row(module: Module) -> list[Any]:
        by, during = places.get(module.by or "", -1), places.get(module.during or "", -1)
        has_file = int(module.file is not None)
        cost = [round(module.milliseconds, 3), module.memory, has_file]
        return [module.name, index[module.distribution], *cost, by, during, module.item]

    return {
        "target": told["target"],
        "state": told["state"],
        "runs": told["runs"],
        "failed": told.get("failed"),
        "rebuilt": told.get("rebuilt"),
        "milliseconds": template.milliseconds,
        "memory": template.memory,
        "distributions": [[name, template.data.get(name, 0)] for name in owners],
        "modules": [row(module) for module in template.modules],
        "items": [[each.name, each.milliseconds, each.memory, each.why, each.lines] for each in template.items],
        "skipped": [[each["name"], each["reason"], each["lines"]] for each in template.skipped],
        "effects": [[each["kind"], each["detail"], each["by"]] for each in template.effects],
        "verdicts": told.get("verdicts", {}),
    }
