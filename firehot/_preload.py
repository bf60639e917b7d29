"""The imports of a template: does them one by one, and tells of each. Forks nothing, and decides nothing.

Standard library only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from posix import O_CLOEXEC, O_RDONLY, close, pread, sysconf
from posix import open as open_file
from typing import Any

from firehot import _care, _child, _costs, _stamp


class Preload:
    """What it takes to import into a template."""

    def __init__(
        self,
        send: Callable[..., None],
        recorder: _stamp.Recorder,
        care: _care.Care,
        inherited: _child.Inherited,
    ) -> None:
        """`send` takes the fields of a message to the host."""
        self._send = send
        self._recorder = recorder
        self._care = care
        self._inherited = inherited
        self._page = sysconf("SC_PAGE_SIZE")
        # Before anything listens for what imports open.
        self._sizes = _open_quietly("/proc/self/statm")
        self._costs = _costs.Costs(self._sizes, self._page)

    def run(self, imports: list[dict[str, Any]]) -> None:
        """Imports all of these in order; one that fails is told, and the next ones are tried."""
        before, path_before = dict(os.environ), list(sys.path)
        self._care.before_preload()
        for index, item in enumerate(imports):
            self._send(type="importing", index=index)
            self._import(index, item["module"], item["names"])
        self._costs.close()
        if self._sizes >= 0:
            with suppress(OSError):  # An import may close what it does not know.
                close(self._sizes)
        self._care.after_preload()
        self._inherited.note_changes(before, path_before)

    def _import(self, index: int, module: str, names: list[str]) -> None:
        count, memory = len(sys.modules), self._memory()
        loaded: list[tuple[str, int]] = []
        effects: list[dict[str, Any]] = []
        failed: tuple[str, str] | None = None
        exits = False
        for name in (None, *names):
            full = f"{module}.{name}" if name else module
            start, size = time.perf_counter_ns(), len(sys.modules)
            try:
                __import__(module, fromlist=[name] if name else [])
            except BaseException as error:
                self._recorder.failed(error)
                failed = failed or (full, _describe(error))
                exits = exits or not isinstance(error, Exception)
            else:
                if full in sys.modules:
                    loaded.append((full, (time.perf_counter_ns() - start) // 1000))
            if len(sys.modules) != size or failed is not None:
                effects += self._care.after_import(full)
            if name is None and failed is not None:
                break
        modules, files = self._recorder.new_modules(), self._recorder.new_files()
        costs = self._costs.take(modules)
        told = {"loaded": loaded, "modules": modules, "costs": costs, "files": files, "effects": effects}
        grown = None if memory is None else max(0, (self._memory() or 0) - memory)
        self._send(type="imported", index=index, memory=grown, **told)
        if failed is not None:
            residue = exits or _left_behind(count)
            name, text = failed
            self._send(type="failed", index=index, name=name, error=text, residue=residue)

    def _memory(self) -> int | None:
        """Bytes that are resident; `None` where the system does not tell."""
        if self._sizes < 0:
            return None
        try:
            return int(pread(self._sizes, 256, 0).split()[1]) * self._page
        except (OSError, IndexError, ValueError):
            return None


def _open_quietly(path: str) -> int:
    try:
        return open_file(path, O_RDONLY | O_CLOEXEC)
    except OSError:
        return -1


def _describe(error: BaseException) -> str:
    text = " ".join(str(error).split())
    name = type(error).__qualname__
    return f"{name}: {text}" if text else name


def _left_behind(count: int) -> bool:
    """Whether a failed import left modules whose parent is gone; `count` is the size of `sys.modules` before it.

    `sys.modules` keeps the order of insertion, so what is new stands at its end.
    """
    for name in list(sys.modules)[count:]:
        parent = name.rpartition(".")[0]
        if parent and parent not in sys.modules:
            return True
    return False
