"""jurigged: the running process is patched. Whoever calls the function in a loop sees the new code; state stays."""

from __future__ import annotations

import os
import threading
import time
from importlib import import_module

import jurigged

import turns
from saving import Saver
from turns import Answer


def main() -> None:
    turns.serve(Patching())


class Patching(Saver):
    def open(self) -> Answer:
        jurigged.watch(os.path.join(os.getcwd(), "own", "*.py"), logger=_ignore)
        self._run = import_module("own.entry").run
        # Imported before the first save.
        self._last = self._run()
        self._stop = threading.Event()
        self._caller = threading.Thread(target=self._call)
        self._caller.start()
        self.is_watched()
        return {}

    def close(self) -> Answer:
        self._stop.set()
        self._caller.join()
        return {}

    def _call(self) -> None:
        while not self._stop.is_set():
            if (value := self._run()) != self._last:
                self._last = value
                self.heard(value)
            time.sleep(0.001)


def _ignore(_: object) -> None: ...


if __name__ == "__main__":
    main()
