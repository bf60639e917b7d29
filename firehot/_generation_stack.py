"""What the start of an application is at when it takes too long, in the application's own frames. Decides nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any

_STARTERS = tuple(os.path.join(os.path.dirname(os.path.abspath(__file__)), name) for name in ("_generation", "_pages"))
"""What stands between the interpreter's start and the application."""
_LOOPS = ("asyncio", "selectors", "uvicorn")
_SUSPENDED = (
    (CoroutineType, "cr_frame", "cr_await"),
    (GeneratorType, "gi_frame", "gi_yieldfrom"),
    (AsyncGeneratorType, "ag_frame", "ag_await"),
)


def place(lifespan: asyncio.Task[Any] | None) -> str:
    """The lines of a traceback: of the main thread, or of what the start-up awaits where that is nothing but a loop.

    Args:
        lifespan: What runs the start-up, once it does.
    """
    main = threading.main_thread().ident
    running = [frame for frame, _ in traceback.walk_stack(sys._current_frames().get(main or 0))][::-1]
    frames = _of_application(running)
    if lifespan is not None and all(_package(frame) in _LOOPS for frame in frames):
        frames = _of_application([*_awaited(lifespan.get_coro())])
    return "".join(traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames).format())


def _of_application(frames: list[FrameType]) -> list[FrameType]:
    """Those behind firehot's, without the import system's."""
    files = [frame.f_code.co_filename for frame in frames]
    begin = max((at for at, file in enumerate(files, 1) if file.startswith(_STARTERS)), default=0)
    return [frame for frame in frames[begin:] if _package(frame) != "importlib"]


def _package(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__") or ""
    # `importlib._bootstrap` and its like.
    return "importlib" if frame.f_code.co_filename.startswith("<frozen importlib") else name.partition(".")[0]


def _awaited(waiting: Any) -> Iterator[FrameType]:
    """The frames of what waits, and of what that awaits, up to what is no Python code."""
    while waiting is not None:
        for kind, frame, awaited in _SUSPENDED:
            if isinstance(waiting, kind):
                if getattr(waiting, frame) is not None:
                    yield getattr(waiting, frame)
                waiting = getattr(waiting, awaited)
                break
        else:
            # What stands for a coroutine or a generator while it is awaited knows it, and tells nobody else.
            kinds = tuple(kind for kind, _, _ in _SUSPENDED)
            waiting = next((one for one in gc.get_referents(waiting) if isinstance(one, kinds)), None)
