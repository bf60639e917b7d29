"""`multiprocessing`'s forkserver, told to preload what the project imports; the result comes by a `Pipe`."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import time
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

import turns
from turns import Answer


def main() -> None:
    turns.serve(Forkserver())


class Forkserver:
    def open(self) -> Answer:
        self._context = multiprocessing.get_context("forkserver")
        # With `__main__` in the list no child imports this script again.
        self._context.set_forkserver_preload(["__main__", *turns.modules()])
        # The first process waits for the preload.
        return self.exec()

    def exec(self) -> Answer:
        start = time.perf_counter_ns()
        process, pipe = self._start()
        turns.check(pipe.recv())
        result = turns.seconds(start)
        process.join()
        ended = turns.seconds(start)
        pipe.close()
        return {"result": result, "ended": ended}

    def burst(self, count: int) -> Answer:
        start = time.perf_counter_ns()
        self._collect([self._start() for _ in range(count)])
        return {"result": turns.seconds(start) / count}

    def sequence(self, count: int) -> Answer:
        start = time.perf_counter_ns()
        for _ in range(count):
            self._collect([self._start()])
        return {"result": turns.seconds(start) / count}

    def hold(self) -> Answer:
        self._held = turns.Held()
        self._process = self._context.Process(target=_hold, args=(self._held.path,))
        self._process.start()
        self._held.wait()
        return {"pid": self._process.pid}

    def release(self) -> Answer:
        self._held.release()
        self._process.join()
        return {"code": self._process.exitcode}

    def close(self) -> Answer:
        multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]
        return {}

    def _start(self) -> tuple[Any, Any]:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_child, args=(theirs,))
        process.start()
        theirs.close()
        return process, ours

    @staticmethod
    def _collect(started: list[tuple[Any, Any]]) -> None:
        for process, pipe in started:
            turns.check(pipe.recv())
            pipe.close()
            process.join()


def _hold(fifo: str) -> None:
    import_module("own.entry").hold(fifo)


def _child(pipe: Connection) -> None:
    pipe.send(import_module("own.entry").run())


if __name__ == "__main__":
    main()
