"""uvicorn's server, as a generation: it accepts when it is told to, and hands its connections on to the next one.

Taking over, in order: the application of the next generation has started up (`ready`); the front tells this one to
`drain`; it accepts nothing more (`closed`); the front tells the next one to `go`. So no request meets the old code
after one has met the new.

An idle connection is not closed, for a request may be on its way on it: its descriptor is moved to the next generation,
which reads what the kernel has kept of it. A connection that is in the middle of a request is moved after the response.
WebSockets are closed with 1012 ("service restart"), event streams end, so that both come back to the new code.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import uvicorn

from firehot._control import Message
from firehot._pages import Pages

if TYPE_CHECKING:
    from firehot._generation import Link

_LOOK = 0.01
_FAREWELL = 0.5
"""Seconds for the answer to the end of TLS: who keeps a connection for later does not look at it."""
_LEFT = 0.2
"""Seconds that uvicorn gives to what has had its time already."""
_QUIET = frozenset(
    {
        "Started server process [%d]",
        "Finished server process [%d]",
        "Waiting for application startup.",
        "Application startup complete.",
        "Application startup failed. Exiting.",
        "Waiting for application shutdown.",
        "Application shutdown complete.",
        "ASGI 'lifespan' protocol appears unsupported.",
        "Shutting down",
        "Waiting for connections to close. (CTRL+C to force quit)",
        "Waiting for background tasks to complete. (CTRL+C to force quit)",
    }
)
"""Of uvicorn's words, those about what happens at each save."""


class Server(uvicorn.Server):
    """One generation's."""

    def __init__(self, config: uvicorn.Config, link: Link, pages: Pages, patience: float) -> None:
        """Serves nothing yet; see `run`.

        Args:
            config: With the application.
            link: To the front.
            pages: What is put on pages.
            patience: Seconds that requests have when the next generation is there.
        """
        super().__init__(config)
        self.is_ready = False
        self._link = link
        self.pages = pages
        self._patience = patience
        self._go: asyncio.Event
        self._loop: asyncio.AbstractEventLoop
        self._drain_task: asyncio.Task[None] | None = None
        self._drain_until = math.inf
        self._moves = False
        self._hide_routine()
        config.http_protocol_class = _watched(config.http_protocol_class, self._on_answered)

    # -- uvicorn's hooks -------------------------------------------------------------------------

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Has the application start up, and accepts when the front says so."""
        self._go, self._loop = asyncio.Event(), asyncio.get_running_loop()
        self._link.attend(self)
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise SystemExit("Application startup failed.")
        self.is_ready = True
        self._link.control.say("ready")
        await self._go.wait()
        if self.should_exit:
            self.started, self.servers = True, []
            return
        self.lifespan.startup = _done
        await super().startup(sockets)
        self._link.control.say("serving")

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM ends it as uvicorn would; what Ctrl-C does is decided by the front."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        yield

    def _on_sigterm(self, *_: object) -> None:
        if self._drain_task is not None:
            # Who ends a process group, as service managers and `timeout` do, ends the front as well: its word has come
            # first. When the time for that is over the front insists.
            if time.monotonic() < self._drain_until:
                return
            self.force_exit = True
        elif self.started:
            self.tell({"type": "stop"})
            return
        self.should_exit = True
        if self.is_ready:
            # It may still wait for its turn; or for threads of the application, when the loop is closed.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._go.set)

    @staticmethod
    def _hide_routine() -> None:
        logging.getLogger("uvicorn.error").addFilter(lambda record: record.msg not in _QUIET)
        logging.getLogger("uvicorn.access").addFilter(_is_of_application)

    # -- the front's words -----------------------------------------------------------------------

    def tell(self, message: Message) -> None:
        """Hands a message of the front to the loop; from its thread."""
        # A loop that is closed has nothing left to do.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.on_message, message)

    def on_message(self, message: Message) -> None:
        """Does what the front says."""
        kind = message["type"]
        if kind == "go":
            self._go.set()
        elif kind == "adopt":
            for fd in message["fds"]:
                self._keep(self._loop.create_task(self._adopt(fd)))
        elif kind == "error":
            self.pages.tell(message["text"])
        elif kind in ("drain", "stop"):
            self._go.set()
            if self._drain_task is None:
                self._drain_task = self._loop.create_task(self._drain(moves=kind == "drain"))

    def _keep(self, task: asyncio.Task[None]) -> None:
        # The loop itself holds tasks weakly; uvicorn waits for these as for those of requests.
        self.server_state.tasks.add(task)
        task.add_done_callback(self.server_state.tasks.discard)

    async def _adopt(self, fd: int) -> None:
        """Takes over a connection of the generation before."""
        made = socket.socket(fileno=fd)
        try:
            made.setblocking(False)
            await self._loop.connect_accepted_socket(self._new_protocol, made)
        except OSError:
            made.close()

    def _new_protocol(self) -> asyncio.Protocol:
        config: Any = self.config
        made: asyncio.Protocol = config.http_protocol_class(
            config=config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    # -- leaving ---------------------------------------------------------------------------------

    async def _drain(self, *, moves: bool) -> None:
        await self._stop_accepting()
        self._link.control.say("closed")
        deadline = self._drain_until = time.monotonic() + self._patience
        self._moves = moves
        self.pages.end()
        state = self.server_state
        while True:
            # Once at least: idle connections are handed on where requests have no time at all.
            for connection in list(state.connections):
                self._let_go(connection)
            is_over = time.monotonic() >= deadline
            if not (state.connections or state.tasks) or is_over or self.force_exit:
                break
            await asyncio.sleep(_LOOK)
        if is_over:
            # uvicorn would wait for ever, or cancel before it has looked.
            self.config.timeout_graceful_shutdown = _LEFT  # type: ignore[assignment]
        self.should_exit = True

    def _let_go(self, connection: Any) -> None:
        """A step on the way to the end of a connection here."""
        _end_stream(connection, self.pages)
        if self._moves and _is_idle(connection):
            self._move(connection)
        elif _has_said_all(connection):
            if time.monotonic() >= self._drain_until - self._patience + _FAREWELL:
                connection.transport.abort()
        elif hasattr(connection, "cycle") and not (self._moves and _is_known(connection)):
            # As uvicorn does it: closed, or after its response.
            connection.shutdown()

    async def _stop_accepting(self) -> None:
        servers = getattr(self, "servers", ())
        for one in (one for server in servers for one in server.sockets):
            # uvloop's are none of its readers.
            with suppress(RuntimeError, NotImplementedError):
                self._loop.remove_reader(one.fileno())
        # asyncio drops what a server has accepted when it is closed before that has become a connection: it does in
        # the next rounds of the loop.
        for _ in range(4):
            await asyncio.sleep(0)
        for server in servers:
            server.close()

    def _on_answered(self, connection: Any) -> None:
        """A response is complete: what comes next on this connection is the next generation's."""
        if self._moves and _is_known(connection) and not _is_busy(connection) and not connection.transport.is_closing():
            # Before it reads again.
            connection.transport.pause_reading()
            self._loop.call_soon(self._move_answered, connection)

    def _move_answered(self, connection: Any) -> None:
        if _is_idle(connection):
            self._move(connection)
        elif connection.transport.is_closing():
            return
        elif connection.transport.get_write_buffer_size():
            self._loop.call_later(_LOOK, self._move_answered, connection)
        else:
            connection.transport.resume_reading()

    def _move(self, connection: Any) -> None:
        transport = connection.transport
        transport.pause_reading()
        fd = os.dup(transport.get_extra_info("socket").fileno())
        try:
            if self._link.control.say("move", fd):
                # Closes this process's descriptor; the connection lives on with the other.
                transport.abort()
        finally:
            os.close(fd)


async def _done() -> None:
    """Stands for the start-up that has been done."""


def _is_of_application(record: logging.LogRecord) -> bool:
    args = record.args
    path = args[2] if isinstance(args, tuple) and len(args) > 2 else None
    return not (isinstance(path, str) and "/.firehot/" in path)


# -- connections -------------------------------------------------------------------------------------


def _watched(protocol: type[asyncio.Protocol], on_answered: Callable[[Any], None]) -> type[asyncio.Protocol]:
    """A protocol that tells of responses, and knows whether it is in the middle of a request."""
    if not hasattr(protocol, "on_response_complete"):
        return protocol
    base: Any = protocol

    class Watched(base):  # type: ignore[misc]
        in_message = False
        """httptools' parser does not tell; h11 does not call what sets it."""

        def on_response_complete(self) -> None:
            super().on_response_complete()
            on_answered(self)

        def on_message_begin(self) -> None:
            self.in_message = True
            super().on_message_begin()

        def on_message_complete(self) -> None:
            self.in_message = False
            super().on_message_complete()

    return Watched


def _is_busy(connection: Any) -> bool:
    cycle = getattr(connection, "cycle", None)
    return cycle is not None and not cycle.response_complete


def _is_known(connection: Any) -> bool:
    """Whether it can be told when it is idle, and nobody else holds a part of its state, as TLS does."""
    is_known = hasattr(connection, "pipeline") or hasattr(getattr(connection, "conn", None), "trailing_data")
    transport: Any = getattr(connection, "transport", None)
    return is_known and hasattr(connection, "in_message") and transport.get_extra_info("sslcontext") is None


def _is_idle(connection: Any) -> bool:
    """Whether all that it has read is answered, and all of that sent."""
    if not _is_known(connection) or _is_busy(connection):
        return False
    transport = connection.transport
    if transport.is_closing() or transport.get_write_buffer_size():
        return False
    if hasattr(connection, "pipeline"):
        return not connection.in_message and not connection.pipeline
    import h11

    state = connection.conn
    return state.our_state is h11.IDLE and state.their_state is h11.IDLE and not state.trailing_data[0]


def _has_said_all(connection: Any) -> bool:
    """Whether it is closed here, and all that is missing is the other side's end of TLS."""
    transport: Any = getattr(connection, "transport", None)
    if transport is None or transport.get_extra_info("sslcontext") is None:
        return False
    return transport.is_closing() and not _is_busy(connection) and not transport.get_write_buffer_size()


def _end_stream(connection: Any, pages: Pages) -> None:
    """Ends what would never end by itself: WebSockets that are open, event streams."""
    transport = getattr(connection, "transport", None)
    if transport is None or transport.is_closing():
        return
    if not hasattr(connection, "cycle"):
        event = getattr(connection, "handshake_completed_event", None)
        if event.is_set() if event is not None else getattr(connection, "handshake_complete", False):
            connection.shutdown()
    elif _is_busy(connection) and pages.is_stream(connection.cycle.scope):
        transport.close()
