"""The row groups: each module has a function `measure(bench)` that returns rows."""

from __future__ import annotations

from collections.abc import Callable

from benches.bench import Bench
from benches.rows import burst, command, edits, exec, executor, growth, isolate, memory, ready, rust, save, scan, serve
from benches.runner.table import Row

GROUPS: dict[str, Callable[[Bench], list[Row]]] = {
    "exec": exec.measure,
    "burst": burst.measure,
    "executor": executor.measure,
    "ready": ready.measure,
    "edits": edits.measure,
    "save": save.measure,
    "scan": scan.measure,
    "memory": memory.measure,
    "growth": growth.measure,
    "rust": rust.measure,
    "command": command.measure,
    "serve": serve.measure,
    "isolate": isolate.measure,
}
"""In the order of the table."""
