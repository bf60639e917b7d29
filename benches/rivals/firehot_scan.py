"""Firehot's scan, as its debug log tells the microseconds, and `update_environment` with nothing changed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import turns
from firehot import isolate_imports
from turns import Answer

_LINE = re.compile(r"scanned (\d+) files, parsed (\d+) \((\d+) us\)")


def main() -> None:
    turns.serve(Scan())


class Scan:
    def __init__(self) -> None:
        # Its own stderr is where the log goes.
        self._log, name = tempfile.mkstemp()
        os.unlink(name)
        os.dup2(self._log, 2)
        self._read = 0
        self._cache = tempfile.mkdtemp()
        os.environ["XDG_CACHE_HOME"] = self._cache
        os.environ["FIREHOT_LOG_LEVEL"] = "debug"
        # What the copied packages import of each other is not installed here.
        self._arguments: dict[str, Any] = {"ignored_modules": _absent()}

    def open(self) -> Answer:
        return {}

    def cold(self) -> Answer:
        shutil.rmtree(self._cache)
        with isolate_imports("own", **self._arguments):
            files, parsed, took = self._scanned()
        if parsed < files:
            raise AssertionError(f"a cold scan parsed {parsed} of {files} files")
        return {"cold": took}

    def warm(self) -> Answer:
        """After `cold`, which left its cache behind; nothing when this firehot keeps none."""
        with isolate_imports("own", **self._arguments):
            _, parsed, took = self._scanned()
        return {} if parsed else {"warm": took}

    def noop(self) -> Answer:
        with isolate_imports("own", **self._arguments) as env:
            start = time.perf_counter_ns()
            if env.update_environment():
                raise AssertionError("nothing had changed")
            took = turns.seconds(start)
        # What it has logged is not the next one's.
        self._read = os.fstat(self._log).st_size
        return {"noop": took}

    def close(self) -> Answer:
        shutil.rmtree(self._cache, ignore_errors=True)
        return {}

    def _scanned(self) -> tuple[int, int, float]:
        said = os.pread(self._log, 1 << 24, self._read).decode("utf-8", "replace")
        self._read += len(said.encode())
        found = _LINE.search(said)
        if found is None:
            raise AssertionError(f"no scan in the log: {said[:2000]}")
        files, parsed, took = map(int, found.groups())
        return files, parsed, took / 1e6


def _absent() -> list[str]:
    """What the project imports but the standard library does not have."""
    import sys

    from firehot import _core

    names: set[str] = set()
    for file in Path("own").rglob("*.py"):
        for _, level, module, aliases, _ in _core.imports_of(file.read_bytes()):
            if level == 0:
                names.update(name.partition(".")[0] for name in ([module] if module else [name for name, _ in aliases]))
    return sorted(names - set(sys.stdlib_module_names) - {"own"})


if __name__ == "__main__":
    main()
