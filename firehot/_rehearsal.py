"""What a spare imports, runs and forgets before its call comes: a small module, as a project's are. See `_child`.

It imports nothing that is not there in any template.
"""

from __future__ import annotations

import os
import sys


class Part:
    """Classes and functions are what most modules are made of."""

    kind = "part"

    def __init__(self, name: str, value: float = 0.0) -> None:
        """Nothing is done with them."""
        self.name = name
        self.value = value

    @property
    def title(self) -> str:
        """Of a few kinds."""
        return f"{self.kind} {self.name}"


def play(*parts: str) -> list[str]:
    """Called with what the call of a rehearsal carries."""
    found = {part: Part(part, len(part)) for part in parts}
    return [os.fspath(part.title) for part in found.values() if part.name not in sys.argv]
