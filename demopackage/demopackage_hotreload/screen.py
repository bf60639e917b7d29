"""How the demo talks: plain lines, with bold headings on a terminal that takes them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable


class ClaimError(Exception):
    """Something that the demo says is not so."""


def heading(text: str) -> None:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    bold = sys.stdout.isatty() and not plain
    print(f"\n\033[1m{text}\033[0m" if bold else f"\n{text}", flush=True)


def say(text: str) -> None:
    print(f"  {text}", flush=True)


def quote(text: str | Iterable[str]) -> None:
    for line in text.splitlines() if isinstance(text, str) else text:
        print(f"    | {line.rstrip()}", flush=True)


def claim(holds: bool, text: str) -> None:
    """Say it only when it is so; the demo fails otherwise."""
    if not holds:
        raise ClaimError(text)
    say(text)
