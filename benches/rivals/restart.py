"""What `uvicorn --reload` does: watchfiles watches, and a change ends the process and starts another."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import watchfiles

import turns
from saving import Saver
from turns import Answer

_RUN = [sys.executable, "-c", "from own.entry import run; print(run(), flush=True); input()"]


def main() -> None:
    turns.serve(Restart())


class Restart(Saver):
    def open(self) -> Answer:
        # The new process gets the project alone, without the folder of watchfiles.
        os.environ["PYTHONPATH"] = os.pathsep.join(os.environ["PYTHONPATH"].split(os.pathsep)[:2])
        self._start()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()
        self.is_watched()
        return {}

    def close(self) -> Answer:
        self._stop.set()
        self._watcher.join()
        self._end()
        return {}

    def _watch(self) -> None:
        for _ in watchfiles.watch("own", stop_event=self._stop):
            self._end()
            self._start()

    def _start(self) -> None:
        self._process: subprocess.Popen[Any] = subprocess.Popen(
            _RUN, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._listen, args=(self._process,)).start()

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait()

    def _listen(self, process: subprocess.Popen[Any]) -> None:
        assert process.stdout is not None
        if line := process.stdout.readline():
            self.heard(int(line))


if __name__ == "__main__":
    main()
