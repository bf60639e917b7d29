"""The threads of this process, native ones too, and the shared object that runs each. Standard library only.

A thread's stack holds return addresses into the code that started it. Its stack pointer is in
`/proc/self/task/TID/syscall`; the first address above it that lies in a library other than Python's, the C library's
and the loader's names the owner.
"""

from __future__ import annotations

import os
import re
import sys
from bisect import bisect_right
from posix import listdir
from select import poll as Poll
from struct import unpack
from typing import Any

HAS_TASKS = sys.platform == "linux"
"""Elsewhere only the threads that Python knows are counted."""
_TASKS = "/proc/self/task"
_BYTES = 16 << 10
_WORD = 8
_RETRIES = 20
"""Milliseconds that a running thread is given to begin to wait."""
_MAPPED = re.compile(rb" (/[^\n]*)\n")
_PASSED_OVER = re.compile(
    r"(lib(c|pthread|dl|m|rt|stdc\+\+|gcc_s|python[\d.]*)([-.][\w.-]*)?\.so[\d.]*|ld(-[\w-]+)?[\w.-]*|python[\d.]*)$"
)


def tasks() -> list[int]:
    """The thread ids of this process."""
    if not HAS_TASKS:
        import threading

        return [thread.native_id or 0 for thread in threading.enumerate()]
    return [int(name) for name in listdir(_TASKS)]


def name_of(task: int) -> str:
    """What a thread calls itself; the kernel keeps 15 characters."""
    try:
        with open(f"{_TASKS}/{task}/comm", "rb") as file:
            return file.read().decode("utf-8", "replace").rstrip("\n")
    except OSError:
        return ""


def mapped_files() -> set[str]:
    """The files that are mapped into this process: shared objects, mostly."""
    if not HAS_TASKS:
        return set()
    try:
        with open("/proc/self/maps", "rb") as file:
            found = set(_MAPPED.findall(file.read()))
    except OSError:
        return set()
    return {os.fsdecode(path) for path in found if not path.endswith(b" (deleted)")}


class Maps:
    """Which file each address of this process belongs to; read once, for it costs milliseconds in a large process."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._paths: list[str] = []
        self.files: dict[str, None] = {}
        if not HAS_TASKS:
            return
        with open("/proc/self/maps", "rb") as file:
            for line in file:
                fields = line.rstrip(b"\n").split(None, 5)
                if len(fields) < 6 or not fields[5].startswith(b"/") or b"x" not in fields[1]:
                    continue
                start, _, end = fields[0].partition(b"-")
                path = os.fsdecode(fields[5])
                self._starts.append(int(start, 16))
                self._ends.append(int(end, 16))
                self._paths.append(path)
                self.files[path] = None

    def owner(self, task: int) -> str | None:
        """The path of the library that runs a thread, or `None` when its stack names none."""
        stack = _stack(task)
        for _ in range(_RETRIES):
            if stack:
                break
            # It is running, so that nobody can say where; a thread of a pool soon waits.
            Poll().poll(1)
            stack = _stack(task)
        for word in stack:
            at = bisect_right(self._starts, word) - 1
            if at >= 0 and word < self._ends[at]:
                path = self._paths[at]
                if _PASSED_OVER.match(os.path.basename(path)) is None:
                    return path
        return None


def _stack(task: int) -> tuple[int, ...]:
    try:
        with open(f"{_TASKS}/{task}/syscall", "rb") as file:
            fields = file.read().split()
        # "running": it has no stack pointer to show at this moment.
        if len(fields) < 3:
            return ()
        pointer = int(fields[-2], 16)
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            memory.seek(pointer)
            # The end of the mapping cuts the read short.
            data = memory.read(_BYTES) or b""
    except (OSError, ValueError, OverflowError):
        return ()
    count = len(data) // _WORD
    return unpack(f"={count}Q", data[: count * _WORD])


def package_of(path: str) -> str | None:
    """The top-level name under the longest entry of `sys.path` that holds a file; `numpy.libs` belongs to numpy."""
    best = ""
    for entry in sys.path:
        # Programs put Path objects there; the import system passes them over.
        if type(entry) is str and len(entry) > len(best) and path.startswith(entry.rstrip("/") + "/"):
            best = entry
    if not best:
        return None
    top = path[len(best.rstrip("/")) + 1 :].partition("/")[0].partition(".")[0]
    return top if top.isidentifier() and top != "lib-dynload" and top not in sys.stdlib_module_names else None


def python_threads() -> dict[int, Any]:
    """The threads that Python code has started and that live, by thread id; the main one is not among them."""
    threading: Any = sys.modules.get("threading")
    if threading is None:
        return {}
    main = threading.main_thread()
    return {thread.native_id: thread for thread in threading.enumerate() if thread is not main}


def module_of(thread: Any) -> str:
    """Where the code lives that a Python thread runs."""
    target: Any = getattr(thread, "_target", None) or getattr(thread, "function", None)
    target = getattr(target, "__func__", target)
    while hasattr(target, "func"):
        target = target.func
    module = getattr(target, "__module__", None)
    return str(module or type(thread).__module__)
