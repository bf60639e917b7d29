"""What `firehot doctor` finds."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One of them.

    Attributes:
        level: "ok"; "note" for what a user may want to know; "problem" for what needs a hand.
        what: The fact.
        why: Why it matters.
        way_out: What can be done; empty where there is nothing to do.
    """

    level: Literal["ok", "note", "problem"]
    what: str
    why: str
    way_out: str

    def told(self) -> dict[str, str]:
        """As an object of `--json`."""
        return asdict(self)
