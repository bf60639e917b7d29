"""One run of a `%%hot` cell, as the kernel sees it: shows what the child says until it has ended."""

from __future__ import annotations

import codecs
import math
import os
import pickle
import selectors
import shutil
import socket
import sys
import tempfile
import time
from contextlib import suppress
from typing import Any, TypeAlias

from firehot import _hot_cell
from firehot.errors import ChildError, FirehotError, RemoteTraceback
from firehot.process import IsolatedProcess

Outcome: TypeAlias = tuple[bytes, str | None]
_GRACE = 2.0
"""Seconds that a cell has to end after an interrupt."""
_SLICE = 0.2
_ROOM = 1 << 16


class CellError(FirehotError):
    """What a cell has raised, where it can't be raised here as it is."""


class Shown:
    """The value of a cell's last expression, as the child has formatted it."""

    def __init__(self, data: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Takes its formats by type, and what is said of them."""
        self._data = data
        self._metadata = metadata

    def __repr__(self) -> str:
        """Its plain text."""
        return str(self._data.get("text/plain", ""))

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        return self._data, self._metadata


class Run:
    """One cell in its child."""

    def __init__(self, shell: Any) -> None:
        """Listens for the child that `shell`, the kernel's, is to show."""
        self.shown: Shown | None = None
        self._shell = shell
        self._traceback: list[str] | None = None
        self._frames = b""
        self._folder = tempfile.mkdtemp(prefix="firehot-")
        self.address = os.path.join(self._folder, "cell")
        self._selector = selectors.DefaultSelector()
        self._decoders: dict[socket.socket, codecs.IncrementalDecoder] = {}
        self._settled_read, self._settled_write = socket.socketpair()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._settled_read, selectors.EVENT_READ)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        for key in list(self._selector.get_map().values()):
            with suppress(OSError):
                key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()
        self._settled_write.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def follow(self, process: IsolatedProcess[Outcome]) -> Outcome:
        """Shows what the child says; returns what `_hot_cell.run` has.

        Raises:
            BaseException: What the cell has raised, which shows the traceback that it had there.
        """
        settled = self._settled_write.dup()

        def tell() -> None:
            with suppress(OSError), settled:
                settled.send(b".")

        process._call_when("reply", tell)
        try:
            self._listen()
            self._finish(process)
        except KeyboardInterrupt:
            self._end(process)
            raise self._dressed(KeyboardInterrupt()) from None
        # Outside of the block above: the cell may have raised a KeyboardInterrupt of its own.
        return self._outcome(process)

    def _outcome(self, process: IsolatedProcess[Outcome]) -> Outcome:
        try:
            return process.result()
        except ChildError as error:
            # What can't be rebuilt here has nothing but its text.
            original = error if isinstance(error.__cause__, RemoteTraceback) else error.__cause__
            if isinstance(original, Exception | KeyboardInterrupt) and self._traceback is not None:
                raise self._dressed(original) from None
            raise self.short(error) from None
        except TimeoutError as error:
            raise self.short(error) from None

    def short(self, error: BaseException) -> BaseException:
        """An exception without the frames of firehot, in which nobody has anything to look for."""
        lines = self._shell.InteractiveTB.get_exception_only(type(error), error)
        error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
        return error

    # -- what comes ------------------------------------------------------------------------------

    def _listen(self, until: float = math.inf) -> None:
        """Shows what comes until the child has answered, or until that time of the monotonic clock."""
        while (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(min(left, _SLICE)):
                if key.fileobj is self._settled_read:
                    self._drain()
                    return
                key.data(key.fileobj)

    def _accept(self, _: socket.socket) -> None:
        made, _ = self._listener.accept()
        kind = made.recv(1)
        if kind == _hot_cell.FRAMES:
            self._selector.register(made, selectors.EVENT_READ, self._hear)
        elif kind:
            name = "stdout" if kind == _hot_cell.STDOUT else "stderr"
            self._decoders[made] = codecs.getincrementaldecoder("utf-8")("backslashreplace")
            self._selector.register(made, selectors.EVENT_READ, lambda stream: self._write(stream, name))

    def _write(self, stream: socket.socket, name: str) -> None:
        data = stream.recv(_ROOM)
        if text := self._decoders[stream].decode(data, final=not data):
            target = getattr(sys, name)
            target.write(text)
            target.flush()
        if not data:
            self._selector.unregister(stream)
            stream.close()

    def _drain(self, seconds: float = 0.0) -> None:
        """Shows what was written before now; waits for the first of it."""
        while ready := [key for key, _ in self._selector.select(seconds) if key.fileobj is not self._settled_read]:
            seconds = 0.0
            for key in ready:
                key.data(key.fileobj)

    def _hear(self, stream: socket.socket) -> None:
        data = stream.recv(_ROOM)
        if not data:
            self._selector.unregister(stream)
            stream.close()
            return
        self._frames += data
        while len(self._frames) >= (start := _hot_cell.LENGTH.size):
            end = start + _hot_cell.LENGTH.unpack_from(self._frames)[0]
            if len(self._frames) < end:
                return
            body, self._frames = self._frames[start:end], self._frames[end:]
            self._drain_streams()
            self._show(*pickle.loads(body))
            with suppress(OSError):
                stream.sendall(b".")

    def _drain_streams(self) -> None:
        while ready := [key for key, _ in self._selector.select(0) if key.fileobj in self._decoders]:
            for key in ready:
                key.data(key.fileobj)

    def _show(self, kind: str, content: Any) -> None:
        if kind == "display":
            publisher = self._shell.display_pub
            publisher.publish(
                content["data"], content["metadata"], transient=content["transient"], update=content["update"]
            )
        elif kind == "clear":
            self._shell.display_pub.clear_output(content)
        elif kind == "result":
            self.shown = Shown(*content)
        elif kind == "traceback":
            self._traceback = content

    # -- its end ---------------------------------------------------------------------------------

    def _end(self, process: IsolatedProcess[Any]) -> None:
        """After an interrupt, which a child of the kernel's process group has got as well: it may say where it was."""
        with suppress(KeyboardInterrupt):  # Whoever interrupts twice does not wait.
            self._listen(time.monotonic() + _GRACE)
        process.stop(_GRACE)
        self._finish(process)

    def _finish(self, process: IsolatedProcess[Any]) -> None:
        """Threads and exit functions of the cell may write until it has ended."""
        if self._settled_read.fileno() >= 0:
            self._selector.unregister(self._settled_read)
            self._settled_read.close()
        while process.is_running():
            if len(self._selector.get_map()) > 1:
                self._drain(_SLICE)
            else:
                with suppress(TimeoutError):
                    process.wait(_SLICE)
        self._drain()
        if early := process.output:
            sys.stderr.write(early)

    def _dressed(self, error: BaseException) -> BaseException:
        """What a cell has raised, with the traceback that IPython has made of it there."""
        lines = self._traceback
        if lines is None:
            return error
        special = isinstance(error, (SyntaxError, FirehotError)) or hasattr(error, "exceptions")
        if not special:
            # IPython asks an exception for it.
            with suppress(AttributeError, TypeError):
                error._render_traceback_ = lambda: lines  # type: ignore[attr-defined]
                return error
        shown = type(type(error).__name__, (CellError,), {"_render_traceback_": lambda self: lines})
        made: BaseException = shown(str(error))
        return made
