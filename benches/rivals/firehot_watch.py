"""This checkout's firehot, watching: each change set is followed by an update and a run."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from importlib import import_module
from typing import Any

import turns
from firehot import isolate_imports
from saving import Saver
from turns import Answer


def main() -> None:
    turns.serve(Watching())


class Watching(Saver):
    def __init__(self) -> None:
        super().__init__()
        self._open = ExitStack()
        self._env: Any = None

    def missing(self) -> Answer:
        from firehot import Environment

        return {"missing": [] if hasattr(Environment, "watch") else ["watch"]}

    def open(self) -> Answer:
        self._run = import_module("own.entry").run
        self._env = self._open.enter_context(isolate_imports("own"))
        self._changes = self._open.enter_context(self._env.watch())
        self._loop = threading.Thread(target=self._serve)
        self._loop.start()
        self.is_watched()
        return {}

    def close(self) -> Answer:
        if self._env is not None:
            self._changes.close()
            self._loop.join()
        self._open.close()
        return {}

    def _serve(self) -> None:
        for _ in self._changes:
            self._env.update_environment()
            self.heard(self._env.exec(self._run).result())


if __name__ == "__main__":
    main()
