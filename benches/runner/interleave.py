"""Lets rivals measure in turns, so that a machine that grows slower or faster meanwhile hits all of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_FEWEST = 3
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

    @property
    def count(self) -> int:
        """In how many rounds it has measured."""
        return max(map(len, self.figures.values()), default=0)


def interleave(
    contestants: Sequence[Contestant],
    rounds: int,
    *,
    warm_up: int = 2,
    rest: float = 0.02,
    patience: float = 45.0,
) -> dict[str, Measured]:
    """Runs the rounds, in an order that differs from round to round; returns the figures by contestant.

    Args:
        contestants: Who takes part.
        rounds: How many rounds count.
        warm_up: Turns of each before, that don't count.
        rest: Seconds of idleness before each turn: what the one before left to do (an exit, a spare) is
            its own, and done by then.
        patience: Seconds after which a contestant with three figures or more measures no further, so that a busy
            machine makes fewer figures and not an endless run.
    """
    for contestant in contestants:
        for _ in range(min(1, warm_up) if contestant.every > 1 else warm_up):
            contestant.turn()
    measured = {contestant.name: Measured({}) for contestant in contestants}
    spent = {contestant.name: 0.0 for contestant in contestants}
    order = random.Random(rounds)
    for number in range(rounds):
        turns = [contestant for contestant in contestants if number % contestant.every == 0]
        order.shuffle(turns)
        for contestant in turns:
            if spent[contestant.name] > patience and measured[contestant.name].count >= _FEWEST:
                continue
            time.sleep(rest)
            start = time.monotonic()
            for name, value in contestant.turn().items():
                measured[contestant.name].figures.setdefault(name, {})[number] = value
            spent[contestant.name] += time.monotonic() - start
    return measured
