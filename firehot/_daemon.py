"""The daemon: keeps the templates of one project warm, and runs the programs of its clients in their children.

Started by a client as `python -I -S -c BOOT`, detached, with its log as stdout and stderr and the client's request as
stdin. One thread for each client, one for each template that is built; this one waits for clients.

It ends when nobody has come for an hour (`[tool.firehot] idle_timeout`), when the project's folder is gone, when it is
told to, and when a client of another build of firehot comes.
"""

from __future__ import annotations

import _socket
import io
import os
import shutil
import signal
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from firehot import __version__, _background, _config, _core, _process, _wire
from firehot._answers import answer
from firehot._journal import Journal, say
from firehot._request import Request, decode_header
from firehot._runs import run, send
from firehot._slots import Slots
from firehot._surroundings import OutgrownError, obstacle, widen
from firehot.errors import FirehotError

PROTOCOL = 1
"""Must be `PROTOCOL` in `src/client/request.rs`."""
_LOOK = 5.0
"""Seconds between two looks at the project's folder."""
_BREATH = 0.05
_OTHER_BUILD = "was another version's"
_DYING = 2.0
"""Seconds that another process may keep the lock without listening."""
_BETWEEN = 0.005


class Daemon:
    """One daemon."""

    def __init__(self, listener: _core.Listener, root: str, folder: str, build: str) -> None:
        """Listens already; `folder` is for files that live as long as it does."""
        self.root = root
        self.born = time.time()
        self.journal = Journal()
        self.slots = Slots(root, folder)
        self._build = build
        self._listener = listener
        self._folder = folder
        self._lock = threading.Condition()
        self._clients = 0
        self._last = time.monotonic()
        self._leaving = ""
        self.waits_for_runs = False
        """Whether those that there are when it leaves end by themselves."""

    def serve(self) -> str:
        """Takes clients until there is a reason to end, which it returns."""
        is_short = False
        while not self._leaving:
            reason, patience = self._outlook()
            if reason:
                self.waits_for_runs = True
                self.leave(reason)
                break
            try:
                if (connection := self._listener.wait(patience)) is not None:
                    self._take(connection)
                is_short = False
            except OSError as error:
                # No descriptors are left. The client runs its program cold, and what runs here goes on.
                if not is_short:
                    say(f"no client can be taken: {error}")
                is_short = True
                time.sleep(_BREATH)
        return self._leaving

    def _take(self, connection: _core.Connection) -> None:
        with self._lock:
            self._clients += 1
        try:
            _background.start(self._attend, (connection,), name="firehot-client")
        except RuntimeError as error:
            say(f"a client was sent away: {error}")
            with suppress(OSError):
                send(connection, "cold", reason=f"the daemon can't take a client: {error}", quiet=False)
            self._let_go(connection)

    def _let_go(self, connection: _core.Connection) -> None:
        connection.close()
        with self._lock:
            self._clients -= 1
            self._lock.notify_all()

    def leave(self, reason: str) -> None:
        """Has `serve` return."""
        self._leaving = self._leaving or reason
        self._listener.ring()

    def close(self) -> None:
        """Ends all runs and templates, and gives socket and lock back: whoever stops a daemon waits for that."""
        with suppress(OSError):
            self._listener.hide()
        self.slots.close()
        with suppress(OSError):
            self._listener.leave()
        shutil.rmtree(self._folder, ignore_errors=True)

    def wait_for_runs(self) -> None:
        """Lets the runs that there are end by themselves, until `stop` is called."""
        with self._lock:
            self._lock.wait_for(lambda: not (self._clients and self.waits_for_runs))

    def stop(self, reason: str) -> None:
        """Has `serve` return, and the runs be ended. Called by a signal handler, too: the lock can be taken twice."""
        self.leave(reason)
        with self._lock:
            self.waits_for_runs = False
            self._lock.notify_all()

    def _outlook(self) -> tuple[str, float]:
        """Why it is to end now, if it is, and how long it may wait until that is asked again."""
        if not os.path.isdir(self.root):
            return "the project's folder is gone", 0.0
        limit = _idle_timeout(self.root)
        with self._lock:
            left = limit if self._clients else limit - (time.monotonic() - self._last)
        return ("" if left > 0 else f"nobody has come for {limit:g} s"), min(max(left, 0.0), _LOOK)

    def _attend(self, connection: _core.Connection) -> None:
        """One client, from its first word to its last."""
        try:
            self._converse(connection)
        except (FirehotError, OSError, RuntimeError) as error:
            say(f"a client left: {error}")
        finally:
            self._let_go(connection)

    def _converse(self, connection: _core.Connection) -> None:
        if (first := connection.receive()) is None:
            return
        hello = decode_header(first[0])
        if hello.get("protocol") != PROTOCOL:
            self._make_room(connection, _OTHER_BUILD)
            return
        if (frame := connection.receive()) is None:
            return
        header, body = decode_header(frame[0]), frame[1]
        # Whoever lists or stops all daemons comes to those of other environments, too.
        if hello.get("build") != self._build and header["type"] in ("run", "warm"):
            self._make_room(connection, _OTHER_BUILD)
            return
        try:
            self._answer(connection, header, body)
        except OutgrownError as error:
            self._make_room(connection, f"was started with less than a caller has: {error}")

    def _answer(self, connection: _core.Connection, header: dict[str, Any], body: bytes) -> None:
        if header["type"] == "run":
            try:
                run(connection, header, body, self.slots, self.journal)
            finally:
                self._last = time.monotonic()
        elif header["type"] == "stop":
            send(connection, "answer", pid=os.getpid())
            self.leave("it was told to")
        else:
            try:
                told = answer(self, header, body)
            except FirehotError as error:
                told = {"problem": str(error)}
            send(connection, "answer", **told)

    def _make_room(self, connection: _core.Connection, reason: str) -> None:
        send(connection, "mismatch", protocol=PROTOCOL, firehot=__version__, reason=f"the daemon {reason}")
        self.waits_for_runs = True
        self.leave(f"it {reason}, and makes room")


def _idle_timeout(root: str) -> float:
    try:
        return _config.read(Path(root, "pyproject.toml")).idle_timeout
    except FirehotError:
        return _config.Settings().idle_timeout


def main(tell: int, socket: str, lock: str, log: str, root: str, facts: str) -> None:
    """Serves the project at `root` until there is a reason to end.

    Args:
        tell: A pipe to the client that waits for the socket: a byte says that there is one.
        socket: Where clients connect.
        lock: The file whose lock says that this is the daemon.
        log: The file that stdout and stderr are.
        root: The project's folder.
        facts: What others may read in the lock file, JSON without its bracket: process and time are put in front.
    """
    _core.configure_logging(os.environ.get("FIREHOT_LOG_LEVEL") or "warn")
    widen()
    told = f'{{"pid":{os.getpid()},"started":{time.time():.3f},{facts}'
    try:
        listener = _listen(socket, lock, os.fsencode(told))
    except OSError as error:
        say(f"process {os.getpid()} can't listen at {socket}: {error}")
        raise SystemExit(1) from None
    os.write(tell, b"1")
    os.close(tell)
    if listener is None:
        return  # Another one was quicker.
    signal.set_wakeup_fd(listener.waker(), warn_on_full_buffer=False)
    folder = _own_folder(os.path.splitext(socket)[0])
    daemon = Daemon(listener, root, folder, _core.client_build())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: daemon.stop(f"{signal.Signals(number).name} came"))
    say(f"process {os.getpid()} serves {root}")
    try:
        if (first := _first_request()) is not None:
            daemon.slots.add(first)
        reason = daemon.serve()
        say(f"process {os.getpid()} ends: {reason}")
        if daemon.waits_for_runs:
            listener.leave()
            daemon.wait_for_runs()
    finally:
        daemon.close()


def _own_folder(base: str) -> str:
    """A folder for this process's files; what dead ones have left, clients too, is removed."""
    place = Path(base)
    for other in place.parent.glob(f"{place.name}.*"):
        words = other.name.split(".")[1:]
        if words[-1] == "tmp":
            # A note that nobody has finished; whoever is just writing one can do without.
            other.unlink(missing_ok=True)
        elif words[-1] == "files" and _is_gone(words[0]):
            shutil.rmtree(other, ignore_errors=True)
        elif words[0] == "first" and _is_gone(words[-1]):
            other.unlink(missing_ok=True)
    return f"{base}.{os.getpid()}.files"


def _is_gone(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, ValueError, OverflowError):
        pass
    return False


def _listen(socket: str, lock: str, told: bytes) -> _core.Listener | None:
    """The socket, unless another daemon has it.

    The lock alone does not say so: whoever lists the daemons holds it for a moment, so does the daemon that this one
    replaces, and one that was killed has it until the last of its threads is gone.
    """
    deadline = time.monotonic() + _DYING
    while True:
        listener = _core.Listener.open(socket, lock, told)
        if listener is not None or _is_answered(socket) or time.monotonic() > deadline:
            return listener
        time.sleep(_BETWEEN)


def _is_answered(path: str) -> bool:
    client = _socket.socket(_socket.AF_UNIX)
    client.setblocking(False)
    try:
        client.connect(path)
    except BlockingIOError:
        return True  # More wait for it than it has taken yet.
    except OSError:
        return False
    finally:
        client.close()
    return True


def _first_request() -> Request | None:
    """What the client that has started this daemon wants to run; it runs it cold meanwhile."""
    try:
        with open(0, "rb", closefd=False) as file:
            stream = io.BytesIO(file.read())
        _process.open_null(0)
        while stream.getbuffer().nbytes > stream.tell():
            header, body = _wire.decode(stream.read)
            if header.get("type") == "run":
                request = Request.parse(header, body)
                # Its template could be built for nobody, or not at all, and would be in the way of others.
                return None if obstacle(request) is not None else request
    except (OSError, FirehotError, OutgrownError, _wire.BadFrame, struct.error) as error:
        say(f"the first request can't be read: {error}")
    return None
