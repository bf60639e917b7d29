"""The command `firehot`: the engine reads the arguments, this executes what they say and tells what went wrong.

Data goes to stdout, messages go to stderr. Exit status 0, 1 for what failed, 2 for arguments that make no sense.
"""

from __future__ import annotations

import os
import sys

# An interpreter from 3.14 on has not loaded `io` itself.
from _io import TextIOWrapper

from firehot import _core
from firehot.errors import FirehotError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130
_CLOSED_PIPE = 141
_RUN = ("run", "pytest", "shell", "warm")
_DAEMONS = ("status", "stop", "restart", "logs", "completion")
_MODULES = {
    "imports": "_imports_command",
    "why": "_why_command",
    "doctor": "_doctor",
    "serve": "_serve_command",
    "generation": "_serve_start",
}


class UsageError(FirehotError):
    """The arguments can't be meant so."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Executes one command.

    Args:
        arguments: Those behind the command's name; of this process by default.

    Returns:
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        # A path may hold anything, a terminal may show little.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _execute(arguments)
        if sys.stdout is not None:  # The shell's `>&-`.
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return _CLOSED_PIPE
    except KeyboardInterrupt:
        return _INTERRUPTED
    except UsageError as error:
        print(f"firehot: {error}", file=sys.stderr)
        return _USAGE
    except (FirehotError, OSError) as error:
        print(f"firehot: {error}", file=sys.stderr)
        return _FAILED
    return status


def _execute(arguments: Sequence[str] | None) -> int:
    command = _core.parse_command(sys.argv[1:] if arguments is None else list(arguments))
    if isinstance(command, int):
        return command
    name = command["command"]
    is_run = name in _RUN and not command.get("watch")
    if arguments is None and not is_run and sys.getfilesystemencoding() != "utf-8":
        # Paths come from the engine and from JSON as UTF-8: in such a locale Python would not find them again. What it
        # starts has the locale that the user has.
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    if name in _RUN:
        from firehot import _run

        _run.restore_locale()
        return int(getattr(_run, name)(command))
    if name in _DAEMONS:
        from firehot import _daemons

        return int(getattr(_daemons, name)(command))
    if name in _MODULES:
        from importlib import import_module

        return int(import_module(f"firehot.{_MODULES[name]}").execute(command))
    from firehot import _rust_command

    return _rust_command.execute(command)
