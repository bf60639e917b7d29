"""How the time of an exec grows with the template's memory, with its modules, and with the project's files."""

from __future__ import annotations

from functools import partial

from benches.bench import BARE, NOW, NOW_SPARE, Bench, say
from benches.project import Project
from benches.runner.interleave import Contestant, interleave
from benches.runner.table import Row, row
from benches.stacks import EMPTY

_ROUNDS = 20
_MEGABYTES = (50, 250, 1000, 2000)
_MODULES = (100, 1000, 10_000)
_FILES = (100, 2000, 20_000)


def measure(bench: Bench) -> list[Row]:
    rows = []
    for megabytes in _MEGABYTES[:1] if bench.quick else _MEGABYTES:
        project = bench.project(f"megabytes-{megabytes}", (), compiled=False)
        rows += _measure(bench, project, [project.add_ballast(megabytes)], f"{megabytes:,} MB of written memory")
    for count in _MODULES[:1] if bench.quick else _MODULES:
        project = bench.project(f"modules-{count}", (), compiled=False)
        rows += _measure(bench, project, [project.add_packages(count)], f"{count:,} third-party modules")
    for count in _FILES[:1] if bench.quick else _FILES:
        project = bench.project(f"files-{count}", (), compiled=False)
        project.compile()
        project.add_files(count)
        rows += _measure(bench, project, [], f"{count:,} first-party files", compiled=True)
    return rows


def _measure(bench: Bench, project: Project, modules: list[str], subject: str, *, compiled: bool = False) -> list[Row]:
    say(f"growth: {subject}")
    project.write_app(modules)
    if not compiled:
        project.compile()
    with bench.runners(EMPTY, project, (NOW, NOW_SPARE, BARE), modules) as rivals:
        contestants = [Contestant(name, partial(rival.ask, "exec")) for name, rival in rivals.items()]
        found = interleave(contestants, bench.rounds(_ROUNDS))
    theirs = {BARE: (found[BARE].of("result"), None)}
    return [
        row("growth", subject, f"exec to result, {spares}", found[ours].of("result"), theirs)
        for ours, spares in ((NOW, "no spares"), (NOW_SPARE, "one spare"))
        if ours in found
    ]
