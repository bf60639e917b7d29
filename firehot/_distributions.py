"""Which installed distribution a file belongs to. Knows no modules, and imports none."""

from __future__ import annotations

import os
import sys
from collections import Counter
from importlib.metadata import Distribution, distributions

LIBRARY = "Python"
"""What the standard library counts as."""
_INSTALLED = (".dist-info", ".egg-info")
_LIBRARY_FOLDERS = tuple(
    os.path.join(os.path.realpath(folder), "") for folder in {os.path.dirname(os.__file__), sys.base_prefix + "/lib"}
)


class Distributions:
    """Finds the owners of files. What it has read of a folder is kept."""

    def __init__(self) -> None:
        """Reads nothing yet."""
        self._sites: dict[str, str | None] = {}
        self._owners: dict[str, dict[str, str]] = {}

    def of(self, file: str) -> str | None:
        """The distribution of a file, as "numpy 2.4.6"; `Python`; or `None` for a file that nobody has installed."""
        site = self._site(os.path.dirname(file))
        if site is None:
            return LIBRARY if os.path.realpath(file).startswith(_LIBRARY_FOLDERS) else None
        owners = self._owners.get(site)
        if owners is None:
            owners = self._owners[site] = _owners(site)
        inside = os.path.relpath(file, site)
        return owners.get(inside) or owners.get(inside.partition(os.sep)[0])

    def _site(self, folder: str) -> str | None:
        """The nearest folder above that distributions are installed in."""
        if folder not in self._sites:
            parent = os.path.dirname(folder)
            if _has_distributions(folder):
                self._sites[folder] = folder
            else:
                self._sites[folder] = None if parent == folder else self._site(parent)
        return self._sites[folder]


def _has_distributions(folder: str) -> bool:
    try:
        return any(name.endswith(_INSTALLED) for name in os.listdir(folder))
    except OSError:
        return False


def _owners(site: str) -> dict[str, str]:
    """Of each file that is recorded, and of each name at the top that one distribution has almost for itself."""
    found: dict[str, str] = {}
    tops: dict[str, Counter[str]] = {}
    for distribution in distributions(path=[site]):
        title = _title(distribution)
        for line in (distribution.read_text("RECORD") or "").splitlines():
            file = line.rsplit(",", 2)[0].strip('"')
            if file.startswith(".."):
                continue
            found[file] = title
            tops.setdefault(file.partition("/")[0], Counter())[title] += 1
        for top in (distribution.read_text("top_level.txt") or "").split():
            tops.setdefault(top, Counter())[title] += 1
    for top, titles in tops.items():
        # Several share the folder of a namespace package: bytecode and what was made later is the largest one's.
        found.setdefault(top, titles.most_common(1)[0][0])
    return found


def _title(distribution: Distribution) -> str:
    try:
        return f"{distribution.metadata['Name']} {distribution.version}"
    except (KeyError, TypeError):
        return "unnamed"
