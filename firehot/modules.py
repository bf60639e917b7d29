"""What an environment tells of modules: preloaded, or left to each run and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["PreloadedModule", "SkippedModule", "SourceLine"]


@dataclass(frozen=True, slots=True)
class PreloadedModule:
    """A module that every child finds imported.

    Attributes:
        name: Dotted name.
        milliseconds: What its import took, with what it imported first.
        learned: No import statement of the project names it: a run was seen to import it.
    """

    name: str
    milliseconds: float
    learned: bool = False


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line of the project that imports something.

    Attributes:
        file: The source file.
        line: Its line, counted from 1.
        text: The line itself.
    """

    file: Path
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class SkippedModule:
    """A module that is imported by the project but not preloaded: each run imports it itself.

    Attributes:
        name: Dotted name.
        reason: Why.
        lines: Where the project imports it.
    """

    name: str
    reason: str
    lines: tuple[SourceLine, ...]
