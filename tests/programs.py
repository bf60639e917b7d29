"""Runs programs twice, side by side: by `sys.executable`, and in a child of a template with the same options.

The templates are driven as the host drives them, with descriptors of the test's own.
"""

from __future__ import annotations

import os
import re
import select
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from support import DEADLINE

from firehot import __version__, _call, _forks, _host, _wire

ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FIREHOT"))}


class Ended(NamedTuple):
    """How a program ended; addresses in its text are made equal."""

    status: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Case:
    """A program: what is run, and what is different around it."""

    name: str
    code: str = ""
    kind: str = "code"
    target: str = ""
    args: Sequence[str] = ()
    options: Sequence[str] = ()
    stdin: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    one_pipe: bool = False
    """stdout and stderr are the same pipe: the order counts."""
    more: dict[str, Any] = field(default_factory=dict)

    def command(self) -> list[str]:
        if self.kind == "function":
            module, _, function = self.target.partition(":")
            code = (
                f"import sys; sys.argv[0] = {self.target!r}; from importlib import import_module as m; "
                f"sys.exit(m({module!r}).{function}())"
            )
            what = ["-c", code]
        else:
            what = {"script": [self.target], "module": ["-m", self.target]}.get(self.kind, ["-c", self.code])
        return [sys.executable, *self.options, *what, *self.args]


class Running:
    """A program that runs; its output comes by pipes."""

    def __init__(self, pid: int, outputs: Sequence[int], wait: Callable[[], int]) -> None:
        self.pid = pid
        self._outputs = dict.fromkeys(outputs, b"")
        self._wait = wait

    def until(self, text: bytes) -> None:
        """Reads until the program has said this on stdout."""
        first = next(iter(self._outputs))
        while text not in self._outputs[first]:
            data = os.read(first, 1 << 16)
            assert data, self._outputs
            self._outputs[first] += data

    def hang_up(self) -> None:
        """Closes the reading end of its stdout."""
        os.close(next(iter(self._outputs)))
        self._outputs = {-1: b"", **dict(list(self._outputs.items())[1:])}

    def end(self) -> Ended:
        open_ones = [fd for fd in self._outputs if fd >= 0]
        while open_ones:
            ready, _, _ = select.select(open_ones, [], [], DEADLINE)
            assert ready, f"it neither ends nor says anything: {self._outputs}"
            for fd in ready:
                if data := os.read(fd, 1 << 16):
                    self._outputs[fd] += data
                else:
                    open_ones.remove(fd)
                    os.close(fd)
        status = self._wait()
        texts = [re.sub(r"0x[0-9a-f]{6,}", "0x", data.decode()) for data in self._outputs.values()]
        return Ended(status, texts[0], texts[-1] if len(texts) > 1 else "")


class Warm:
    """A template, and programs in its children."""

    def __init__(self, folder: Path, options: Sequence[str], preload: Sequence[str]) -> None:
        self._folder = folder
        self._options = options
        executable, arguments, *_ = _host.launch()
        bootstrap = arguments[arguments.index("-c") :]
        code = "import sys; print(*sys.path[not sys.flags.isolated :], sep='\\n')"
        asked = subprocess.run(
            [executable, *options, "-c", code], env=ENVIRON, capture_output=True, text=True, check=True
        )
        self._path = asked.stdout.splitlines()
        self._sock, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [executable, *options, *bootstrap], stdin=theirs, stdout=subprocess.DEVNULL, env=ENVIRON, cwd=folder
            )
        setup = {"type": "setup", "protocol": _wire.PROTOCOL, "firehot": __version__, "host": os.getpid()}
        setup["launched"] = time.time_ns()
        _wire.send(self._sock.fileno(), setup, _forks.setup(_forks.ForkSettings(), self._path))
        imports = [{"module": name, "names": []} for name in preload]
        _wire.send(self._sock.fileno(), {"type": "preload", "trial": True, "imports": imports})
        while _wire.receive(self._sock.fileno())[0]["type"] != "ready":
            continue

    def close(self) -> None:
        with suppress(BrokenPipeError):
            _wire.send(self._sock.fileno(), {"type": "retire"})
        self._process.wait(DEADLINE)
        self._sock.close()

    def start(self, case: Case, stdio: Sequence[int]) -> tuple[int, Callable[[], int]]:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            fork = _wire.encode({"type": "fork", "id": 1, "as": "child", "cloudpickle": None})
            socket.send_fds(self._sock, [fork], [theirs.fileno()])
            pid = self._hear("forked")["pid"]
            program = {
                "kind": case.kind,
                "target": case.target,
                "code": case.code.encode(),
                "argv": list(case.args),
                "options": list(case.options),
                "terminal": None,
            }
            state = {
                "environ": {**ENVIRON, **case.env},
                "cwd": str(self._folder),
                "umask": 0o022,
                "argv": [],
                "orig_argv": [],
                "path": self._path,
                "ignored_signals": [],
                "main_file": None,
                "main_name": None,
                **{name: value for name, value in case.more.items() if name == "ignored_signals"},
                "program": {**program, **{n: v for n, v in case.more.items() if n != "ignored_signals"}},
            }
            body = _call.pack(state, abs, (), {})
            socket.send_fds(ours, [_wire.encode({"type": "call"}, len(body)) + body], list(stdio))
        return pid, lambda: int(self._hear("exited")["status"])

    def _hear(self, kind: str) -> dict[str, Any]:
        message, _ = _wire.receive(self._sock.fileno())
        assert message["type"] == kind, message
        return message


class Side:
    """Starts cases, cold or warm."""

    def __init__(self, folder: Path, templates: dict[tuple[str, ...], Warm] | None) -> None:
        self._folder = folder
        self._templates = templates

    def run(self, case: Case) -> Running:
        with tempfile.TemporaryFile(dir=self._folder) as stdin:
            stdin.write((case.stdin or "").encode())
            stdin.seek(0)
            pipes = [os.pipe() for _ in range(1 if case.one_pipe else 2)]
            stdio = [stdin.fileno(), pipes[0][1], pipes[-1][1]]
            try:
                pid, wait = self.start(case, stdio)
            finally:
                for _, write in pipes:
                    os.close(write)
        return Running(pid, [read for read, _ in pipes], wait)

    def start(self, case: Case, stdio: list[int]) -> tuple[int, Callable[[], int]]:
        if self._templates is not None:
            return self._templates[tuple(case.options)].start(case, stdio)
        process = subprocess.Popen(
            case.command(),
            stdin=stdio[0],
            stdout=stdio[1],
            stderr=stdio[2],
            cwd=self._folder,
            env={**ENVIRON, **case.env},
            start_new_session=True,
        )
        return process.pid, lambda: process.wait(DEADLINE)


@dataclass(frozen=True)
class Both:
    """The two ways."""

    folder: Path
    cold: Side
    warm: Side

    def ends(self, case: Case, meanwhile: Callable[[Running], object] = lambda _: None) -> tuple[Ended, Ended]:
        """How the case ends cold and warm."""
        ended = []
        for side in (self.cold, self.warm):
            running = side.run(case)
            meanwhile(running)
            ended.append(running.end())
        return ended[0], ended[1]


@contextmanager
def opened(
    folder: Path, files: Mapping[str, str | bytes], options: Sequence[tuple[str, ...]], preload: Sequence[str]
) -> Iterator[Both]:
    """A folder with these files, and a template for each set of options. The templates retire at the end."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
    templates = {each: Warm(folder, each, preload) for each in options}
    try:
        yield Both(folder, Side(folder, None), Side(folder, templates))
    finally:
        for template in templates.values():
            template.close()
