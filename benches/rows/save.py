"""From the save of a file to the first result of the new code, while somebody watches."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

from benches import environments
from benches.bench import NOW, Bench, say
from benches.runner.interleave import Contestant, interleave
from benches.runner.process import Rival
from benches.runner.table import Row, row
from benches.stacks import Stack

RESTART = "watchfiles and a restart (`uvicorn --reload`)"
PATCH = "jurigged"
_ROUNDS = 20
_SCRIPTS = {NOW: "firehot_watch", RESTART: "restart", PATCH: "patching"}


def measure(bench: Bench) -> list[Row]:
    return [found for stack in bench.stacks for found in _measure(bench, stack)]


def _measure(bench: Bench, stack: Stack) -> list[Row]:
    say(f"save to first result, {stack.name}")
    tools = environments.site_packages(environments.of_tools())
    with ExitStack() as opened:
        contestants = []
        for name, script in _SCRIPTS.items():
            project = bench.project(f"save-{stack.name}-{script}", stack.modules)
            paths = project.paths if name == NOW else (*project.paths, tools)
            rival = Rival(script, environments.of_stack(stack), paths, stack.modules, log=bench.folder / "rivals.log")
            opened.enter_context(rival)
            if name == NOW and (missing := rival.ask("missing")["missing"]):
                say(f"this firehot has no {missing[0]}(): the rows of `save` are left out")
                return []
            rival.ask("open")
            contestants.append(Contestant(name, partial(rival.ask, "save")))
        measured = interleave(contestants, bench.rounds(_ROUNDS), warm_up=1)
    ours = measured.pop(NOW)
    theirs = {name: (found.of("result"), None) for name, found in measured.items()}
    note = "jurigged patches the function in the running process: nothing is imported again, and no state is new"
    return [row("save", stack.name, "save of a file to the first result", ours.of("result"), theirs, note=note)]
