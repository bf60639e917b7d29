"""What `firehot serve` serves, and the saves that count for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from firehot import _core
from firehot._watch_command import _COUNTS
from firehot.errors import FirehotError

_PAGES = (".html", ".htm", ".jinja", ".jinja2", ".j2", ".css", ".js", ".mjs", ".svg")
"""With --live-reload these count, too."""


@dataclass(frozen=True)
class Plan:
    """What is served and watched.

    Attributes:
        target: `module:attribute`.
        settings: Of each generation; see `_generation`.
        folders: What is watched.
        start_timeout: Seconds that the application may take to start.
        includes: Patterns of files that count besides.
        excludes: Patterns of files and folders that do not count.
    """

    target: str
    settings: dict[str, Any]
    folders: tuple[Path, ...]
    start_timeout: float
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()

    def counts(self, path: Path) -> bool:
        """Whether the application depends on a file."""
        name = str(path)
        if any(fnmatch(name, one) or fnmatch(path.name, one) or one in name.split(os.sep) for one in self.excludes):
            return False
        endings = (*_COUNTS, *_PAGES) if self.settings["live_reload"] else _COUNTS
        included = any(fnmatch(name, one) or fnmatch(path.name, one) for one in self.includes)
        return included or path.suffix in endings or path.name == ".env"


class Saves:
    """Watches the folders of a plan."""

    def __init__(self, plan: Plan) -> None:
        """Watches from here on."""
        self._plan = plan
        self._watches = [_core.watch_folder(str(folder)) for folder in plan.folders]

    @contextmanager
    def bells(self) -> Iterator[list[int]]:
        """Descriptors that can be read when there is something to take, while the block waits for them."""
        try:
            yield [watch.arm() for watch in self._watches]
        finally:
            for watch in self._watches:
                watch.disarm()

    def take(self) -> list[Path]:
        """What has been saved since the last time.

        Raises:
            FirehotError: A folder can't be watched any more.
        """
        paths: set[Path] = set()
        for watch, folder in zip(self._watches, self._plan.folders, strict=True):
            is_ended, found = watch.take()
            if is_ended:
                raise FirehotError(f"{folder} can't be watched any more")
            paths.update(path for some in found or () for path in some)
        return sorted(path for path in paths if self._plan.counts(path))

    def names(self, paths: list[Path]) -> str:
        """Some of them, for a line."""
        names = [os.path.relpath(path, self._plan.folders[0]) for path in paths[:3]]
        more = len(paths) - len(names)
        return ", ".join(names) + (f" and {more} more" if more else "")

    def close(self) -> None:
        """Watches no more."""
        for watch in self._watches:
            watch.close()
