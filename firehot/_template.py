"""The template: imports what it is told to, then forks on request. Runs no first-party code.

Started by the host as `python -c BOOTSTRAP`, with the protocol's socket as descriptor 0. One thread; every wait is
in `Template.serve`. Standard library only.

Invariants:
    - Everything that a package may replace while it is imported (fork, poll, signals) is bound before the preload.
    - Signals are blocked, not ignored: import-time code finds Python's own handlers, and a child that
      restores the mask gets them.
    - Only this process reaps children, so a pid in `_children` is that child's until it is taken out.
    - Whoever kills the host kills the template: by PR_SET_PDEATHSIG while it imports, by a watched pidfd or kqueue
      afterwards. The socket alone does not tell, since a forked worker of the host may hold it open.
"""

from __future__ import annotations

import _socket
import gc
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pickle import loads as _unpickle
from posix import _exit, close, dup2, getpid, kill, killpg, read, waitpid
from select import poll as Poll
from signal import getsignal, pthread_sigmask, set_wakeup_fd
from signal import signal as set_handler
from typing import Any, NoReturn

from firehot import __version__, _bytecode, _care, _child, _learn, _preload, _process, _stamp, _ties, _wire
from firehot._empty_stack import Leave

# What a terminal, `timeout` or a service manager sends to the whole group is for the host and for children, which end
# in their own way; the template ends when they have. Faults, timers and SIGCHLD stay.
_NOT_BLOCKED = (
    *("SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGSYS", "SIGTRAP"),
    *("SIGALRM", "SIGVTALRM", "SIGPROF", "SIGCHLD"),
)
_BLOCKED = signal.valid_signals() - {getattr(signal, name) for name in _NOT_BLOCKED if hasattr(signal, name)}
_LAYERS_LIMIT_MS = 2_000


def main() -> NoReturn:
    """Serves the host until it is told to retire or the host is gone."""
    sock = _process.move_up(0)
    _process.open_null(0)
    mask = {int(number) for number in pthread_sigmask(signal.SIG_BLOCK, _BLOCKED)}
    _wire.send(
        sock,
        {
            "type": "hello",
            "protocol": _wire.PROTOCOL,
            "pid": getpid(),
            "python": sys.version.split()[0],
            "firehot": __version__,
        },
    )
    try:
        header, body = _wire.receive(sock)
    except EOFError:
        _exit(0)
    if header["protocol"] != _wire.PROTOCOL:
        _exit(1)  # The host has read our hello and says so.
    at_start: frozenset[str] = sys.modules["__main__"].__dict__["at_start"]
    inherited = _child.Inherited(mask, at_start)
    Template(sock, header, inherited, _unpickle(body)).serve()


# Descriptors that travel with a `fork`: for a child its socket; for a layer its socket, and the pipe for what its
# imports print.
_DESCRIPTORS = {"child": 1, "spare": 1, "layer": 2}
_ROOM = _socket.CMSG_SPACE(2 * 4)


class Template:
    """The state of the template's one thread."""

    def __init__(self, sock: int, header: dict[str, Any], inherited: _child.Inherited, setup: dict[str, Any]) -> None:
        """Takes what `setup` said: header and body."""
        host: int = header["host"]
        self._sock = sock
        self._stream = _socket.socket(fileno=sock)
        self._incoming = bytearray()
        self._descriptors: list[list[int]] = []
        self._host = host
        self._pid = getpid()
        self._children: dict[int, int] = {}
        self._layers: set[int] = set()
        self._pids: dict[int, int] = {}
        self._is_layer = False
        self._retiring = False
        self._wake_read = self._wake_write = -1
        self._finalizers: list[Any] = []
        self._recorder = _stamp.Recorder(header["launched"])
        _process.die_with_parent(host)
        # Before any package has put a handler of its own there, in which a child may hang.
        os.register_at_fork(after_in_child=_ties.die_with_template)
        self._host_watch = _ties.watch_process(host)
        _enter_host_state(setup)
        _bytecode.distrust_young_bytecode()
        self._inherited = inherited
        inherited.environ_at_start = dict(os.environ)
        inherited.learn = setup.get("learn", False)
        self._care = inherited.care = _care.Care(setup.get("fork", {}), self._warn)

    def serve(self) -> NoReturn:
        """Answers messages and reaps children, each as soon as it happens."""
        poll = Poll()
        poll.register(self._sock, select.POLLIN)
        if self._host_watch >= 0:
            poll.register(self._host_watch, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == self._sock:
                    self._read()
                elif fd == self._wake_read:
                    read(fd, 4096)
                else:
                    self._leave()
            while (message := self._next()) is not None:
                self._obey(message, poll)
            self._reap()
            if self._retiring and not self._children:
                self._leave()

    def _obey(self, message: dict[str, Any], poll: Any) -> None:
        kind = message["type"]
        if kind == "preload":
            preload = _preload.Preload(self._send, self._recorder, self._care, self._inherited)
            self._recorder.start()
            preload.run(message["imports"])
            self._recorder.stop()
            self._settle()
            poll.register(self._wake_read, select.POLLIN)
            told: dict[str, Any] = {}
            bodies: list[bytes] = []

            def tell_all() -> None:
                told["start"] = [] if self._is_layer else self._recorder.start_modules()
                told["late"] = self._recorder.new_modules()
                bodies.append(self._recorder.body())

            census = self._care.take_census(_ties.fork_quietly, self._leave_as_child, message["trial"], tell_all)
            # From here on the host is watched in `serve`, so that it can go in good order; a layer dies with the one
            # below.
            if self._host_watch >= 0 and not self._is_layer:
                _process.die_with_parent(self._host, clear=True)
            self._send(*bodies, type="ready", modules=len(sys.modules), census=census, **told)
            self._recorder.forget()
        elif kind == "fork":
            self._fork(message)
        elif kind == "signal":
            if (pid := self._pids.get(message["id"])) is not None:
                _send_signal(pid, message["signal"], group=message["group"])
        elif kind == "retire":
            self._retiring = True

    # -- messages --------------------------------------------------------------------------------

    def _read(self) -> None:
        """Takes what is on the socket.

        Descriptors come with the first bytes of the frame that they belong to, and the kernel never joins two
        such frames in one read: so each list belongs to one `fork`, in order.
        """
        try:
            data, ancillary, flags, _ = self._stream.recvmsg(1 << 16, _ROOM)
        except OSError:
            self._leave()
        if not data:
            self._leave()
        fds = _wire.descriptors(ancillary)
        if fds or flags & _socket.MSG_CTRUNC:
            self._descriptors.append(fds)
        self._incoming += data

    def _next(self) -> dict[str, Any] | None:
        at = 0

        def read_exactly(count: int) -> bytes:
            nonlocal at
            if len(self._incoming) < at + count:
                raise EOFError
            piece = bytes(self._incoming[at : at + count])
            at += count
            return piece

        try:
            header, _ = _wire.decode(read_exactly)
        except EOFError:
            return None
        del self._incoming[:at]
        return header

    def _send(self, body: bytes = b"", /, **header: Any) -> None:
        try:
            _wire.send(self._sock, header, body)
        except OSError:
            self._leave()

    def _warn(self, message: str) -> None:
        self._send(type="log", level="warn", message=message)

    # -- preload ---------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Makes what was imported ready to be forked: nothing in it may be done twice, or by a child."""
        if self._inherited.learn:
            _learn.watch()
        self._finalizers = _process.disown_finalizers()
        self._inherited.sigchld = getsignal(signal.SIGCHLD)
        self._wake_read, self._wake_write = os.pipe()
        self._wake_read = _process.move_up(self._wake_read)
        self._wake_write = _process.move_up(self._wake_write)
        os.set_blocking(self._wake_write, False)
        set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        set_handler(signal.SIGCHLD, lambda *_: None)
        self._inherited.lines = _process.forget_finders()
        self._inherited.modules = frozenset(sys.modules)
        _process.flush_native()
        gc.collect()
        gc.freeze()
        _process.flush_streams()

    # -- children --------------------------------------------------------------------------------

    def _fork(self, message: dict[str, Any]) -> None:
        ident = message["id"]
        fds = self._descriptors.pop(0) if self._descriptors else []
        try:
            if len(fds) != _DESCRIPTORS[message["as"]]:
                raise OSError("no descriptors left in the template (ulimit -n)")
            if (folder := message["cloudpickle"]) is not None:
                _process.load_cloudpickle(folder)
            self._care.before_fork()
            pid = _ties.fork_quietly()
        except Exception as error:
            if getpid() != self._pid:
                _exit(70)  # The fork did happen: this is the child, and there is one template.
            self._send(type="fork_failed", id=ident, error=str(error))
            pid = -1
        if pid == 0 and message["as"] == "layer":
            self._become_layer(fds)
        if pid == 0:
            self._become_child(fds[0], ahead=message["as"] == "spare")
        for fd in fds:
            close(fd)
        if pid > 0:
            self._children[pid] = ident
            self._pids[ident] = pid
            if message["as"] == "layer":
                self._layers.add(pid)
            self._send(type="forked", id=ident, pid=pid)

    def _become_child(self, sock: int, *, ahead: bool) -> NoReturn:
        try:
            self._leave_as_child()
            _child.run(sock, self._pid, self._host, self._inherited, ahead=ahead)
        except Leave:
            raise  # A program is run by the interpreter itself: no frame of the template stays.
        except BaseException as error:
            _fail(error)

    def _become_layer(self, fds: list[int]) -> NoReturn:
        """Goes on as a template of its own, which has all that this one has, and imports more.

        It lives no longer than the one that it was forked from, which reaps it; both watch the host.
        """
        try:
            self._leave_as_child(keep_host_watch=True)
            sock, output = fds
            for target in (1, 2):
                dup2(output, target)
            close(output)
            _process.die_with_parent(self._pid)
            self._sock = _process.move_up(sock)
            self._stream = _socket.socket(fileno=self._sock)
            self._incoming.clear()
            self._descriptors.clear()
            self._children.clear()
            self._pids.clear()
            self._layers.clear()
            self._wake_read = self._wake_write = -1
            self._pid = getpid()
            self._is_layer = True
            self._retiring = False
            # These are the one's below.
            self._finalizers = []
            try:
                header, body = _wire.receive(self._sock)
            except EOFError:
                _exit(0)
            self._start_above(header, _unpickle(body))
            self.serve()
        except Leave:
            raise  # In a child of this layer: see `_become_child`.
        except BaseException as error:
            _fail(error)

    def _start_above(self, header: dict[str, Any], setup: dict[str, Any]) -> None:
        """Makes a layer what an interpreter would be that the host started now."""
        environ = {_decode(name): _decode(value) for name, value in header["environment"]}
        self._inherited.take_over(environ, setup["path"])
        os.umask(setup["umask"])
        os.chdir(_decode(header["cwd"]))
        sys.argv[:] = setup["argv"]
        _process.fresh_main(setup)
        _process.invalidate_finders()
        self._recorder = _stamp.Recorder(header["launched"], self._recorder)
        self._care = self._inherited.care = self._care.above(setup.get("fork", {}))

    def _leave_as_child(self, *, keep_host_watch: bool = False) -> None:
        """Takes a forked process off the template's descriptors and signals."""
        self._stream.close()
        for fd in (self._wake_read, self._wake_write):
            _process.close_quietly(fd)
        # A kqueue is not inherited: where there is nothing else, the one below ends its layers.
        if not (keep_host_watch and hasattr(os, "pidfd_open")):
            _process.close_quietly(self._host_watch)
            self._host_watch = -1
        set_wakeup_fd(-1)
        if self._inherited.sigchld is not None:  # None: a handler that Python does not know.
            _process.set_handler(signal.SIGCHLD, self._inherited.sigchld)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ident = self._children.pop(pid, None)
            if ident is not None:
                del self._pids[ident]
                self._layers.discard(pid)
                self._send(type="exited", id=ident, status=os.waitstatus_to_exitcode(status))

    def _leave(self) -> NoReturn:
        """Ends, children first. They are killed: whoever wanted to be kind to them was the host.

        Layers see for themselves that the host is gone, and have children to end and folders to remove.
        """
        self._wait_for_layers()
        killed = []
        for pid in self._children:
            # One that has changed its user can't be killed, and is not waited for.
            with suppress(PermissionError):
                kill(pid, signal.SIGKILL)
                killed.append(pid)
        for pid in killed:
            with suppress(ChildProcessError):
                waitpid(pid, 0)
        for finalizer in self._finalizers:
            try:
                finalizer()
            except BaseException:
                continue
        _exit(0)

    def _wait_for_layers(self) -> None:
        poll = Poll()
        if self._layers:
            poll.register(self._wake_read, select.POLLIN)
        deadline = time.monotonic() + _LAYERS_LIMIT_MS / 1000
        while self._layers and (left := deadline - time.monotonic()) > 0:
            for pid in list(self._layers):
                with suppress(ChildProcessError):
                    if waitpid(pid, os.WNOHANG)[0]:
                        self._layers.discard(pid)
                        self._children.pop(pid, None)
            if self._layers:
                poll.poll(int(left * 1000))
                with suppress(BlockingIOError):
                    read(self._wake_read, 4096)


def _send_signal(pid: int, number: int, *, group: bool) -> None:
    if group:
        # A part of it may have changed its user; and it may not have come so far as to have one.
        with suppress(PermissionError):
            try:
                killpg(pid, number)
                return
            except ProcessLookupError:
                pass
    # It may have changed its user.
    with suppress(PermissionError):
        kill(pid, number)


def _fail(error: BaseException) -> NoReturn:
    try:
        sys.__excepthook__(type(error), error, error.__traceback__)
        _process.flush_streams()
    finally:
        _exit(70)


def _decode(text: str) -> str:
    """What the host sent with one byte in each character, as the file system names it."""
    return os.fsdecode(text.encode("latin-1"))


def _enter_host_state(setup: dict[str, Any]) -> None:
    """Makes this interpreter what the host's is; import-time code looks at all of it."""
    sys.path[:] = setup["path"]
    sys.argv[:] = setup["argv"]
    _process.fresh_main(setup)
