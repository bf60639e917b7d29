"""The released firehot, in an environment of its own. Its results are text."""

from __future__ import annotations

import time
from contextlib import ExitStack
from importlib import import_module
from typing import Any

import turns
from firehot import isolate_imports
from turns import Answer


def main() -> None:
    turns.serve(OldFirehot())


class OldFirehot:
    def __init__(self) -> None:
        self._open = ExitStack()
        self._env: Any = None

    def open(self) -> Answer:
        self._run = import_module("own.entry").run
        start = time.perf_counter_ns()
        self._env = self._open.enter_context(isolate_imports("own"))
        ready = turns.seconds(start)
        # It imports on, so that the first run waits.
        self.exec()
        return {"result": ready, "first": turns.seconds(start)}

    def exec(self) -> Answer:
        start = time.perf_counter_ns()
        self._collect([self._env.exec(self._run)])
        return {"result": turns.seconds(start)}

    def burst(self, count: int) -> Answer:
        start = time.perf_counter_ns()
        self._collect([self._env.exec(self._run) for _ in range(count)])
        return {"result": turns.seconds(start) / count}

    def sequence(self, count: int) -> Answer:
        start = time.perf_counter_ns()
        for _ in range(count):
            self._collect([self._env.exec(self._run)])
        return {"result": turns.seconds(start) / count}

    def edited(self) -> Answer:
        """The project's imports were edited; also the run after the one that finds out."""
        start = time.perf_counter_ns()
        rebuilt = self._env.update_environment()
        self.exec()
        result = turns.seconds(start)
        return {"result": result, "again": self.exec()["result"], "rebuilt": float(rebuilt)}

    def close(self) -> Answer:
        self._open.close()
        return {}

    def _collect(self, started: list[Any]) -> None:
        for process in started:
            turns.check(int(self._env.communicate_isolated(process)))


if __name__ == "__main__":
    main()
