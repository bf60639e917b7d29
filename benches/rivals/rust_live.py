"""Firehot in a process that goes on: reloads a module of Rust, or runs it in an environment, after each edit."""

from __future__ import annotations

import importlib
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import turns
from turns import Answer


def main() -> None:
    turns.serve(Live())


class Live:
    def __init__(self) -> None:
        self._held = ExitStack()
        self._module: Any = None
        self._env: Any = None
        self._name = ""

    def open(self) -> Answer:
        return {}

    def begin(self, module: str, in_environment: bool) -> Answer:
        from firehot import isolate_imports, rust

        self._name = module
        if in_environment:
            self._env = self._held.enter_context(isolate_imports("own"))
            self.ask()
        else:
            rust.install()
            self._module = importlib.import_module(module)
        return {}

    def edit(self, file: str, text: str, number: int) -> Answer:
        start = time.perf_counter_ns()
        Path(file).write_text(text)
        if self._env is None:
            self._module = importlib.reload(self._module)
            answer = self._module.answer()
        else:
            answer = self.ask()
        took = turns.seconds(start)
        if answer != number:
            raise AssertionError(f"{answer} is not {number}")
        return {"result": took}

    def ask(self) -> object:
        answer = importlib.import_module("own.rusty").answer
        return self._env.run(answer, self._name)

    def resident(self) -> Answer:
        with open("/proc/self/statm") as memory:
            return {"resident": int(memory.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")}

    def close(self) -> Answer:
        self._held.close()
        return {}


if __name__ == "__main__":
    main()
