"""The limit: a process that has imported the stack and calls `os.fork()` itself; the result comes by a pipe.

Nothing is checked, nothing is reset in the child, output is not captured, and the child ends by `os._exit`.
"""

from __future__ import annotations

import gc
import os
import pickle
import struct
import time
from importlib import import_module

import turns
from turns import Answer

_LENGTH = struct.Struct("I")


def main() -> None:
    turns.serve(BareFork())


class BareFork:
    def open(self) -> Answer:
        for name in turns.modules():
            import_module(name)
        gc.collect()
        gc.freeze()
        return {}

    def exec(self) -> Answer:
        start = time.perf_counter_ns()
        pid, pipe = _start()
        turns.check(_result(pipe))
        result = turns.seconds(start)
        os.waitpid(pid, 0)
        ended = turns.seconds(start)
        os.close(pipe)
        return {"result": result, "ended": ended}

    def burst(self, count: int) -> Answer:
        start = time.perf_counter_ns()
        started = [_start() for _ in range(count)]
        for pid, pipe in started:
            turns.check(_result(pipe))
            os.close(pipe)
            os.waitpid(pid, 0)
        return {"result": turns.seconds(start) / count}

    def sequence(self, count: int) -> Answer:
        start = time.perf_counter_ns()
        for _ in range(count):
            pid, pipe = _start()
            turns.check(_result(pipe))
            os.close(pipe)
            os.waitpid(pid, 0)
        return {"result": turns.seconds(start) / count}

    def edited(self) -> Answer:
        """The child imports what is new."""
        return {**self.exec(), "again": self.exec()["result"]}

    def hold(self) -> Answer:
        self._held = turns.Held()
        self._child = os.fork()
        if self._child == 0:
            try:
                import_module("own.entry").hold(self._held.path)
            finally:
                os._exit(0)
        self._held.wait()
        return {"pid": self._child}

    def release(self) -> Answer:
        self._held.release()
        os.waitpid(self._child, 0)
        return {}

    def close(self) -> Answer:
        return {}


def _start() -> tuple[int, int]:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            body = pickle.dumps(import_module("own.entry").run())
            os.write(write, _LENGTH.pack(len(body)) + body)
        finally:
            os._exit(0)
    os.close(write)
    return pid, read


def _result(pipe: int) -> object:
    data = os.read(pipe, 1 << 16)
    (length,) = _LENGTH.unpack_from(data)
    if len(data) != _LENGTH.size + length:
        raise AssertionError("a small value comes in one piece")
    return pickle.loads(data[_LENGTH.size :])


if __name__ == "__main__":
    main()
