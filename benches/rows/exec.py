"""From the call of `exec` to the return of `result`, one at a time."""

from __future__ import annotations

from functools import partial

from benches.bench import BARE, BARE_ENDED, COLD, FORKSERVER, NOW, NOW_SPARE, OLD_FIREHOT, Bench, say
from benches.runner.interleave import Contestant, Measured, interleave
from benches.runner.table import Row, row
from benches.stacks import Stack

TARGETS = {
    NOW: {BARE: 1.25, FORKSERVER: 0.8},
    NOW_SPARE: {BARE: 0.6, FORKSERVER: 0.8},
}
_ROUNDS = 100
# Those that may take seconds.
_SLOW = {COLD: 5, OLD_FIREHOT: 5}


def measure(bench: Bench) -> list[Row]:
    return [found for stack in bench.stacks for found in _measure(bench, stack)]


def _measure(bench: Bench, stack: Stack) -> list[Row]:
    say(f"exec to result, {stack.name}")
    project = bench.project(f"exec-{stack.name}", stack.modules)
    with bench.runners(stack, project) as rivals:
        contestants = [
            Contestant(name, partial(rival.ask, "exec"), 1 if bench.quick else _SLOW.get(name, 1))
            for name, rival in rivals.items()
        ]
        measured = interleave(contestants, bench.rounds(_ROUNDS))
        found = rivals[NOW].ask("modules")
    note = f"{found['count']} modules" + (f", without {', '.join(found['skipped'])}" if found["skipped"] else "")
    return [_row(stack, ours, measured, note) for ours in (NOW, NOW_SPARE) if ours in measured]


def _row(stack: Stack, ours: str, measured: dict[str, Measured], note: str) -> Row:
    targets = TARGETS[ours]
    rivals = {
        name: (measured[name].of("result"), targets.get(name))
        for name in (BARE, FORKSERVER, OLD_FIREHOT, COLD)
        if name in measured
    }
    rivals[BARE_ENDED] = (measured[BARE].of("ended"), None)
    spares = "one spare" if ours == NOW_SPARE else "no spares"
    return row("exec", stack.name, f"exec to result, {spares}", measured[ours].of("result"), rivals, note=note)
