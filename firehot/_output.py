"""Shows lines of children on the host's streams. Knows nothing of processes."""

from __future__ import annotations

import os
from typing import TextIO
from zlib import crc32

_COLOURS = (36, 33, 32, 35, 34, 31)
_RESET = "\x1b[0m"


def show(stream: TextIO | None, name: str, lines: bytes) -> None:
    r"""Writes whole lines, each with the process's name before it; in colour on a terminal, unless NO_COLOR is set.

    Bytes that are not UTF-8, and characters that the stream can't show, appear as `\\xNN`. A closed stream drops them,
    as it would drop what the host prints.
    """
    if stream is None:
        return
    prefix = f"[{name}] "
    try:
        if stream.isatty() and not os.environ.get("NO_COLOR"):
            prefix = f"\x1b[{_COLOURS[crc32(name.encode()) % len(_COLOURS)]}m[{name}]{_RESET} "
    except Exception:  # The stream is the user's: whatever it raises must not end the pump.
        pass
    text = lines.decode("utf-8", "backslashreplace")
    parts = text.split("\n")
    text = "".join(f"{prefix}{part}\n" for part in parts[:-1])
    try:
        _write(stream, text)
    except Exception:
        return


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:
        encoding = stream.encoding or "ascii"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
