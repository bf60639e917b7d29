"""Memory of a child while it runs, of a spare, and of the template, as the kernel counts it. Linux only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benches.bench import BARE, COLD, FORKSERVER, NOW, NOW_SPARE, Bench, say
from benches.runner.interleave import Contestant, Figures, interleave
from benches.runner.process import Rival
from benches.runner.table import Row, Series, row
from benches.stacks import Stack

_TARGET = 1.2
_ROUNDS = 20
_RIVALS = (BARE, FORKSERVER, COLD)


def measure(bench: Bench) -> list[Row]:
    if not Path("/proc/self/smaps_rollup").exists():
        say("memory: this system has no smaps_rollup; these rows are left out")
        return []
    return [found for stack in bench.stacks for found in _measure(bench, stack)]


def _measure(bench: Bench, stack: Stack) -> list[Row]:
    say(f"memory, {stack.name}")
    project = bench.project(f"memory-{stack.name}", stack.modules)
    with bench.runners(stack, project, (NOW, NOW_SPARE, *_RIVALS)) as rivals:
        contestants = [
            Contestant(name, lambda rival=rival: _of_child(rival), 1 if bench.quick or name != COLD else 5)  # type: ignore[misc]
            for name, rival in rivals.items()
        ]
        found = interleave(contestants, bench.rounds(_ROUNDS), warm_up=0)
    rows = []
    for ours in (NOW, NOW_SPARE):
        if ours not in found:
            continue
        for figure, what in (("private", "private memory (USS)"), ("share", "share of all memory (PSS)")):
            theirs = {
                name: (
                    found[name].of(figure),
                    _TARGET if figure == "private" and name == BARE and stack.name != "empty" else None,
                )
                for name in _RIVALS
            }
            spares = "" if ours == NOW else ", started as a spare"
            rows.append(_row(stack, f"child that has run{spares}: {what}", found[ours].of(figure), theirs))
    template = {name: (found[name].of("template"), None) for name in (BARE, FORKSERVER)}
    template[COLD] = (found[COLD].of("resident"), None)
    rows.append(_row(stack, "template: resident memory (RSS)", found[NOW].of("template"), template))
    if NOW_SPARE in found and "idle" in found[NOW_SPARE].figures:
        rows.append(_row(stack, "idle spare: private memory (USS)", found[NOW_SPARE].of("idle"), {}))
    return rows


def _row(stack: Stack, what: str, ours: Series, theirs: Mapping[str, tuple[Series, float | None]]) -> Row:
    return row("memory", stack.name, what, ours, theirs, unit="MB")


def _of_child(rival: Rival) -> Figures:
    """Has a child run the function and stay; reads what it holds, and what the process that forked it holds."""
    child: int = rival.ask("hold")["pid"]
    own = _memory(child)
    figures = {"private": own["private"], "share": own["share"], "resident": own["resident"]}
    parent = _parent(child)
    figures["template"] = _memory(parent)["resident"]
    idle = [pid for pid in _children(parent) if pid != child]
    if idle:
        figures["idle"] = sum(_memory(pid)["private"] for pid in idle) / len(idle)
    rival.ask("release")
    return figures


def _memory(pid: int) -> dict[str, float]:
    """Bytes, from smaps_rollup."""
    found: dict[str, float] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = float(rest.split()[0]) * 1024
    return {
        "private": found["Private_Clean"] + found["Private_Dirty"] + found.get("Private_Hugetlb", 0.0),
        "share": found["Pss"],
        "resident": found["Rss"],
    }


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
