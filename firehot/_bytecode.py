"""Keeps a template and its children from running stale bytecode. Standard library only.

CPython takes a `.pyc` for fresh when the source's size and its mtime in whole seconds are those it was compiled from
(importlib's `_validate_timestamp_pyc`). An edit in the same second that keeps the size is not seen, nor one that keeps
the size and sets the date. So a `.pyc` that was not written in a later second than its source was changed is passed
over: the source is compiled, and the file written again.
"""

from __future__ import annotations

import os
from importlib.machinery import SourceFileLoader

_read = SourceFileLoader.get_data
_LIBRARY = os.path.dirname(os.__file__) + os.sep
_BYTECODE = (".pyc", ".pyo")


def distrust_young_bytecode() -> None:
    """From now on, this process and its forks import no bytecode that may be older than its source."""
    SourceFileLoader.get_data = _get_data  # type: ignore[method-assign, assignment]


def _get_data(self: SourceFileLoader, path: str) -> bytes:
    # The loader reads its source by the same method, and data files of packages as well.
    if path.endswith(_BYTECODE) and path != self.path and _is_edited(self.path) and _is_young(self.path, path):
        raise FileNotFoundError(path)
    return _read(self, path)


def _is_edited(source: str | bytes) -> bool:
    """Whether people edit it. Installed files come with their bytecode, and some systems give all of them one mtime."""
    path = os.fsdecode(source)
    return not ("site-packages" in path or "dist-packages" in path or path.startswith(_LIBRARY))


def _is_young(source: str | bytes, bytecode: str) -> bool:
    try:
        state = os.stat(source)
        # Whoever gives a file an older mtime (archives, rsync, `cp -p`) does not set its ctime.
        return int(os.stat(bytecode).st_mtime) <= int(max(state.st_mtime, state.st_ctime))
    except OSError:
        return False
