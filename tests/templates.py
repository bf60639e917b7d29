"""Starts templates without an engine, to see what they say: the protocol is their public face."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from support import DEADLINE, Project

from firehot import __version__, _call, _forks, _host, _wire
from firehot._forks import ForkSettings


class Preloaded:
    """What a template has said until it was ready, and its process."""

    def __init__(self, pid: int, sock: socket.socket, messages: list[dict[str, Any]], output: Any) -> None:
        self.pid = pid
        self._socket = sock
        self._messages = messages
        self._output = output

    @property
    def effects(self) -> list[dict[str, Any]]:
        return [effect for message in self._of("imported") for effect in message["effects"]]

    @property
    def loaded(self) -> list[str]:
        return [name for message in self._of("imported") for name, _ in message["loaded"]]

    @property
    def census(self) -> dict[str, Any]:
        (ready,) = self._of("ready")
        census: dict[str, Any] = ready["census"]
        return census

    @property
    def warnings(self) -> list[str]:
        return [message["message"] for message in self._of("log")]

    def run(self, fn: Callable[..., object], *args: object) -> list[dict[str, Any]]:
        """Runs a call in a child; everything that the child says until its end."""
        ours, theirs = socket.socketpair()
        with ours, theirs, open(os.devnull, "r+b", buffering=0) as null:
            fork = _wire.encode({"type": "fork", "id": 1, "as": "child", "cloudpickle": None})
            socket.send_fds(self._socket, [fork], [theirs.fileno()])
            self._hear("forked")
            theirs.close()
            state, _ = _host.state()
            body = _call.pack(state, fn, args, {})
            socket.send_fds(ours, [_wire.encode({"type": "call"}, len(body)) + body], [null.fileno()] * 3)
            said = []
            with suppress(EOFError, ConnectionResetError):
                while True:
                    said.append(_wire.receive(ours.fileno())[0])
        self._hear("exited")
        return said

    def _hear(self, kind: str) -> None:
        message, _ = _wire.receive(self._socket.fileno())
        assert message["type"] == kind, message

    def kinds(self) -> list[tuple[str, str, str]]:
        """Kind, who it was or what was being imported, and what follows."""
        return [(effect["kind"], effect["importer"] or effect["name"], effect["action"]) for effect in self.effects]

    def _of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self._messages if message["type"] == kind]


@contextmanager
def preloaded(
    project: Project, *modules: str, settings: ForkSettings | None = None, learn: bool = False
) -> Iterator[Preloaded]:
    """A template that has imported these modules. It is told to retire at the end, and waited for."""
    launched = time.time_ns()
    executable, arguments, environment, cwd, path = _host.launch()
    body = _forks.setup(settings or ForkSettings(), path, learn=learn)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [executable, *arguments],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=cwd,
        )
        theirs.close()
        with process:
            try:
                setup = {
                    "type": "setup",
                    "protocol": _wire.PROTOCOL,
                    "firehot": __version__,
                    "host": os.getpid(),
                    "launched": launched,
                }
                _wire.send(ours.fileno(), setup, body)
                imports = [{"module": name, "names": []} for name in modules]
                _wire.send(ours.fileno(), {"type": "preload", "trial": True, "imports": imports})
                yield Preloaded(process.pid, ours, list(_until_ready(ours, process)), process.stdout)
                with suppress(BrokenPipeError):
                    _wire.send(ours.fileno(), {"type": "retire"})
                process.wait(DEADLINE)
            finally:
                if process.poll() is None:
                    process.kill()


def _until_ready(ours: socket.socket, process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    while True:
        try:
            message, _ = _wire.receive(ours.fileno())
        except EOFError:
            assert process.stdout is not None
            raise AssertionError(process.stdout.read().decode("utf-8", "replace")) from None
        yield message
        if message["type"] == "ready":
            return


def only(found: Sequence[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one effect of a kind."""
    matching = [effect for effect in found if effect["kind"] == kind]
    assert len(matching) == 1, found
    return matching[0]
