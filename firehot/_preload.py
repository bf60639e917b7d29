"""The imports of a template: does them one by one, and tells of each. Forks nothing, and decides nothing.

Standard library only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from firehot import _care, _child, _stamp


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

    def run(self, imports: list[dict[str, Any]]) -> None:
        """Imports all of these in order; one that fails is told, and the next ones are tried."""
        before, path_before = dict(os.environ), list(sys.path)
        self._care.before_preload()
        for index, item in enumerate(imports):
            self._send(type="importing", index=index)
            self._import(index, item["module"], item["names"])
        self._care.after_preload()
        self._inherited.note_changes(before, path_before)

    def _import(self, index: int, module: str, names: list[str]) -> None:
        count = len(sys.modules)
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
        self._send(type="imported", index=index, loaded=loaded, modules=modules, files=files, effects=effects)
        if failed is not None:
            residue = exits or _left_behind(count)
            name, text = failed
            self._send(type="failed", index=index, name=name, error=text, residue=residue)


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
