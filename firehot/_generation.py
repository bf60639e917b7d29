"""One generation of an application under `firehot serve`: `python -m firehot._generation TARGET SETTINGS`.

It imports the application, has it start up, and then says that it is ready; it accepts when the front says so, and
lets go of what it accepted when the next one is. `SETTINGS` is JSON: `id`; `socket` and `control`, descriptors;
`app_dir`, `factory`, `interface`, `overlay`, `live_reload`, `patience` (s); `uvicorn`, arguments of its `Config`;
`error`, where there is no application to serve but an error page.

The front may end at any moment: then the control socket does, and this process with it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from firehot import _bytecode, _generation_app, _generation_stack
from firehot._control import Control, Message

if TYPE_CHECKING:
    from firehot._generation_server import Server

_GRACE = 1.0
_STARTED_NOT = 3


class Link:
    """The control socket, and the thread that reads it: whatever the main thread does, the front is heard."""

    def __init__(self, control: Control) -> None:
        """Starts to read."""
        self.control = control
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._early: list[Message] = []
        threading.Thread(target=self._read, name="firehot-control", daemon=True).start()

    def attend(self, server: Server) -> None:
        """From here on `server` hears what comes, and what has come already. Called by its loop."""
        with self._lock:
            self._server = server
            early, self._early = self._early, []
        for message in early:
            server.on_message(message)

    def on_interrupt(self, *_: object) -> None:
        """Tells the front: at a debugger's prompt the terminal is this process's, and Ctrl-C comes here alone."""
        # A handler may have come in the middle of another message.
        threading.Thread(target=self.control.say, args=("interrupted",), daemon=True).start()

    def _read(self) -> None:
        while (messages := self.control.hear()) is not None:
            for message in messages:
                self._hand_on(message)
        # Nobody is there to be served for. What the application does about SIGTERM may take it a second.
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
        os.kill(os.getpid(), signal.SIGKILL)

    def _hand_on(self, message: Message) -> None:
        if message["type"] == "where":
            lifespan = self._server.pages.lifespan if self._server is not None else None
            self.control.say("failed", text=_generation_stack.place(lifespan), brief=message["brief"])
            return
        with self._lock:
            if self._server is None:
                self._early.append(message)
                return
            server = self._server
        server.tell(message)


def main() -> int:
    """Serves until the front, or a signal, says that it is enough."""
    target, settings = sys.argv[1], json.loads(sys.argv[2])
    _bytecode.distrust_young_bytecode()
    listening, control = (socket.socket(fileno=settings[name]) for name in ("socket", "control"))
    for made in (listening, control):
        made.set_inheritable(False)
    link = Link(Control(control))
    # What Ctrl-C does is decided by the front. A handler is not inherited by programs.
    signal.signal(signal.SIGINT, link.on_interrupt)
    # A terminal that hangs up tells the front as well.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    sys.breakpointhook = _break
    sys.argv[1:] = [target]
    try:
        config, pages = _generation_app.configure(target, settings, lambda: link.control.say("importing"))
    except _generation_app.NotStartedError as error:
        link.control.say("failed", text=error.text, brief=error.brief)
        return _STARTED_NOT
    from firehot._generation_server import Server

    server = Server(config, link, pages, settings["patience"])
    try:
        server.run([listening])
    except SystemExit as error:
        if server.is_ready:
            raise
        # uvicorn's way to say that the application has not started up.
        text, brief = pages.startup_failure or (str(error), "has not started up")
        link.control.say("failed", text=text, brief=brief)
        return _STARTED_NOT
    except BaseException:
        if server.is_ready:
            raise
        link.control.say("failed", text=traceback.format_exc(), brief="has not started up")
        return _STARTED_NOT
    return 0


def _break(*args: Any, **options: Any) -> Any:
    """`breakpoint()` at the user's terminal: stdin is nobody's, since two generations may run at a time."""
    if os.environ.get("PYTHONBREAKPOINT"):
        return sys.__breakpointhook__(*args, **options)
    try:
        keyboard, screen = open("/dev/tty"), open("/dev/tty", "w")  # noqa: SIM115
    except OSError:
        return sys.__breakpointhook__(*args, **options)
    import pdb

    return pdb.Pdb(stdin=keyboard, stdout=screen, nosigint=True).set_trace(sys._getframe(1))


if __name__ == "__main__":
    sys.exit(main())
