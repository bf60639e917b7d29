"""What the host tells a template about forks: remedies, the user's words about packages, hooks. Part of `setup`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firehot import _cache, _host, _remedies, hooks
from firehot.errors import FirehotError

_GROUP = "firehot.fork"
_METADATA = (".dist-info", ".egg-info")


@dataclass(frozen=True, slots=True)
class ForkSettings:
    """What is known of an environment's packages.

    Attributes:
        words: Packages, and the user's word for each: `"safe"` or `"leave-out"`.
        first_party: Modules that are the project's own.
        folders: Where the project's source lies.
    """

    words: tuple[tuple[str, str], ...] = ()
    first_party: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    def safe(self) -> list[str]:
        """The packages that are not judged."""
        return [name for name, word in self.words if word == "safe"]

    def leave_out(self) -> list[tuple[str, str]]:
        """The packages that are never in a template, and why; the user's word counts before the table's."""
        said = dict(self.words)
        table = ((name, why) for name, why in _remedies.left_out().items() if name not in said)
        users = ((name, "[tool.firehot.fork] says so") for name, word in self.words if word == "leave-out")
        return [*users, *table]


def setup(
    settings: ForkSettings, path: list[str], *, learn: bool = False, state: Mapping[str, Any] | None = None
) -> bytes:
    """The body of the `setup` message for a template with this `sys.path`.

    With `learn`, its children tell what they import themselves; `state` is as in `_host.setup`.

    Raises:
        FirehotError: A function that was given to `before_fork` is the project's own.
    """
    fork = {
        "remedies": _remedies.for_template(),
        "safe": settings.safe(),
        "before_fork": [_checked(names, settings) for names in hooks.REGISTRY.before_names()],
        "entry_points": entry_points(path),
    }
    return _host.setup(path, fork, learn=learn, state=state)


def _checked(names: tuple[str, str], settings: ForkSettings) -> tuple[str, str]:
    module, function = names
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    own = any(module == name or module.startswith(name + ".") for name in settings.first_party)
    installed = any(part in ("site-packages", "dist-packages") for part in Path(file).parts)
    if own or (not installed and any(Path(file).is_relative_to(folder) for folder in settings.folders)):
        raise FirehotError(
            f"before_fork was given {module}.{function}, which is the project's own, and a template runs no code "
            "of the project: move it to an installed module, or use after_fork_in_child"
        )
    return names


def policy(
    settings: ForkSettings,
    import_timeout: float,
    *,
    spares: int = 0,
    learn: bool = False,
    warm_first_party: bool = False,
) -> dict[str, Any]:
    """How the engine judges templates: see `_core.Engine`."""
    return {
        "import_timeout": import_timeout,
        "native_variables": [*_host.START_VARIABLES, *_remedies.native_variables()],
        "leave_out": settings.leave_out(),
        "safe": settings.safe(),
        "python": f"{sys.implementation.cache_tag} {sys.version}",
        "spares": spares,
        "cache": _cache.folder(),
        "learn": learn,
        "warm_first_party": warm_first_party,
    }


# -- entry points --------------------------------------------------------------------------------


def entry_points(path: Iterable[str]) -> list[dict[str, str]]:
    """The entry points of the group `firehot.fork`: `name`, `module`, `function`, `distribution`.

    `importlib.metadata` would read the metadata of every distribution; this looks for the group's name in the files
    that may hold it, and again only when a folder has changed.
    """
    found: list[dict[str, str]] = []
    for folder in path:
        try:
            changed = os.stat(folder or ".").st_mtime_ns
        except OSError:
            continue
        known = _FOUND.get(folder)
        if known is None or known[0] != changed:
            known = _FOUND[folder] = (changed, list(_in_folder(folder or ".")))
        found.extend(known[1])
    return found


_FOUND: dict[str, tuple[int, list[dict[str, str]]]] = {}


def _in_folder(folder: str) -> Iterator[dict[str, str]]:
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(_METADATA))
    except OSError:
        return
    for name in names:
        try:
            with open(os.path.join(folder, name, "entry_points.txt"), "rb") as file:
                text = file.read()
        except OSError:
            continue
        if _GROUP.encode() in text:
            yield from _parse(text.decode("utf-8", "replace"), name.partition("-")[0])


def _parse(text: str, distribution: str) -> Iterator[dict[str, str]]:
    group = ""
    for line in (line.strip() for line in text.splitlines()):
        if line.startswith("["):
            group = line.strip("[]").strip()
        elif group == _GROUP and not line.startswith(("#", ";")) and "=" in line:
            name, value = (part.strip() for part in line.split("=", 1))
            module, _, function = value.partition("[")[0].partition(":")
            yield {
                "name": name,
                "module": module.strip(),
                "function": function.strip(),
                "distribution": distribution,
            }
