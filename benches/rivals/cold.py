"""A new interpreter for each run; the result is what it prints."""

from __future__ import annotations

import subprocess
import sys
import time

import turns
from turns import Answer

_RUN = [sys.executable, "-c", "from own.entry import run; print(run())"]
# No more at a time than the machine has cores would wait for each other; users start that many.
_AT_ONCE = 4


def main() -> None:
    turns.serve(Cold())


class Cold:
    def open(self) -> Answer:
        return self.exec()

    def exec(self) -> Answer:
        start = time.perf_counter_ns()
        done = subprocess.run(_RUN, stdout=subprocess.PIPE, check=True)
        turns.check(int(done.stdout))
        return {"result": turns.seconds(start)}

    def imports(self) -> Answer:
        """The stack's modules alone."""
        code = "import " + ", ".join(turns.modules() or ["sys"])
        start = time.perf_counter_ns()
        subprocess.run([sys.executable, "-c", code], check=True)
        return {"result": turns.seconds(start)}

    def burst(self, count: int) -> Answer:
        """`count` is what the others start; so many interpreters at a time are few, and the time is for each."""
        count = min(count, _AT_ONCE)
        start = time.perf_counter_ns()
        started = [subprocess.Popen(_RUN, stdout=subprocess.PIPE) for _ in range(count)]
        for process in started:
            said, _ = process.communicate()
            turns.check(int(said))
        return {"result": turns.seconds(start) / count}

    def edited(self) -> Answer:
        return {**self.exec(), "again": self.exec()["result"]}

    def hold(self) -> Answer:
        self._held = turns.Held()
        code = "from own.entry import hold; import sys; hold(sys.argv[1])"
        self._process = subprocess.Popen([sys.executable, "-c", code, self._held.path])
        self._held.wait()
        return {"pid": self._process.pid}

    def release(self) -> Answer:
        self._held.release()
        return {"code": self._process.wait()}

    def close(self) -> Answer:
        return {}


if __name__ == "__main__":
    main()
