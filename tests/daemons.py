"""What tests of daemons share: a user at a project, whose daemons are nobody else's and do not outlive the test."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

from support import DEADLINE, is_alive, wait_until

_LOG = 4000


class Desk:
    """A project, third-party modules, and the command `firehot` in a process of its own, without a terminal.

    Attributes:
        root: The project's folder, which is the working directory.
        site: Where third-party modules are.
        variables: Environment variables, besides the test's own; `None` takes one away.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.site = folder / "third_party"
        home = folder / "home"
        for made in (self.root, self.site, home):
            made.mkdir(parents=True)
        (self.root / "pyproject.toml").touch()
        # The path of a socket has to be short.
        self._runtime = Path(tempfile.mkdtemp(prefix="fh-", dir="/tmp"))
        self.variables: dict[str, str | None] = {
            "XDG_RUNTIME_DIR": str(self._runtime),
            "HOME": str(home),
            "PYTHONPATH": str(self.site),
            "FIREHOT_DISABLE": None,
            "COLUMNS": "80",
        }

    # -- files ---------------------------------------------------------------------------------------

    def write(self, name: str, text: str = "") -> Path:
        """Writes a file of the project."""
        return self._write(self.root / name, text)

    def dependency(self, name: str, text: str = "") -> Path:
        """Writes a third-party module."""
        return self._write(self.site / name, text)

    @staticmethod
    def _write(path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")
        return path

    # -- the command ---------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """Of the processes that it starts."""
        given = {**os.environ, **self.variables}
        return {name: value for name, value in given.items() if value is not None}

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Starts `firehot WORDS`."""
        given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        command = [sys.executable, "-m", "firehot", *words]
        return subprocess.Popen(command, cwd=self.root, env=self.environment, text=True, **given)

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs `firehot WORDS` to its end."""
        with self.popen(*words, **options) as process:
            try:
                stdout, stderr = process.communicate(timeout=DEADLINE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)

    def good(self, *words: str) -> str:
        """Its stdout, when it ends well."""
        done = self.run(*words)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def json(self, *words: str) -> dict[str, Any]:
        """The one object that it prints with `--json`."""
        found = json.loads(self.good(*words, "--json"))
        assert isinstance(found, dict)
        return found

    def warm(self, *words: str) -> str:
        """Builds the template of a program, as `firehot warm` does, so that its next run is warm."""
        return self.good("warm", *words)

    # -- daemons -------------------------------------------------------------------------------------

    def daemons(self) -> list[dict[str, Any]]:
        """Those that run: `pid`, `root` and more."""
        daemons: list[dict[str, Any]] = self.json("status")["daemons"]
        return daemons

    def living(self) -> list[int]:
        """The processes that hold a lock; asks nobody."""
        return [pid for lock in self.locks() if (pid := _holder(lock)) is not None]

    def locks(self) -> list[Path]:
        """The files of all daemons there were."""
        return sorted(self._runtime.glob("firehot/*.lock"))

    def left(self) -> list[str]:
        """What lies where daemons are, but for what one leaves there for the next."""
        kept = (".lock", ".log", ".why")
        return sorted(path.name for path in self._runtime.glob("firehot/*") if path.suffix not in kept)

    def logs(self) -> str:
        """The ends of the logs of all daemons there were."""
        texts = (path.read_text("utf-8", "replace") for path in self._runtime.glob("firehot/*.log"))
        return "\n".join(text[-_LOG:] for text in texts)

    def close(self) -> None:
        """Stops every daemon, one that is just starting, too; fails when one has to be killed."""
        pids: set[int] = set()

        def are_gone() -> bool:
            new = {pid for lock in self._runtime.glob("firehot/*.lock") if (pid := _holder(lock)) is not None} - pids
            pids.update(new)
            for pid in new:
                # One that is stopped hears nothing.
                for number in (signal.SIGTERM, signal.SIGCONT):
                    with suppress(ProcessLookupError):
                        os.kill(pid, number)
            return not any(map(is_alive, pids))

        wait_until(are_gone)
        log = self.logs()
        # One that comes now finds no folder, and ends.
        wait_until(lambda: shutil.rmtree(self._runtime, ignore_errors=True) or not self._runtime.exists())
        left = [pid for pid in pids if is_alive(pid)]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert not left, f"did not end: {left}\n{log}"


def _holder(lock: Path) -> int | None:
    """The daemon that holds a lock: what is written there outlives it."""
    with lock.open("rb") as file, suppress(ValueError, KeyError):
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(json.loads(file.read())["pid"])
    return None
