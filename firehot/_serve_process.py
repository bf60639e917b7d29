"""One generation as the front sees it: a process, its control socket, and how far it is. Decides nothing."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from firehot import _control
from firehot._front import command_line

_KILL_AFTER = 1.0


@dataclass
class Generation:
    """A process that serves, will or did.

    Attributes:
        process: A client of the daemon, or the application itself where it runs cold.
        control: The way to the application.
        began: When it was started, by the monotonic clock.
        why: What has changed, for the user.
        saved: When that was saved, in seconds since 1970.
        is_error_page: Whether it stands for an application that does not start.
        is_ready: Whether the application has started up.
        failure: Why not: text and one line.
        effect: What the template needed.
        deadline: When it has to have done what it is at.
    """

    process: subprocess.Popen[bytes]
    control: _control.Control
    why: str
    saved: float
    is_error_page: bool
    began: float = field(default_factory=time.monotonic)
    served: float = 0.0
    is_ready: bool = False
    failure: tuple[str, str] | None = None
    effect: str = ""
    deadline: float | None = None
    _signals: list[int] = field(default_factory=lambda: [signal.SIGTERM, signal.SIGKILL])

    @classmethod
    def start(
        cls,
        target: str,
        settings: dict[str, Any],
        listening: socket.socket,
        *,
        why: str = "",
        saved: float = 0.0,
        error: str | None = None,
    ) -> Generation:
        """Starts one.

        Args:
            target: `module:attribute`.
            settings: As of `_generation`, without what is different in each.
            listening: What it accepts from.
            why: What has changed.
            saved: When.
            error: It serves this, and not the application.
        """
        control, given = _control.pair()
        with given:
            fds = (listening.fileno(), given.fileno())
            whole = {**settings, "id": uuid4().hex[:12], "socket": fds[0], "control": fds[1], "error": error}
            whole["follows"] = bool(why)
            words = [*command_line(), "generation", target, json.dumps(whole)]
            # The terminal's keys are the front's.
            process = subprocess.Popen(words, stdin=subprocess.DEVNULL, pass_fds=fds)
        return cls(process, control, why, saved, error is not None)

    def hear(self) -> list[_control.Message]:
        """What it says; where its end is closed, nothing any more."""
        if self.control.fileno() < 0:
            return []
        messages = self.control.hear(waits=False)
        if messages is None:
            self.control.close()
            return []
        return messages

    def has_ended(self) -> bool:
        """Whether the process is gone; it is reaped."""
        return self.process.poll() is not None

    def push(self) -> bool:
        """Ends what has not ended in time, by the next stronger signal; false where there is none left."""
        if not self._signals:
            return False
        with suppress(ProcessLookupError):
            self.process.send_signal(self._signals.pop(0))
        self.deadline = time.monotonic() + _KILL_AFTER
        return True

    def forget(self) -> None:
        """It has ended."""
        if self.control.fileno() >= 0:
            self.control.close()

    def end_text(self) -> str:
        """How it has ended, in words."""
        status = self.process.returncode
        if status is None:
            return "has not ended"
        if status < 0:
            with suppress(ValueError):
                return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"
