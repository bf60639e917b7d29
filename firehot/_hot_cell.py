"""A cell of `%%hot` in its child: an IPython shell whose output and displays go to the notebook's kernel.

Three connections to the kernel: two are stdout and stderr from here on, for what libraries and programs write as well;
on the third go frames: a length and a pickled pair of kind and content. After each frame the child waits for a byte, so
that what it writes next comes after what it shows.
"""

from __future__ import annotations

import io
import os
import pickle
import socket
import struct
import sys
import warnings
from typing import Any, NoReturn

import cloudpickle
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

STDOUT, STDERR, FRAMES = b"o", b"e", b"f"
LENGTH = struct.Struct("!Q")


class Channel:
    """The connection for frames; a fork of the child says nothing."""

    def __init__(self, address: str) -> None:
        """Connects."""
        self._socket = connected(address, FRAMES)
        self._pid = os.getpid()

    def say(self, kind: str, content: object) -> None:
        """Tells the kernel, and waits until it has taken notice."""
        if self._pid != os.getpid():
            return
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        body = pickle.dumps((kind, content))
        self._socket.sendall(LENGTH.pack(len(body)) + body)
        self._socket.recv(1)


_channels: list[Channel] = []


def _say(kind: str, content: object) -> None:
    for channel in _channels:
        channel.say(kind, content)


class Publisher(DisplayPublisher):
    """What is displayed."""

    def publish(
        self,
        data: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *_: Any,
        transient: dict[str, Any] | None = None,
        update: bool = False,
        **__: Any,
    ) -> None:
        """Has the kernel publish it."""
        told = {"data": data, "metadata": metadata or {}, "transient": transient or {}, "update": update}
        _say("display", told)

    def clear_output(self, wait: bool = False) -> None:
        """Has the kernel clear the cell's output."""
        _say("clear", wait)


class Hook(DisplayHook):
    """The value of the last expression."""

    def start_displayhook(self) -> None:
        """Nothing stands before it."""

    def write_output_prompt(self) -> None:
        """The kernel has its own."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        """Has the kernel show it as the cell's result."""
        _say("result", (format_dict, md_dict or {}))

    def finish_displayhook(self) -> None:
        """Nothing stands behind it."""


class Shell(InteractiveShell):
    """The shell of one cell. It keeps no history."""

    display_pub_class = Type(Publisher)
    displayhook_class = Type(Hook)

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        _say("traceback", stb)

    def ask_exit(self) -> NoReturn:
        """`exit` and `quit`."""
        raise SystemExit


def connected(address: str, kind: bytes) -> socket.socket:
    """A connection to the kernel for one purpose."""
    made = socket.socket(socket.AF_UNIX)
    made.connect(address)
    made.sendall(kind)
    return made


def run(
    address: str, cell: str, number: int, options: dict[str, Any], given: dict[str, Any], out: list[str]
) -> tuple[bytes, str | None]:
    """Runs a cell; returns the variables that are wanted and there, pickled, and why they are not.

    Args:
        address: Where the kernel listens.
        cell: The whole cell, with its first line, so that lines have the numbers that they have there.
        number: Of the cell, for tracebacks.
        options: Traits of the shell.
        given: Variables that are there when it begins.
        out: Names of the variables that are wanted.

    Raises:
        BaseException: What the cell raises; the kernel has its traceback already.
    """
    for fd, kind in ((1, STDOUT), (2, STDERR)):
        with connected(address, kind) as stream:
            os.dup2(stream.fileno(), fd)
    for fd, text in ((1, sys.stdout), (2, sys.stderr)):
        # Made anew with nothing between them and the kernel, as by `python -u`: whoever sees a cell run waits for each
        # word. In their place, since imports may have kept them.
        raw = io.FileIO(fd, "w", closefd=False)
        text.__init__(raw, text.encoding, text.errors, "\n", False, True)  # type: ignore[misc]
    warnings.filterwarnings("ignore", message="To exit: use")
    _channels.append(Channel(address))
    shell: Any = Shell.instance(config=Config({"HistoryManager": {"enabled": False}}), **options)
    shell.execution_count = number
    shell.user_ns.update(given)
    # A semicolon at its end is looked for there.
    shell.history_manager.input_hist_parsed.append(cell)
    result = shell.run_cell(cell, store_history=False)
    error = result.error_before_exec or result.error_in_exec
    if error is not None:
        raise error
    return _packed({name: shell.user_ns[name] for name in out if name in shell.user_ns})


def _packed(found: dict[str, Any]) -> tuple[bytes, str | None]:
    """Variables, with classes and functions of the cell by value; which of them can't be packed, and why."""
    try:
        return cloudpickle.dumps(found), None
    except Exception:
        for name, value in found.items():
            try:
                cloudpickle.dumps(value)
            except Exception as error:
                return b"", f"{name} can't be sent: {error}"
        raise
