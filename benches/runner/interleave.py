"""Lets rivals measure in turns, so that a machine that grows slower or faster meanwhile hits all of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Figures = Mapping[str, float]
"""What one turn measured, by name; seconds, or bytes."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One who measures in each round.

    Attributes:
        name: Unique in its row.
        turn: Measures once.
        every: It takes part in each round (1), each second (2) ...; for those that take long.
    """

    name: str
    turn: Callable[[], Figures]
    every: int = 1


@dataclass(slots=True)
class Measured:
    """The figures of one contestant: by name, then by the number of the round."""

    figures: dict[str, dict[int, float]]

    def of(self, name: str) -> dict[int, float]:
        """One figure in each round that has it."""
        return self.figures[name]


def interleave(
    contestants: Sequence[Contestant],
    rounds: int,
    *,
    warm_up: int = 2,
    rest: float = 0.02,
) -> dict[str, Measured]:
    """Runs the rounds, in an order that differs from round to round; returns the figures by contestant.

    Args:
        contestants: Who takes part.
        rounds: How many rounds count.
        warm_up: Turns of each before, that don't count.
        rest: Seconds of idleness before each turn: what the one before left to do (an exit, a spare) is
            its own, and done by then.
    """
    for contestant in contestants:
        for _ in range(1 if contestant.every > 1 else warm_up):
            contestant.turn()
    measured = {contestant.name: Measured({}) for contestant in contestants}
    order = random.Random(rounds)
    for number in range(rounds):
        turns = [contestant for contestant in contestants if number % contestant.every == 0]
        order.shuffle(turns)
        for contestant in turns:
            time.sleep(rest)
            for name, value in contestant.turn().items():
                measured[contestant.name].figures.setdefault(name, {})[number] = value
    return measured
