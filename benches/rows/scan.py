"""The scan alone: cold, warm and with nothing changed. The sources of the stack `data` are the project."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benches import environments
from benches.bench import Bench, say
from benches.project import Project
from benches.runner.interleave import Contestant, Figures, interleave
from benches.runner.process import Rival
from benches.runner.table import Row, row
from benches.stacks import DATA, EMPTY, OLD

RUFF = "`ruff analyze graph`"
FIND = "`find -newer`"
_PACKAGES = ("pandas", "sklearn", "scipy", "matplotlib", "numpy")
_ROUNDS = 20
_SLOW = 4


def measure(bench: Bench) -> list[Row]:
    project = bench.project("scan", (), compiled=False)
    count = _copy_sources(project)
    say(f"scan of {count} files")
    tools = environments.of_tools()
    slow = 1 if bench.quick else _SLOW
    with (
        bench.rival("firehot_scan", EMPTY, project) as ours,
        Rival("grimp_graph", tools, project.paths, (), log=bench.folder / "rivals.log") as grimp,
    ):
        newer = project.source / "newer"
        newer.touch()
        contestants = [
            Contestant("ours", lambda: {**ours.ask("cold"), **ours.ask("warm"), **ours.ask("noop")}),
            Contestant(RUFF, lambda: _clock([tools.parent / "ruff", "analyze", "graph", project.source / "own"])),
            Contestant("grimp", lambda: grimp.ask("graph"), slow),
            Contestant("deptry", lambda: _deptry(tools, project), slow),
            Contestant(FIND, lambda: _clock(["find", project.source, "-name", "*.py", "-newer", newer])),
        ]
        found = interleave(contestants, bench.rounds(_ROUNDS), warm_up=1)
    mine, subject = found["ours"], f"{count:,} files"
    cold = {
        RUFF: (found[RUFF].of("result"), 0.25),
        "grimp": (found["grimp"].of("result"), None),
        "deptry": (found["deptry"].of("result"), None),
    }
    rows = [row("scan", subject, "cold: nothing is known", mine.of("cold"), cold)]
    if "warm" in mine.figures:
        rows.append(
            row(
                "scan",
                subject,
                "warm: the project is opened again",
                mine.of("warm"),
                cold | {RUFF: (found[RUFF].of("result"), None)},
            )
        )
    no_op = {FIND: (found[FIND].of("result"), 2.0), RUFF: (found[RUFF].of("result"), None)}
    rows.append(row("scan", subject, "`update_environment()` with nothing changed", mine.of("noop"), no_op))
    rows[0].note = f"the scan of firehot {OLD} can't be told from the rest of its start: see the rows of `ready`"
    return rows


def _copy_sources(project: Project) -> int:
    """Copies the Python files of big packages into the project; returns how many."""
    packages = environments.site_packages(environments.of_stack(DATA))
    for name in _PACKAGES:
        shutil.copytree(packages / name, project.source / "own" / name, ignore=_only_python)
    (project.source / "pyproject.toml").write_text('[project]\nname = "own"\nversion = "1"\ndependencies = []\n')
    time.sleep(
        1.1
    )  # A file changed within the clock's second is read again: this is no project in the middle of an edit.
    return sum(1 for _ in project.source.rglob("*.py"))


def _only_python(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.endswith(".py") and not Path(folder, name).is_dir()} | {"__pycache__"}


def _deptry(tools: Path, project: Project) -> Figures:
    # It ends with 1 when it finds something.
    return _clock(
        [tools.parent / "deptry", project.source, "--config", project.source / "pyproject.toml"], codes=(0, 1)
    )


def _clock(command: Sequence[str | Path], codes: Sequence[int] = (0,)) -> Figures:
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    took = time.perf_counter() - start
    if done.returncode not in codes:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return {"result": took}
