"""Runs code with no Python frame below it, as an interpreter runs its program. Standard library only.

`exec` in a function would show that function to `sys._getframe`, to debuggers that step out of the program's end, to
`warnings`, and to whoever prints the stack. From Python there is one way round it: to leave all functions by an
exception that nobody catches, and to have CPython run the code in what it does with that exception. Until the code
has ended nothing but functions of C is called, since a Python function would be a frame again.
"""

from __future__ import annotations

import sys
from _io import _IOBase
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from operator import methodcaller
from typing import Any, NoReturn, TypeAlias

Go: TypeAlias = Callable[[], object]
# From before the imports: see `_program_end`.
_settrace, _setprofile = sys.settrace, sys.setprofile


class Leave(SystemExit):
    """Raised, and caught by nobody but the interpreter, it runs the program: nothing is on the stack by then.

    For a SystemExit that has left the last frame, CPython asks for its `code` (`_Py_HandleSystemExit`), here a property
    made of C functions only.
    """

    code = property(methodcaller("play"))

    def __init__(self, unblock: Go, go: Go, own_file: bool, finish: Callable[..., NoReturn]) -> None:
        """Plays `unblock` and `go` on the empty stack, then `finish` with what `go` has raised."""
        super().__init__()
        ended = _Ended()
        tracer: defaultdict[str, Any] = defaultdict(sys.gettrace)
        profiler: defaultdict[str, Any] = defaultdict(sys.getprofile)

        def end() -> None:
            raise ended

        def conclude(name: str, value: object) -> None:
            del inner.flush
            raised = [ended.__context__]
            ended.__context__ = None
            finish(raised, own_file=own_file, tracing=(tracer["x"], profiler["x"]))

        # What the program has set to trace it must not see what comes after it.
        untrace = [partial(_settrace, None), partial(_setprofile, None)]
        if sys.version_info >= (3, 14):  # pdb traces by these events.
            monitoring: Any = sys.monitoring
            untrace.append(partial(monitoring.free_tool_id, monitoring.DEBUGGER_ID))
        inner = _stage(_in_turn(unblock, go), _in_turn(tracer, profiler, *untrace, end))
        self.play = _stage(inner().close, conclude)().close


class _Ended(BaseException):
    """Has as its context what the program ended with."""


def _stage(first: Go, then: Callable[..., object]) -> Any:
    """What has a `close` that calls `first`, then `then`, whatever became of the first: a `finally` without a frame.

    That is how `_io._IOBase.close` goes about `flush`, and the attribute that says that it is closed; when both raise,
    the first exception becomes the context of the second.
    """
    return type("Stage", (_IOBase,), {"flush": staticmethod(first), "__setattr__": staticmethod(then)})


def _in_turn(*steps: Any) -> Go:
    """One function of C that calls each of these, whatever it is called with itself.

    `str.format` takes items of its arguments in turn, and a defaultdict makes those that are missing by a call.
    """
    items = {f"_{at}": step if type(step) is defaultdict else defaultdict(step) for at, step in enumerate(steps)}
    return partial("".join(f"{{{name}[x].__class__}}" for name in items).format, **items)
