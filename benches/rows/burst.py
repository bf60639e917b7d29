"""Many at once, and many one after the other without a pause: seconds for each."""

from __future__ import annotations

from functools import partial

from benches.bench import BARE, COLD, FORKSERVER, NOW, NOW_SPARE, OLD_FIREHOT, Bench, say
from benches.runner.interleave import Contestant, interleave
from benches.runner.table import Row, row
from benches.stacks import Stack

_ROUNDS = 20
_AT_ONCE = 100
_IN_SEQUENCE = 50
_SLOW = {COLD: 4, OLD_FIREHOT: 4}


def measure(bench: Bench) -> list[Row]:
    return [found for stack in bench.stacks for found in _measure(bench, stack)]


def _measure(bench: Bench, stack: Stack) -> list[Row]:
    project = bench.project(f"burst-{stack.name}", stack.modules)
    rows = []
    with bench.runners(stack, project) as rivals:
        if stack.name == "data":
            # It imports the stack in each run, as a cold start does.
            rivals = {name: rival for name, rival in rivals.items() if name != OLD_FIREHOT}
        for command, count, what in (
            ("burst", _AT_ONCE, f"{_AT_ONCE} execs at once, each"),
            ("sequence", _IN_SEQUENCE, f"execs in sequence, {_IN_SEQUENCE} a turn, each"),
        ):
            say(f"{what}, {stack.name}")
            contestants = [
                Contestant(
                    name,
                    # A cold start knows no sequence that differs from one start.
                    partial(rival.ask, "exec")
                    if name == COLD and command == "sequence"
                    else partial(rival.ask, command, count=count),
                    1 if bench.quick else _SLOW.get(name, 1),
                )
                for name, rival in rivals.items()
            ]
            measured = interleave(contestants, bench.rounds(_ROUNDS), warm_up=1)
            for ours in (NOW, NOW_SPARE):
                if ours not in measured:
                    continue
                theirs = {
                    name: (measured[name].of("result"), None)
                    for name in (BARE, FORKSERVER, OLD_FIREHOT, COLD)
                    if name in measured
                }
                spares = "one spare" if ours == NOW_SPARE else "no spares"
                rows.append(row("burst", stack.name, f"{what}, {spares}", measured[ours].of("result"), theirs))
    return rows
