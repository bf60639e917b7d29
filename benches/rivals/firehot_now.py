"""This checkout's firehot. `settings` are keyword arguments of `isolate_imports`."""

from __future__ import annotations

import inspect
import os
import time
from contextlib import ExitStack
from importlib import import_module
from typing import Any

import turns
from firehot import isolate_imports
from turns import Answer

# Answers by one template that show that no other is being built, with a fifth of a second between, and the most.
_SAME, _LONGEST = 8, 100


def main() -> None:
    turns.serve(Firehot(turns.settings()))


class Firehot:
    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments
        self._open = ExitStack()
        self._env: Any = None

    def missing(self) -> Answer:
        """Which of the arguments this version does not know."""
        known = inspect.signature(isolate_imports).parameters
        return {"missing": [name for name in self._arguments if name not in known]}

    def open(self) -> Answer:
        self._run = import_module("own.entry").run
        start = time.perf_counter_ns()
        self._env = self._open.enter_context(isolate_imports("own", **self._arguments))
        ready = turns.seconds(start)
        turns.check(self._env.exec(self._run).result())
        return {"result": ready, "first": turns.seconds(start)}

    def settle(self) -> Answer:
        """Waits until what the first runs have taught is built: the same template has served for a while."""
        self.exec()
        templates = [self._env.run(os.getppid)]
        while len(templates) < _LONGEST and (len(templates) < _SAME or len({*templates[-_SAME:]}) > 1):
            time.sleep(0.2)
            templates.append(self._env.run(os.getppid))
        return {"templates": len({*templates})}

    def exec(self) -> Answer:
        start = time.perf_counter_ns()
        process = self._env.exec(self._run)
        sent = turns.seconds(start)
        turns.check(process.result())
        return {"result": turns.seconds(start), "sent": sent}

    def burst(self, count: int) -> Answer:
        start = time.perf_counter_ns()
        started = [self._env.exec(self._run) for _ in range(count)]
        for process in started:
            turns.check(process.result())
        return {"result": turns.seconds(start) / count}

    def sequence(self, count: int) -> Answer:
        start = time.perf_counter_ns()
        for _ in range(count):
            turns.check(self._env.exec(self._run).result())
        return {"result": turns.seconds(start) / count}

    def edited(self) -> Answer:
        """The project's imports were edited; also the run after the one that finds out."""
        start = time.perf_counter_ns()
        rebuilt = self._env.update_environment()
        turns.check(self._env.exec(self._run).result())
        result = turns.seconds(start)
        return {"result": result, "again": self.exec()["result"], "rebuilt": float(rebuilt)}

    def hold(self) -> Answer:
        self._held = turns.Held()
        self._process = self._env.exec(import_module("own.entry").hold, self._held.path)
        self._held.wait()
        return {"pid": self._process.pid}

    def release(self) -> Answer:
        self._held.release()
        return {"same": self._process.result() == self._process.pid}

    def modules(self) -> Answer:
        """How many a child finds, and which the project imports but children do not find."""
        return {"count": len(self._env.run(_names)), "skipped": sorted(self._env.skipped)}

    def close(self) -> Answer:
        self._open.close()
        return {}


def _names() -> list[str]:
    import sys

    return list(sys.modules)


if __name__ == "__main__":
    main()
