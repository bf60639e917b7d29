"""Medians, quartiles and ratios."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with its quartiles and its least value."""

    median: float
    low: float
    high: float
    least: float
    count: int


def spread(values: Iterable[float]) -> Spread:
    """Of one value or more."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return Spread(ordered[0], ordered[0], ordered[0], ordered[0], 1)
    low, median, high = statistics.quantiles(ordered, n=4, method="inclusive")
    return Spread(median, low, high, ordered[0], len(ordered))


def ratio(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Spread:
    """Ours by theirs, round by round: both were measured within one moment, so drift cancels out."""
    return spread(ours[number] / theirs[number] for number in ours.keys() & theirs.keys())
