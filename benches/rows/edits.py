"""An import added or removed, a package upgraded: from `update_environment`, or from `exec`, to the result."""

from __future__ import annotations

from collections.abc import Callable

from benches.bench import BARE, COLD, NOW, OLD_FIREHOT, Bench, say
from benches.project import Project
from benches.runner.interleave import Contestant, Figures, Measured, interleave
from benches.runner.process import Rival
from benches.runner.table import Row, row
from benches.stacks import Stack

IMPORT_AND_FORK = "bare `os.fork()` whose child imports it"
_TARGET = 1.3
_ROUNDS = 20
_SLOW = {COLD: 2, OLD_FIREHOT: 4}


def measure(bench: Bench) -> list[Row]:
    # Those with something to lose: on an empty stack there is nothing below the new import.
    return [found for stack in bench.stacks if stack.modules for found in _measure(bench, stack)]


def _measure(bench: Bench, stack: Stack) -> list[Row]:
    rounds = bench.rounds(_ROUNDS if stack.name == "web" else 6)
    edited: dict[str, Project] = {}
    for name in (NOW, BARE, OLD_FIREHOT, COLD):
        if name == OLD_FIREHOT and stack.name == "data":
            continue  # It preloads nothing of this stack, and each run is a cold start.
        project = edited[name] = bench.project(f"edits-{stack.name}-{len(edited)}", stack.modules, compiled=False)
        for number in range(rounds + 2):
            project.add_package(f"extra{number}")
        project.write_distribution("extra0", "1.0")
        project.compile()
    with bench.runners(stack, edited[NOW], tuple(edited), each=edited) as rivals:
        say(f"add an import, and remove it, {stack.name}")
        added = interleave(
            [
                Contestant(name, _adding(rival, edited[name], stack), 1 if bench.quick else _SLOW.get(name, 1))
                for name, rival in rivals.items()
            ],
            rounds,
            warm_up=1,
        )
        say(f"upgrade a package, {stack.name}")
        upgraded = interleave(
            [
                Contestant(
                    name, _upgrading(rivals[name], edited[name], stack), 1 if bench.quick else _SLOW.get(name, 1)
                )
                for name in (NOW, COLD)
            ],
            min(rounds, 10),
            warm_up=1,
        )
    return _rows(stack, added, upgraded)


def _rows(stack: Stack, added: dict[str, Measured], upgraded: dict[str, Measured]) -> list[Row]:
    def against(figure: str, *names: str) -> dict[str, tuple[dict[int, float], float | None]]:
        return {name: (added[name].of(figure), None) for name in names if name in added}

    add = {IMPORT_AND_FORK: (added[BARE].of("added"), _TARGET), **against("added", OLD_FIREHOT, COLD)}
    again = {IMPORT_AND_FORK: (added[BARE].of("again"), None), **against("again", OLD_FIREHOT, COLD)}
    old = added[OLD_FIREHOT].of("kept").values() if OLD_FIREHOT in added else []
    note = ""
    if sum(old):
        note = f"{OLD_FIREHOT} kept its template in {sum(old):.0f} of {len(old)} rounds, and its children import it"
    return [
        row("edits", stack.name, "one import added, to the result", added[NOW].of("added"), add, note=note),
        row("edits", stack.name, "the run after that", added[NOW].of("again"), again),
        row(
            "edits",
            stack.name,
            "one import removed, to the result",
            added[NOW].of("removed"),
            {**against("removed", OLD_FIREHOT, COLD)},
        ),
        row(
            "edits",
            stack.name,
            "one package upgraded, to the result",
            upgraded[NOW].of("result"),
            {COLD: (upgraded[COLD].of("result"), None)},
            note=f"{OLD_FIREHOT} does not notice the upgrade",
        ),
    ]


def _adding(rival: Rival, project: Project, stack: Stack) -> Callable[[], Figures]:
    """Each turn adds a package that was never imported, and takes it out again."""
    numbers = iter(range(1, 1000))

    def turn() -> Figures:
        name = f"extra{next(numbers)}"
        project.write_app([*stack.modules, name])
        added = rival.ask("edited")
        project.write_app(stack.modules)
        removed = rival.ask("edited")
        kept = 1.0 - added["rebuilt"] if "rebuilt" in added else 0.0
        return {"added": added["result"], "again": added["again"], "removed": removed["result"], "kept": kept}

    return turn


def _upgrading(rival: Rival, project: Project, stack: Stack) -> Callable[[], Figures]:
    """Each turn finds the last package of the stack in a newer version."""
    project.write_app([*stack.modules, "extra0"])
    rival.ask("edited")
    numbers = iter(range(2, 1000))

    def turn() -> Figures:
        project.write_distribution("extra0", f"{next(numbers)}.0")
        figures: Figures = rival.ask("exec")
        return figures

    return turn
