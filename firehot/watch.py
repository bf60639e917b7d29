"""`Watch`: the changes of a project's files, as they come; from `Environment.watch`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from firehot import _core

__all__ = ["ChangeSet", "Watch"]


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """Files that have changed since the set before; each is named once, and there is at least one.

    It has the length, the paths and the members that a sorted tuple of its paths would have.

    Attributes:
        added: Files that were not there.
        changed: Files that were there: written to, replaced, touched, or given other rights.
        removed: Files that are gone.

    Example:
        >>> from firehot import ChangeSet
        >>> changes = ChangeSet(added=(), changed=(Path("app/a.py"),), removed=(Path("app/b.py"),))
        >>> len(changes), "app/a.py" in changes, [path.name for path in changes]
        (2, True, ['a.py', 'b.py'])
    """

    added: tuple[Path, ...]
    changed: tuple[Path, ...]
    removed: tuple[Path, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them, sorted."""
        return tuple(sorted((*self.added, *self.changed, *self.removed)))

    def __len__(self) -> int:
        """How many files."""
        return len(self.added) + len(self.changed) + len(self.removed)

    def __iter__(self) -> Iterator[Path]:
        """The paths, sorted."""
        return iter(self.paths)

    def __contains__(self, path: object) -> bool:
        """Whether this file has changed; a text is taken as a path."""
        wanted = Path(path) if isinstance(path, (str, os.PathLike)) else path
        return wanted in self.added or wanted in self.changed or wanted in self.removed


class Watch:
    """Yields a `ChangeSet` after each burst of changes, in a `for` or an `async for` loop, until it ends.

    It ends when it or its environment is closed. A reader that was busy finds everything that has changed since, in
    one set. Several watches of one environment are told of everything each. Safe to use from several threads, of which
    one gets each set.

    Example:
        >>> from firehot import isolate_imports
        >>> with isolate_imports("json") as env, env.watch() as watch:
        ...     watch.close()
        ...     list(watch)
        []
    """

    def __init__(self, core: _core.Watch) -> None:
        """Made by `Environment.watch`."""
        self._core = core
        self._is_awaited = False

    def wait(self, timeout: float | None = None) -> ChangeSet | None:
        """The next changes, waiting for them; `None` when the watch has ended.

        Args:
            timeout: Seconds to wait at most.

        Raises:
            TimeoutError: Nothing has changed in time.
        """
        return _change_set(self._core.wait(timeout))

    def close(self) -> None:
        """Ends it; whoever waits for it finds its end. May be called again."""
        self._core.close()

    def __iter__(self) -> Iterator[ChangeSet]:
        """Itself."""
        return self

    def __next__(self) -> ChangeSet:
        """Waits for the next changes."""
        changes = self.wait()
        if changes is None:
            raise StopIteration
        return changes

    def __aiter__(self) -> AsyncIterator[ChangeSet]:
        """Itself."""
        return self

    async def __anext__(self) -> ChangeSet:
        """Awaits the next changes; to cancel this loses none."""
        while True:
            is_ended, found = self._core.take()
            if is_ended:
                raise StopAsyncIteration
            changes = _change_set(found)
            if changes is not None:
                return changes
            await self._readable()

    def __enter__(self) -> Watch:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    async def _readable(self) -> None:
        """Waits for the bell that the watcher's thread rings."""
        if self._is_awaited:
            raise RuntimeError("this watch is awaited by another task; each task needs a watch of its own")
        loop = asyncio.get_running_loop()
        rung: asyncio.Future[None] = loop.create_future()

        def ring() -> None:
            if not rung.done():
                rung.set_result(None)

        descriptor = self._core.arm()
        self._is_awaited = True
        try:
            loop.add_reader(descriptor, ring)
            await rung
        finally:
            if not loop.is_closed():
                loop.remove_reader(descriptor)
            self._core.disarm()
            self._is_awaited = False


def _change_set(found: tuple[list[Path], list[Path], list[Path]] | None) -> ChangeSet | None:
    if found is None:
        return None
    added, changed, removed = found
    return ChangeSet(tuple(added), tuple(changed), tuple(removed))
