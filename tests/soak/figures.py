"""The figures of a soak: gathered by the tests, shown as one table, written between two marks of a page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

BEGIN = "<!-- figures of make soak: begin -->"
END = "<!-- figures of make soak: end -->"


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    count: int
    seconds: float
    outcome: str


@dataclass
class Figures:
    """What the tests of one run have measured."""

    lines: list[Figure] = field(default_factory=list)

    def add(self, what: str, count: int, seconds: float, outcome: str) -> None:
        """Tests that say the same share one line."""
        for at, line in enumerate(self.lines):
            if line.what == what:
                outcomes = dict.fromkeys((line.outcome, outcome))
                self.lines[at] = Figure(what, line.count + count, line.seconds + seconds, "; ".join(outcomes))
                return
        self.lines.append(Figure(what, count, seconds, outcome))

    def table(self) -> str:
        lines = sorted(self.lines, key=lambda line: line.what)
        rows = [f"| {line.what} | {line.count:,} | {line.seconds:,.1f} s | {line.outcome} |" for line in lines]
        return "\n".join(["| what | count | time | outcome |", "|---|---:|---:|---|", *rows])


def write_between_marks(page: Path, text: str) -> None:
    """Replaces what stands between the two marks; all else of the page is somebody's writing and stays."""
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the marks {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")
