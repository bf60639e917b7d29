"""From `isolate_imports` to ready, and to the first result."""

from __future__ import annotations

from collections.abc import Callable

from benches.bench import COLD, NOW, OLD_FIREHOT, Bench, say
from benches.runner.interleave import Contestant, Figures, interleave
from benches.runner.process import Rival
from benches.runner.table import Row, row
from benches.stacks import Stack

COLD_IMPORT = "cold import of the same modules"
_TARGET = 1.10
_ROUNDS = 20


def measure(bench: Bench) -> list[Row]:
    return [found for stack in bench.stacks for found in _measure(bench, stack)]


def _measure(bench: Bench, stack: Stack) -> list[Row]:
    say(f"ready, {stack.name}")
    project = bench.project(f"ready-{stack.name}", stack.modules)
    with (
        bench.rival("firehot_now", stack, project) as now,
        bench.rival("firehot_old", stack, project) as old,
        bench.rival("cold", stack, project) as cold,
    ):
        contestants = [
            Contestant(NOW, _opening(now)),
            Contestant(OLD_FIREHOT, _opening(old), 4 if stack.name == "data" and not bench.quick else 1),
            Contestant(COLD, lambda: {**cold.ask("exec"), "imports": cold.ask("imports")["result"]}),
        ]
        measured = interleave(contestants, bench.rounds(_ROUNDS), warm_up=1)
    ours = measured[NOW]
    imports = measured[COLD].of("imports")
    target = None if stack.name == "empty" else _TARGET
    return [
        row("ready", stack.name, "`isolate_imports` to ready", ours.of("result"), {COLD_IMPORT: (imports, target)}),
        row(
            "ready",
            stack.name,
            "`isolate_imports` to the first result",
            ours.of("first"),
            {OLD_FIREHOT: (measured[OLD_FIREHOT].of("first"), None), COLD: (measured[COLD].of("result"), None)},
        ),
    ]


def _opening(rival: Rival) -> Callable[[], Figures]:
    def turn() -> Figures:
        figures = rival.ask("open")
        rival.ask("close")
        return figures

    return turn
