"""What the tests of the client share: a project, a daemon to try it with, and a command that does nothing but ask."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

from support import DEADLINE, is_alive, wait_until

from firehot import _core

_COMMAND = """\
import json, os, sys
from firehot import _core, _run
sys.path[:] = []
given = json.loads(sys.argv[1])
given["code"] = given["code"].encode()
given["args"] = sys.argv[2:]
given["descriptors"] = _run.handed_down()
os._exit(_core.client_run(given))
"""


class Office:
    """A project with a daemon of its own, in a folder for sockets of its own."""

    def __init__(self, folder: Path) -> None:
        # A socket's path is short.
        self.runtime = Path(tempfile.mkdtemp(prefix="fh-", dir="/tmp"))
        self.root = folder / "project"
        self.root.mkdir()
        (self.root / "pyproject.toml").touch()
        self.package = folder / "package" / "firehot"
        self.package.mkdir(parents=True)
        (self.package / "__init__.py").touch()
        shutil.copy(Path(__file__).with_name("daemon_double.py"), self.package / "_daemon.py")
        self._command = folder / "client.py"
        self._command.write_text(_COMMAND)
        self.env = {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime)}

    # -- the command ---------------------------------------------------------------------------------

    def save(self, text: str, name: str = "x.py") -> str:
        (self.root / name).write_text(textwrap.dedent(text))
        return name

    def command(self, target: str, *args: str, kind: str = "script", **given: Any) -> list[str]:
        """A run of this target as a command line: `code` for `-c`."""
        request = {
            "executable": sys.executable,
            "prefix": sys.prefix,
            "package": str(self.package),
            "kind": kind,
            "target": target,
            "code": "",
            "options": [],
            "words": [],
            "path": sys.path[1:],
            "asked": "run",
            "saved": None,
            **given,
        }
        return [sys.executable, str(self._command), json.dumps(request), *args]

    def line(self, target: str, *args: str, **given: Any) -> str:
        """The same for a shell."""
        return shlex.join(self.command(target, *args, **given))

    def popen(self, command: list[str] | str, **options: Any) -> subprocess.Popen[str]:
        given: dict[str, Any] = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "cwd": self.root,
            "env": self.env,
            "text": True,
            "start_new_session": True,
            "shell": isinstance(command, str),
            **options,
        }
        if given["shell"]:
            given["executable"] = "/bin/bash"
        return subprocess.Popen(command, **given)

    def run(
        self, command: list[str] | str, text: str | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """To its end."""
        with self.popen(command, **options) as process:
            try:
                out, err = process.communicate(text, DEADLINE)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def code(self, code: str, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs `-c`."""
        return self.run(self.command("-c", *args, kind="code", code=textwrap.dedent(code)), **options)

    def cold(self, code: str, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs `-c` with nothing of firehot."""
        return self.run([sys.executable, "-c", textwrap.dedent(code), *args], **options)

    # -- the daemon ----------------------------------------------------------------------------------

    def ask(self, question: str = "status", *, start: bool = False, patience: float = 5) -> dict[str, Any] | None:
        """Asks the daemon, in this process."""
        before = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = str(self.runtime)
        try:
            where = {
                "executable": sys.executable,
                "prefix": sys.prefix,
                "package": str(self.package),
                "script": str(self.root),
            }
            answer = _core.client_ask(where, json.dumps({"type": question}), start, patience)
        finally:
            if before is None:
                del os.environ["XDG_RUNTIME_DIR"]
            else:
                os.environ["XDG_RUNTIME_DIR"] = before
        return None if answer is None else json.loads(answer)

    def start(self) -> int:
        """Starts the daemon; its process."""
        answer = self.ask(start=True)
        assert answer is not None
        return int(answer["pid"])

    def answers(self, how: str) -> None:
        """What the daemon says to a run from now on."""
        (self.root / "answer").write_text(how)

    def living(self) -> list[int]:
        """The daemons that hold a lock."""
        code = "from firehot import _core; print([one['pid'] for one in _core.client_places()])"
        found: list[int] = json.loads(self.cold(code).stdout)
        return found

    def soon_living(self) -> list[int]:
        """The same, when there is one: a run that starts a daemon does not wait for it."""
        return list(wait_until(self.living))

    def files(self, suffix: str) -> list[Path]:
        return sorted(self.runtime.glob(f"firehot/*.{suffix}"))

    def close(self) -> None:
        for lock in self.files("lock"):
            text = lock.read_text()
            pid = json.loads(text)["pid"] if text else 0
            # It may have ended, and its number be another's: only one that holds its lock is one.
            if pid in self.living():
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda pid=pid: not is_alive(pid))
        shutil.rmtree(self.runtime)
