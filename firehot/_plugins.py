"""The plug-ins of pytest that are installed: which modules pytest rewrites while it imports them."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_GROUP = "pytest11"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Plugins:
    """What is installed.

    Attributes:
        modules: Those that entry points name.
        packages: All of the distributions that are for pytest alone, since they require it.
    """

    modules: tuple[str, ...]
    packages: tuple[str, ...]


def installed(path: Sequence[str]) -> Plugins:
    """Those that an interpreter with this `sys.path` finds."""
    modules: dict[str, None] = {}
    packages: dict[str, None] = {}
    for distribution in importlib.metadata.distributions(path=list(path)):
        found = [point.value.partition(":")[0].strip() for point in distribution.entry_points if point.group == _GROUP]
        modules.update(dict.fromkeys(found))
        if found and _requires_pytest(distribution):
            packages.update(dict.fromkeys(_outermost(distribution)))
    return Plugins(tuple(modules), tuple(packages))


def _requires_pytest(distribution: importlib.metadata.Distribution) -> bool:
    for requirement in distribution.requires or ():
        name = _NAME.match(requirement)
        if name is not None and name[0].lower() == "pytest" and "extra ==" not in requirement:
            return True
    return False


def _outermost(distribution: importlib.metadata.Distribution) -> Iterator[str]:
    """The modules and packages that it has put beside others; below the namespaces that it shares with others."""
    found = set()
    for file in distribution.files or ():
        *parents, name = file.parts
        if name == "__init__.py" and parents:
            found.add(".".join(parents))
        elif not parents and name.endswith(".py"):
            found.add(name[: -len(".py")])
    for name in sorted(found):
        if not any(name.startswith(f"{other}.") for other in found):
            yield name
