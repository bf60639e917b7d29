"""`--watch` of `firehot run` and `firehot pytest`: runs it again on each save, until Ctrl-C.

Each turn is a process of `firehot` itself, in this one's process group, so that the terminal is the program's while it
runs. A save that comes meanwhile ends it: SIGINT, SIGTERM after two seconds, SIGKILL after two more. What is said goes
to stderr.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from firehot import _core, _run
from firehot._front import command_line, follow, say, span, stdin_modes, time_of
from firehot.errors import FirehotError

Command = dict[str, Any]
Choose = Callable[[list[Path]], "tuple[Sequence[str] | None, str]"]
"""From what has changed to the words of the next turn, or `None`; and why these."""

_PATIENCE = 2.0
"""Seconds that a program is given after a signal."""
_COUNTS = (".py", ".pyi", ".pyx", ".rs", ".toml", ".ini", ".cfg", ".env")
"""Files that a turn depends on: not what programs write, or it would never end."""
_ENDINGS = (signal.SIGTERM, signal.SIGHUP)


class Turns:
    """What runs again and again."""

    def __init__(self, words: Sequence[str], request: Command | None, choose: Choose) -> None:
        """Starts nothing yet.

        Args:
            words: Behind `firehot`, of a run of everything.
            request: The same for the daemon; `None` where only python itself can run it.
            choose: What is run after a change.
        """
        self._words = words
        self._request = request
        self._choose = choose
        self._root = Path(_root_of(request))
        self._watch = _core.watch_folder(str(self._root))
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._modes = stdin_modes()
        self._can_read = os.isatty(0)
        self._wake, self._woken = os.pipe()

    def play(self) -> NoReturn:
        """Until Ctrl-C, or a signal that ends this process."""
        say(f"watching {self._root}")
        with self._signals():
            try:
                self._begin(self._words, time.time())
                while True:
                    self._turn(self._attend())
            finally:
                self._end()
                self._watch.close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _ENDINGS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _leave)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    # -- one turn --------------------------------------------------------------------------------

    def _turn(self, changed: list[Path]) -> None:
        """After a change; after Enter there is none."""
        self._end()
        words, why = (self._words, "everything") if not changed else self._choose(changed)
        if not changed:
            self._begin(words or self._words, time.time())
            return
        saved = time_of(changed)
        effect = self._update() if words is not None else ""
        say("; ".join(part for part in (f"{self._names(changed)} changed", effect, why) if part))
        if words is not None:
            self._begin(words, saved)

    def _begin(self, words: Sequence[str], saved: float) -> None:
        self._began = time.monotonic()
        # The program itself says when it begins: nobody else knows when nothing of it stands on the terminal's line.
        told = {} if self._request is None else {_run.SAVED: repr(saved)}
        self._process = subprocess.Popen(
            [*command_line(), *words], pass_fds=_run.handed_down(), env={**os.environ, **told}
        )

    def _update(self) -> str:
        """Has the template follow the change, before anything runs: what that did."""
        if self._request is None or _run.is_disabled():
            return ""
        return follow(self._request)

    def _names(self, changed: list[Path]) -> str:
        names = [str(path.relative_to(self._root)) for path in changed[:3]]
        more = len(changed) - len(names)
        return ", ".join(names) + (f" and {more} more" if more else "")

    # -- waiting ---------------------------------------------------------------------------------

    def _attend(self) -> list[Path]:
        """Waits for a change, or for Enter."""
        while True:
            if self._process is not None and (status := self._poll()) is not None:
                self._close(status)
            readable = self._wait()
            with suppress(BlockingIOError):
                os.read(self._wake, 4096)
            if changed := self._changed():
                return changed
            if 0 in readable:
                line = os.read(0, 4096)
                if line:
                    return []
                self._can_read = False

    def _wait(self) -> list[int]:
        # While a program runs the terminal is its own.
        reads = self._can_read and self._process is None
        try:
            bell = self._watch.arm()
            return select.select([self._wake, bell, *([0] if reads else [])], [], [])[0]
        finally:
            self._watch.disarm()

    def _changed(self) -> list[Path]:
        is_ended, found = self._watch.take()
        if is_ended:
            raise FirehotError(f"{self._root} can't be watched any more")
        paths = {path for paths in found or () for path in paths}
        return sorted(path for path in paths if path.suffix in _COUNTS or path.name == ".env")

    # -- the process -----------------------------------------------------------------------------

    def _poll(self) -> int | None:
        """The status of what has ended; where it was suspended, this process is as well."""
        process = self._process
        if process is None:
            return None
        pid, status = os.waitpid(process.pid, os.WNOHANG | os.WUNTRACED)
        if not pid:
            return None
        if os.WIFSTOPPED(status):
            os.kill(os.getpid(), signal.SIGSTOP)
            return None
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode

    def _close(self, status: int) -> None:
        """It has ended by itself."""
        self._process = None
        self._restore()
        how = f"status {status}" if status >= 0 else _core.signal_name(-status)
        if status == -signal.SIGINT:
            raise KeyboardInterrupt
        hint = "; Enter runs it again" if self._can_read else ""
        say(f"ended with {how} after {span(time.monotonic() - self._began)}; waiting for a change{hint}")

    def _end(self) -> None:
        """Ends what runs."""
        with suppress(KeyboardInterrupt):
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
                if self._process is None:
                    break
                self._process.send_signal(number)
                if self._has_ended(_PATIENCE):
                    self._process = None
        self._restore()

    def _has_ended(self, patience: float) -> bool:
        deadline = time.monotonic() + patience
        while self._poll() is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            select.select([self._wake], [], [], left)
            with suppress(BlockingIOError):
                os.read(self._wake, 4096)
        return True

    def _restore(self) -> None:
        """The terminal's modes: what was killed has not restored them."""
        if self._modes is not None and os.tcgetpgrp(0) == os.getpgrp():
            import termios

            with suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, self._modes)


def run(command: Command) -> NoReturn:
    """`firehot run --watch`."""
    words = ["run", *(["--debugpy", str(command["debugpy"])] if command["debugpy"] else []), *command["words"]]
    request = None if "python" in command else _run.request(command, "run")
    Turns(words, request, lambda _: (words, "")).play()


def pytest(command: Command) -> NoReturn:
    """`firehot pytest --watch`."""
    from firehot._watch_tests import Tests

    request = _run.pytest_request(command)
    tests = Tests(request, command["words"], _root_of(request))

    def choose(changed: list[Path]) -> tuple[Sequence[str] | None, str]:
        words, why = tests.choose(changed)
        return (None if words is None else ["pytest", *words]), why

    Turns(["pytest", *command["words"]], request, choose).play()


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _root_of(request: Command | None) -> str:
    is_script = request is not None and request["kind"] == "script" and request["asked"] != "pytest"
    script = request["target"] if request is not None and is_script else None
    return _core.client_place({**_run.where(), "script": script})["root"]
