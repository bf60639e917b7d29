"""The front of `firehot serve`: watches, starts the next generation on each save, and lets it take over when ready.

At most one generation serves and one is coming; those that leave finish their requests. The front itself accepts
nothing and runs nothing of the application. `_generation_server` says how one takes over from another.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from firehot._front import say, span, stdin_modes, time_of
from firehot._serve_process import Generation
from firehot._serve_saves import Plan, Saves
from firehot._serve_socket import Listening

_BEGIN = 120.0
"""Seconds until it imports: the template may have to be built before."""
_TELL = 1.0
"""Seconds in which one that takes longer says what it is at."""
_HANDOVER = 0.5
"""Seconds that the old generation has to stop accepting; one whose loop is blocked accepts nothing anyway."""
_MARGIN = 2.0
"""Seconds for the application's own shutdown, after its requests."""
_MOST_LEAVING = 4
_STUBBORN = 2.0
"""Seconds of saves in a row after which a start is not given up for the next one."""
_SHORT = 5.0
"""An application that ends by itself sooner is not started again before the next save."""
_SAME = 0.5
"""Seconds in which Ctrl-C that comes by two ways is one."""
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Front:
    """The session."""

    def __init__(self, plan: Plan, listening: Listening) -> None:
        """Starts nothing yet."""
        self._plan = plan
        self._listening = listening
        self._saves = Saves(plan)
        self._current: Generation | None = None
        self._coming: Generation | None = None
        self._leaving: list[Generation] = []
        self._error: str | None = None
        self._waiting: tuple[str, float] | None = None
        self._given_up_since: float | None = None
        self._stop_signal: int | None = None
        self._stops = 0
        self._stopped = 0.0
        self._modes = stdin_modes()
        self._wake, self._woken = os.pipe()

    def play(self) -> int:
        """Until a signal ends it; the exit status."""
        with self._signals():
            try:
                say(f"{self._plan.target} on {self._listening.url} (Ctrl-C ends it)")
                self._start("", time.time())
                while self._stop_signal is None:
                    self._turn()
                self._stop()
            finally:
                self._saves.close()
                self._end()
        return 0 if self._stop_signal == signal.SIGINT else 128 + (self._stop_signal or 0)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        for end in (self._wake, self._woken):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _ENDINGS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_ending)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, *_ENDINGS):
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, signal.SIG_DFL)
            os.close(self._wake)
            os.close(self._woken)

    def _on_ending(self, number: int, _: object = None) -> None:
        self._stop_signal = self._stop_signal or number
        self._stops += 1
        self._stopped = time.monotonic()

    def _on_interrupted(self) -> None:
        """Ctrl-C has come to a generation: to it alone, or to this process as well."""
        if self._stop_signal is None or time.monotonic() - self._stopped > _SAME:
            self._on_ending(signal.SIGINT)

    # -- one turn --------------------------------------------------------------------------------

    def _turn(self) -> None:
        changed = self._wait()
        for generation in self._all():
            for message in generation.hear():
                self._on_message(generation, message)
        for generation in self._all():
            if generation.has_ended():
                self._on_end(generation)
        self._look_at_deadlines()
        if changed:
            self._on_change(changed)
        elif self._waiting is not None and self._coming is None and len(self._leaving) < _MOST_LEAVING:
            self._start(*self._waiting)

    def _all(self) -> list[Generation]:
        found = (self._current, self._coming, *self._leaving)
        return [generation for generation in found if generation is not None]

    def _wait(self) -> list[Path]:
        """Until something happens; what has been saved."""
        deadlines = [one.deadline for one in self._all() if one.deadline is not None]
        timeout = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        fds = [one.control.fileno() for one in self._all() if one.control.fileno() >= 0]
        with self._saves.bells() as bells:
            select.select([self._wake, *fds, *bells], [], [], timeout)
        with suppress(BlockingIOError):
            os.read(self._wake, 4096)
        return self._saves.take()

    # -- a save ----------------------------------------------------------------------------------

    def _on_change(self, changed: list[Path]) -> None:
        why, saved = f"{self._saves.names(changed)} changed", time_of(changed)
        now = time.monotonic()
        if self._coming is not None:
            if self._coming.is_ready or now - (self._given_up_since or now) > _STUBBORN:
                self._waiting = why, saved
                return
            # Nobody has seen it: it has nothing to finish.
            self._given_up_since = self._given_up_since or now
            self._leave(self._coming, 0.0)
            self._coming = None
        self._waiting = why, saved
        if len(self._leaving) < _MOST_LEAVING:
            self._start(why, saved)

    def _start(self, why: str, saved: float, error: str | None = None) -> None:
        self._waiting = None
        plan = self._plan
        coming = Generation.start(plan.target, plan.settings, self._listening.socket, why=why, saved=saved, error=error)
        coming.deadline = time.monotonic() + _BEGIN
        self._coming = coming

    # -- what generations say --------------------------------------------------------------------

    def _on_message(self, generation: Generation, message: dict[str, Any]) -> None:
        kind = message["type"]
        if kind == "interrupted":
            self._on_interrupted()
        elif kind == "template":
            generation.effect = message["effect"]
        elif kind == "importing" and generation is self._coming:
            generation.deadline = time.monotonic() + self._plan.start_timeout
        elif kind == "ready" and generation is self._coming:
            self._hand_over()
        elif kind == "failed":
            generation.failure = message["text"], message["brief"]
            if generation is self._coming:
                self._fail(generation)
        elif kind == "closed" and generation is self._current and self._coming is not None and self._coming.is_ready:
            self._take_over()
        elif kind == "move":
            heir = self._coming if self._coming is not None and self._coming.is_ready else self._current
            if heir is not None and heir is not generation:
                heir.control.say("adopt", *message["fds"])
        for fd in message["fds"]:
            os.close(fd)

    def _hand_over(self) -> None:
        """The next generation is ready: the current one stops accepting first."""
        coming, current = self._coming, self._current
        assert coming is not None
        coming.is_ready, coming.deadline = True, time.monotonic() + _HANDOVER
        if current is None or not current.control.say("drain"):
            self._take_over()

    def _take_over(self) -> None:
        coming, before = self._coming, self._current
        assert coming is not None
        coming.control.say("go")
        self._current, self._coming = coming, None
        coming.deadline, coming.served = None, time.monotonic()
        self._given_up_since = None
        if before is not None:
            self._leave(before, self._plan.settings["patience"] + _MARGIN)
        if coming.is_error_page:
            return
        self._error = None
        served = f"served after {span(time.time() - coming.saved)}"
        say("; ".join(part for part in (coming.why, coming.effect, served) if part))

    def _fail(self, generation: Generation) -> None:
        """What was to come does not come."""
        text, brief = generation.failure or ("", "")
        self._coming = None
        self._given_up_since = None
        self._leave(generation, _MARGIN)
        if "\n" in text.strip():
            with suppress(OSError):
                os.write(2, f"{text.rstrip()}\n".encode(errors="backslashreplace"))
        goes_on = self._current is not None and not self._current.is_error_page
        rest = "the last good code goes on serving" if goes_on else "waiting for a change"
        say("; ".join(part for part in (generation.why, f"{self._plan.target} {brief}", rest) if part))
        if generation.is_ready and self._current is not None:
            # It accepts nothing more.
            self._leave(self._current, self._plan.settings["patience"] + _MARGIN)
            self._current = None
        if generation.is_error_page:
            return
        self._error = text or f"{self._plan.target} {brief}"
        self._show_error()

    def _show_error(self) -> None:
        if self._current is not None:
            self._current.control.say("error", text=self._error)
        elif self._coming is None:
            self._start("", time.time(), error=self._error)

    # -- ends ------------------------------------------------------------------------------------

    def _leave(self, generation: Generation, patience: float) -> None:
        generation.deadline = time.monotonic() + patience
        self._leaving.append(generation)

    def _on_end(self, generation: Generation) -> None:
        for message in generation.hear() if generation.control.fileno() >= 0 else ():
            self._on_message(generation, message)
        generation.forget()
        if generation in self._leaving:
            self._leaving.remove(generation)
        elif generation is self._coming:
            generation.failure = generation.failure or (
                f"{self._plan.target} {generation.end_text()}",
                generation.end_text(),
            )
            self._fail(generation)
            self._leaving.remove(generation)
        elif generation is self._current:
            self._on_lost(generation)

    def _on_lost(self, generation: Generation) -> None:
        """The application has ended by itself."""
        self._current = None
        if self._coming is not None:
            if self._coming.is_ready:
                self._take_over()
            return
        if time.monotonic() - generation.served > _SHORT:
            say(f"{self._plan.target} {generation.end_text()}; it is started again")
            self._start("", time.time())
            return
        self._error = f"{self._plan.target} {generation.end_text()}"
        say(f"{self._error}; waiting for a change")
        if not generation.is_error_page:
            self._show_error()

    def _look_at_deadlines(self) -> None:
        now = time.monotonic()
        for generation in self._all():
            if generation.deadline is None or generation.deadline > now:
                continue
            if generation is not self._coming:
                if not generation.push():
                    generation.deadline = None
            elif generation.is_ready:
                self._take_over()
            elif generation.failure is None:
                brief = f"has not started up after {span(self._plan.start_timeout)}"
                generation.failure = f"{self._plan.target} {brief}", brief
                generation.control.say("where", brief=brief)
                generation.deadline = now + _TELL
            else:
                self._fail(generation)
                generation.deadline = now

    def _stop(self) -> None:
        """Refuses what comes, and lets requests be finished; a second Ctrl-C ends that."""
        self._listening.close()
        if self._coming is not None:
            self._leave(self._coming, 0.0)
        if self._current is not None:
            self._current.control.say("stop")
            self._leave(self._current, self._plan.settings["patience"] + _MARGIN)
        self._current = self._coming = None
        while self._leaving and self._stops < 2:
            self._wait()
            for generation in list(self._leaving):
                if any(message["type"] == "interrupted" for message in generation.hear()):
                    self._on_interrupted()
                if generation.has_ended():
                    self._on_end(generation)
            self._look_at_deadlines()

    def _end(self) -> None:
        """Leaves nothing."""
        for generation in self._all():
            while not generation.has_ended() and generation.push():
                with suppress(Exception):
                    generation.process.wait(0.5 if self._stops > 1 else 2.0)
            generation.forget()
        if self._modes is not None and os.tcgetpgrp(0) == os.getpgrp():
            import termios

            with suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._modes)
