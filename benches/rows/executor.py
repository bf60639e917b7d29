"""Tasks of `firehot.Executor` against those of `ProcessPoolExecutor`: one at a time, and many at once."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benches.bench import NOW, Bench, say
from benches.runner.interleave import Contestant, interleave
from benches.runner.table import Row, row
from benches.stacks import Stack

_REUSED = "`ProcessPoolExecutor`, processes reused"
_SPAWN = "`ProcessPoolExecutor`, spawn, one task each"
_FORKSERVER = "`ProcessPoolExecutor`, forkserver, one task each"
_PRELOADED = "`ProcessPoolExecutor`, forkserver that preloads, one task each"
_KINDS = {
    NOW: "firehot",
    _REUSED: "spawn reused",
    _SPAWN: "spawn",
    _FORKSERVER: "forkserver",
    _PRELOADED: "forkserver preloaded",
}
_ROUNDS = 40
_AT_ONCE = 20
# Those that import the stack in each task.
_SLOW = {_SPAWN: 8, _FORKSERVER: 8}
_NOTE = "processes that are reused pay no fork, and keep what the last task has left; firehot can't be faster than that"


def measure(bench: Bench) -> list[Row]:
    return [found for stack in bench.stacks for found in _measure(bench, stack)]


def _measure(bench: Bench, stack: Stack) -> list[Row]:
    say(f"tasks of executors, {stack.name}")
    project = bench.project(f"executor-{stack.name}", stack.modules)
    rows = []
    with ExitStack() as opened:
        rivals = {
            name: opened.enter_context(bench.rival("executors", stack, project, settings={"kind": kind}))
            for name, kind in _KINDS.items()
        }
        for rival in rivals.values():
            rival.ask("open")
        rivals[NOW].ask("settle")
        for what, command, count in (
            ("a task, from submit to result", "task", 1),
            (f"{_AT_ONCE} tasks at once on 2 workers, each", "tasks", _AT_ONCE),
        ):
            contestants = [
                Contestant(
                    name,
                    # A slow one is no faster for each of many than for each of a few.
                    partial(rival.ask, command, **({} if count == 1 else {"count": 4 if name in _SLOW else count})),
                    1 if bench.quick else _SLOW.get(name, 1),
                )
                for name, rival in rivals.items()
            ]
            found = interleave(contestants, bench.rounds(_ROUNDS))
            theirs = {name: (found[name].of("result"), None) for name in rivals if name != NOW}
            rows.append(row("executor", stack.name, what, found[NOW].of("result"), theirs, note=_NOTE))
    return rows
