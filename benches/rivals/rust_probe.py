"""Importing Rust in a new process, with a hook or without: `rust_probe.py TOOL WHAT MODULE` prints the seconds."""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

_IMPORTS = 200


def install(tool: str) -> None:
    """Has imports build Rust."""
    if tool == "firehot":
        import firehot.rust

        firehot.rust.install()
    elif tool == "rustimport":
        importlib.import_module("rustimport.import_hook")
    elif tool == "maturin-import-hook":
        importlib.import_module("maturin_import_hook").install()


def unrelated(known: list[object]) -> float:
    """What the hook adds to the import of a module that it has nothing to do with, and that Python finds."""
    names = [name for name in sorted(sys.stdlib_module_names) if name not in sys.builtin_module_names]
    asked: list[tuple[Any, str]] = []
    for name in names[:_IMPORTS]:
        for finder in sys.meta_path:
            if any(finder is each for each in known):
                if finder.find_spec(name, None) is not None:
                    break
            else:
                asked.append((finder, name))
    start = time.perf_counter()
    for added, name in asked:
        added.find_spec(name, None)
    return (time.perf_counter() - start) / _IMPORTS


def main() -> None:
    tool, what, module = sys.argv[1:4]
    known: list[object] = list(sys.meta_path)
    start = time.perf_counter()
    install(tool)
    found: dict[str, float] = {"load": time.perf_counter() - start}
    if what == "unrelated":
        found = {"unrelated": unrelated(known)}
    elif what == "import":
        # With its package: some look at a project when that is imported.
        start = time.perf_counter()
        loaded = importlib.import_module(module)
        found = {"import": time.perf_counter() - start, "answer": loaded.answer()}
        with open("/proc/self/statm") as memory:
            found["resident"] = int(memory.read().split()[1]) * 4096
    print(json.dumps(found))


if __name__ == "__main__":
    main()
