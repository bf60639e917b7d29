"""What a row of the table holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benches.runner.statistics import Spread, ratio, spread


@dataclass(frozen=True, slots=True)
class Against:
    """Firehot against one rival.

    Attributes:
        rival: As the table calls it.
        theirs: What the rival took.
        ratio: Ours by theirs, over the rounds that both took part in.
        target: What the ratio shall not be above, if anything was promised.
    """

    rival: str
    theirs: Spread
    ratio: Spread
    target: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; `None` without one."""
        return None if self.target is None else self.ratio.median <= self.target


@dataclass(slots=True)
class Row:
    """One thing that was measured.

    Attributes:
        group: The row group, as `ROWS` names it.
        subject: The stack, or what else was varied.
        what: What was timed.
        unit: "ms", "us" or "MB"; the figures are seconds or bytes.
        ours: What firehot took; `None` where there is none to show.
        against: The rivals.
        note: What has to be said of it.
    """

    group: str
    subject: str
    what: str
    unit: str
    ours: Spread | None
    against: list[Against] = field(default_factory=list)
    note: str = ""


Series = Mapping[int, float]


def row(
    group: str,
    subject: str,
    what: str,
    ours: Series,
    rivals: Mapping[str, tuple[Series, float | None]],
    *,
    unit: str = "ms",
    note: str = "",
) -> Row:
    """Compares one series with the rivals' series; with each of them comes its target or `None`."""
    against = [
        Against(name, spread(theirs.values()), ratio(ours, theirs), target) for name, (theirs, target) in rivals.items()
    ]
    return Row(group, subject, what, unit, spread(ours.values()), against, note)
