"""What the tests share: processes that are looked for, scripts that are run, packages that are thrown away."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from firehot import isolate_imports
from firehot.environment import Environment

MARK = "FIREHOT_TEST_MARK"
PROC = Path("/proc")
needs_proc = pytest.mark.skipif(not PROC.is_dir(), reason="looks into /proc")
DEADLINE = 30.0
"""Seconds after which something that should have happened has not. Never how long a test takes when it passes."""


def wait_until(predicate: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """Waits for what nobody tells of, such as the death of a foreign process; returns the last value."""
    deadline = time.monotonic() + seconds
    while not (value := predicate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return value


# -- processes -----------------------------------------------------------------------------------


def marked_processes(mark: str) -> dict[int, str]:
    """The living processes, but for this one, that were started with this mark: pid and command line."""
    wanted = f"{MARK}={mark}".encode()
    found = {}
    for entry in PROC.glob("[0-9]*"):
        if int(entry.name) == os.getpid():
            continue
        try:
            # A zombie has no environment any more.
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(entry.name)] = command.decode("utf-8", "replace")[:200]
        except OSError:
            continue
    return found


def process_state(pid: int) -> str | None:
    """The letter of `/proc/PID/stat` ("T" is stopped, "Z" a zombie), or `None` for no process."""
    fields = _stat(pid)
    return fields[0] if fields else None


def zombies_of(parent: int) -> list[int]:
    return [pid for pid, fields in _stats() if fields[0] == "Z" and int(fields[1]) == parent]


def children_of(parent: int) -> list[int]:
    return [pid for pid, fields in _stats() if fields[0] != "Z" and int(fields[1]) == parent]


def is_alive(pid: int) -> bool:
    if PROC.is_dir():
        return process_state(pid) not in (None, "Z", "X")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _stats() -> Iterator[tuple[int, list[str]]]:
    for entry in PROC.glob("[0-9]*"):
        fields = _stat(int(entry.name))
        if fields:
            yield int(entry.name), fields


def _stat(pid: int) -> list[str] | None:
    try:
        text = (PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def open_descriptors() -> dict[int, str]:
    found = {}
    for entry in (PROC / "self" / "fd").glob("*"):
        try:
            target = os.readlink(entry)
            # Loading libffi (ctypes, numpy) opens its own file for good, from 3.5 on.
            if "libffi" not in target:
                found[int(entry.name)] = target
        except OSError:
            continue
    return found


def run_to_its_end(env: Environment) -> dict[int, str]:
    """Runs once; what is open when the host has let go of that run's pipes and socket too.

    They are closed a moment after `wait` has returned. What the first run opens for all of them stays.
    """
    before = pipes_and_sockets()
    env.exec(abs, -1).wait()
    assert wait_until(lambda: pipes_and_sockets() == before)
    return open_descriptors()


def pipes_and_sockets() -> Counter[str]:
    """How many there are of each."""
    kinds = Counter(target.partition(":")[0] for target in open_descriptors().values())
    return Counter({kind: kinds[kind] for kind in ("pipe", "socket")})


def firehot_threads() -> list[str]:
    """Names of this process's threads that belong to an environment, native ones too (cut at 15 characters)."""
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("firehot-")]
    for task in (PROC / "self" / "task").glob("*/comm"):
        try:
            name = task.read_text("utf-8", "replace").strip()
        except OSError:
            continue
        if name.startswith("firehot-"):
            names.append(name)
    return names


# -- scripts -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Finished:
    """How a script ended."""

    returncode: int
    stdout: str
    stderr: str

    def ok(self) -> str:
        """Its stdout, when it ended well."""
        assert self.returncode == 0, f"{self.returncode}\n{self.stdout}\n{self.stderr}"
        return self.stdout


class Scripts:
    """Runs Python in processes of their own, each with a deadline and in a session of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self._numbers = itertools.count(1)

    def save(self, text: str, name: str | None = None) -> Path:
        path = self.folder / (name or f"script{next(self._numbers)}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")
        return path

    def run(
        self,
        text: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        **options: Any,
    ) -> Finished:
        """Saves `text` as a script and runs it to its end."""
        return self.run_command([sys.executable, str(self.save(text)), *arguments], env=env, timeout=timeout, **options)

    def run_command(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        text: str | None = None,
        **options: Any,
    ) -> Finished:
        with self.popen(command, env=env, stdin=subprocess.PIPE, **options) as process:
            stdout, stderr = process.communicate(text or "", timeout)
            return Finished(process.returncode, stdout or "", stderr or "")

    @contextmanager
    def start(self, text: str, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """Saves `text` as a script and starts it; the block reads what it says."""
        with self.popen([sys.executable, str(self.save(text)), *arguments], **options) as process:
            yield process

    @contextmanager
    def popen(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> Iterator[subprocess.Popen[str]]:
        given: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "start_new_session": True,
            "cwd": self.folder,
            **options,
        }
        process = subprocess.Popen(
            command,
            env={**os.environ, **(env or {})},
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            **given,
        )
        with process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()


def at_terminal(command: str, *arguments: str, **options: Any) -> Any:
    """Starts a command at a terminal of its own: pexpect's `spawn`."""
    import pexpect

    with warnings.catch_warnings():
        # In a process with threads, as those of pytest-xdist, its fork is warned of from 3.12 on; with `-W error` it
        # fails on 3.15, when the other process is there already.
        warnings.simplefilter("ignore", DeprecationWarning)
        return pexpect.spawn(command, [*arguments], **{"encoding": "utf-8", "timeout": DEADLINE, **options})


def read_line(process: subprocess.Popen[str]) -> str:
    """The next line of a script; fails with its stderr when there is none."""
    assert process.stdout is not None and process.stderr is not None
    line = process.stdout.readline().rstrip("\n")
    if not line:
        process.kill()
        raise AssertionError(f"the script said nothing more:\n{process.stderr.read()}")
    return line


def interrupt(process: subprocess.Popen[str], *, group: bool = False) -> None:
    """Ctrl-C: to the process alone, or to its whole group, as a terminal sends it."""
    if group:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)


# -- packages ------------------------------------------------------------------------------------


class Project:
    """A package in a source folder of its own, and third-party modules in another; both on `sys.path`."""

    _numbers = itertools.count(1)

    def __init__(self, folder: Path) -> None:
        self.name = f"project{next(self._numbers)}_{os.getpid()}"
        self.root = folder / "source"
        self.site = folder / "third_party"
        self.package = self.root / self.name
        self.package.mkdir(parents=True)
        self.site.mkdir()
        self.write("__init__.py", "")

    def write(self, relative: str, text: str | bytes) -> Path:
        """Writes a file of the package."""
        return self._write(self.package / relative, text)

    def dependency(self, relative: str, text: str | bytes = "") -> Path:
        """Writes a third-party module."""
        return self._write(self.site / relative, text)

    def settings(self, text: str) -> Path:
        """Writes `[tool.firehot]` of the project's pyproject.toml."""
        return self._write(self.root / "pyproject.toml", "[tool.firehot]\n" + textwrap.dedent(text))

    def open(self, **options: Any) -> Any:
        """`isolate_imports` of the package; learns nothing unless asked to: what a test's runs import is pytest."""
        options.setdefault("learn", False)
        return isolate_imports(self.name, **options)

    @property
    def path(self) -> str:
        """Both folders, as PYTHONPATH takes them."""
        return os.pathsep.join((str(self.root), str(self.site)))

    @staticmethod
    def _write(path: Path, text: str | bytes) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = text if isinstance(text, bytes) else textwrap.dedent(text).encode()
        path.write_bytes(content)
        return path


def skipped(environment: Environment) -> dict[str, str]:
    return {name: module.reason for name, module in environment.skipped.items()}


def catch(call: Callable[[], object]) -> BaseException:
    """What a call raises, with its context."""
    try:
        value = call()
    except Exception as error:
        return error
    raise AssertionError(f"returned {value!r} instead of raising")
