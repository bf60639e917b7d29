"""What `firehot imports` has to show of one template: modules with their distributions, and who asks for each.

From the daemon's answer to what the page and the terminal draw; reads metadata of what is installed, and draws nothing.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Any

from firehot._distributions import LIBRARY, Distributions

Fact = dict[str, Any]
PROJECT = "this project"
OTHER = "other modules"
_ALIASES = ("__main__", "__mp_main__")
"""Names of the program itself, which some packages give it."""


@dataclass(slots=True)
class Module:
    """A module that a template holds.

    Attributes:
        name: Dotted.
        distribution: Such as "numpy 2.4.6".
        file: Its file.
        milliseconds: Of its own code, without what it imported.
        memory: Bytes that the template has grown by.
        by: The module that asked for it; `None` for the template itself.
        during: The module during whose import it was imported.
        item: The import of the project that brought it: an index into `Template.items`.
    """

    name: str
    distribution: str
    file: str | None
    milliseconds: float
    memory: int
    by: str | None
    during: str | None
    item: int


@dataclass(slots=True)
class Item:
    """Something that the template was asked to import.

    Attributes:
        name: Dotted.
        milliseconds: With all that came with it.
        memory: Bytes that the template has grown by; `None` where the system does not tell.
        why: "learned", "preload", or "" where lines of the project import it.
        lines: These: file as an editor finds it from the project's folder, line and text.
    """

    name: str
    milliseconds: float
    memory: int | None
    why: str
    lines: list[tuple[str, int, str]]


@dataclass(slots=True)
class Template:
    """One template, as the daemon told of it."""

    told: Fact
    items: list[Item] = field(default_factory=list)
    modules: list[Module] = field(default_factory=list)
    skipped: list[Fact] = field(default_factory=list)
    effects: list[Fact] = field(default_factory=list)
    data: dict[str, int] = field(default_factory=dict)
    """Files that are no modules and that imports have read, by distribution."""

    def chain(self, module: Module) -> list[Module]:
        """It, the module that asked for it, and so on, up to one that the project asks for."""
        known = {each.name: each for each in self.modules}
        found = [module]
        while (above := known.get(found[-1].by or "")) is not None and above not in found:
            found.append(above)
        return found

    @property
    def milliseconds(self) -> float:
        """Of all imports."""
        return sum(each.milliseconds for each in self.items)

    @property
    def memory(self) -> int | None:
        """Bytes that it has grown by; `None` where the system does not tell."""
        sizes = [each.memory for each in self.items if each.memory is not None]
        return sum(sizes) if sizes else None


def templates(answer: Fact) -> list[Template]:
    """Those of a daemon's answer to `imports`."""
    root, known = answer["root"], Distributions()
    return [_template(told, root, known) for told in answer["templates"]]


def _template(told: Fact, root: str, known: Distributions) -> Template:
    found = Template(told)
    seen: dict[str, int] = {}
    for each in told["imports"]:
        # The scan has several of one module where submodules are named after other imports.
        at = seen.setdefault(each["name"], len(found.items))
        if at == len(found.items):
            found.items.append(_item(each, root))
        else:
            item = found.items[at]
            item.milliseconds += each["milliseconds"]
            item.memory = None if item.memory is None else item.memory + (each["memory"] or 0)
        for came in each["modules"]:
            if came["name"] not in _ALIASES:
                found.modules.append(_module(came, at, root, known))
        for file in each["files"]:
            owner = _owner(file, root, known) or OTHER
            found.data[owner] = found.data.get(owner, 0) + 1
        found.effects += each["effects"]
    _adopt(found.modules)
    found.skipped = [{**each, "lines": _places(each["lines"], root)} for each in told.get("skipped", ())]
    return found


def _item(each: Fact, root: str) -> Item:
    lines = _places(each["lines"], root)
    why = "learned" if each["learned"] else "" if lines else "preload"
    return Item(each["name"], each["milliseconds"], each["memory"], why, lines)


def _module(came: Fact, item: int, root: str, known: Distributions) -> Module:
    name, file = came["name"], came["file"]
    owner = _owner(file, root, known) if file is not None else None
    if owner is None and name.partition(".")[0] in sys.stdlib_module_names:
        owner = LIBRARY
    if owner is None and file is not None:
        owner = name.partition(".")[0]  # An editable install, a folder of PYTHONPATH.
    by = came["by"] or came["during"]
    return Module(name, owner or "", file, came["own"] / 1000, came["memory"], by, came["during"], item)


def _owner(file: str, root: str, known: Distributions) -> str | None:
    found = known.of(file)
    return PROJECT if found is None and file.startswith(os.path.join(root, "")) else found


def _adopt(modules: list[Module]) -> None:
    """What has no file (parts of extension modules, packages without code) belongs to who has its name, or asked."""
    owners = {each.name: each.distribution for each in modules if each.distribution}
    tops = {name.partition(".")[0]: owner for name, owner in reversed(owners.items())}
    for each in modules:
        if not each.distribution:
            own = tops.get(each.name.partition(".")[0])
            each.distribution = own or owners.get(each.by or "") or OTHER
            owners[each.name] = each.distribution


def _places(lines: list[list[Any]], root: str) -> list[tuple[str, int, str]]:
    return [(place(file, root), line, text) for file, line, text in lines]


def place(file: str, root: str) -> str:
    """A file of the project, as an editor finds it from there."""
    return os.path.relpath(file, root) if file.startswith(os.path.join(root, "")) else file
