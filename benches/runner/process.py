"""A rival's process: started once, told what to do line by line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from benches import environments

_RIVALS = Path(__file__).resolve().parent.parent / "rivals"


class RivalFailed(Exception):
    """A rival can't do what was asked of it; the text is the end of what it said."""


class Rival:
    """A script of `benches/rivals` in an interpreter; a context manager."""

    def __init__(
        self,
        script: str,
        python: Path,
        paths: Sequence[Path],
        modules: Sequence[str],
        *,
        settings: Mapping[str, object] | None = None,
        log: Path,
    ) -> None:
        self.name = script
        self.killed = False
        self._log = log
        # What children print is no measure; it is kept to be shown when something fails.
        with log.open("ab") as said:
            self._process = subprocess.Popen(
                [python, _RIVALS / f"{script}.py", ",".join(modules), json.dumps(settings or {})],
                cwd=paths[0],
                env=environments.variables(python, paths),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                bufsize=1,
            )

    def ask(self, command: str, **arguments: object) -> dict[str, Any]:
        """Has the command run and returns the answer.

        Raises:
            RivalFailed: The process has ended.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps([command, arguments]) + "\n")
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            said = self._log.read_text("utf-8", "replace").strip().splitlines()
            raise RivalFailed(f"{self.name}, {command}: {' | '.join(said[-5:])}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    @property
    def pid(self) -> int:
        """The process that `ask` speaks to."""
        return self._process.pid

    def __enter__(self) -> Rival:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.ask("close")
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.killed = True
                self._process.kill()
