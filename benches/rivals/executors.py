"""An executor with two workers. `settings["kind"]` says which: firehot's, or a `ProcessPoolExecutor` of some kind."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from importlib import import_module
from typing import Any

import turns
from turns import Answer

_WORKERS = 2
# As in firehot_now.py.
_SAME, _LONGEST = 8, 100


def main() -> None:
    turns.serve(Executors(**turns.settings()))


class Executors:
    def __init__(self, kind: str) -> None:
        self._kind = kind

    def open(self) -> Answer:
        self._run = import_module("own.entry").run
        self._executor = self._make()
        self.task()
        return {}

    def task(self) -> Answer:
        """One, from `submit` to the result."""
        start = time.perf_counter_ns()
        turns.check(self._executor.submit(self._run).result())
        return {"result": turns.seconds(start)}

    def tasks(self, count: int) -> Answer:
        """So many at once."""
        start = time.perf_counter_ns()
        for future in [self._executor.submit(self._run) for _ in range(count)]:
            turns.check(future.result())
        return {"result": turns.seconds(start) / count}

    def settle(self) -> Answer:
        """Waits until what the first tasks have taught the template is built."""
        templates = [self._executor.submit(os.getppid).result()]
        while len(templates) < _LONGEST and (len(templates) < _SAME or len({*templates[-_SAME:]}) > 1):
            time.sleep(0.2)
            templates.append(self._executor.submit(os.getppid).result())
        return {}

    def close(self) -> Answer:
        self._executor.shutdown()
        return {}

    def _make(self) -> Executor:
        if self._kind == "firehot":
            firehot: Any = import_module("firehot")
            made: Executor = firehot.Executor("own", _WORKERS)
            return made
        method = self._kind.partition(" ")[0]
        context: Any = multiprocessing.get_context(method)
        if self._kind == "forkserver preloaded":
            # With `__main__` in the list no child imports this script again.
            context.set_forkserver_preload(["__main__", *turns.modules()])
        # From Python 3.11 on.
        options: dict[str, Any] = {} if self._kind == "spawn reused" else {"max_tasks_per_child": 1}
        return ProcessPoolExecutor(_WORKERS, mp_context=context, **options)


if __name__ == "__main__":
    main()
