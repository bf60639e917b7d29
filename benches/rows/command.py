"""The command `firehot` against its cold twin: a program that does nothing, one with a heavy stack, one test of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benches import environments
from benches.bench import Bench, say
from benches.runner.interleave import Contestant, Figures, interleave
from benches.runner.table import Row, row
from benches.stacks import Stack

MIXED = Stack(
    "pandas, scikit-learn, fastapi, sqlalchemy",
    ("pandas==3.1.1", "scikit-learn==1.9.1", "numpy==2.4.6", "fastapi==0.165.0", "sqlalchemy==2.1.9", "pytest>=9,<10"),
    ("pandas", "sklearn.linear_model", "fastapi", "sqlalchemy.orm"),
)
BARE = "`python -c pass`"
COLD = "cold `python`"
COLD_TESTS = "cold `pytest`"
FIREHOT = "firehot"
_TWO_STARTS = 2.0
_ROUNDS = 20


def measure(bench: Bench) -> list[Row]:
    say("the command")
    # Its name is a folder's name, too.
    stack = Stack("command", MIXED.requirements, MIXED.modules)
    python = environments.of_stack(stack)
    project = bench.folder / "command"
    project.mkdir()
    _write(project)
    with _daemon(python, project) as run:
        return [
            _nothing(bench, python, run),
            _script(bench, python, run),
            _test(bench, python, run),
            _save(bench, python, project, run),
        ]


def _write(project: Path) -> None:
    imports = "".join(f"import {module}\n" for module in MIXED.modules)
    (project / "pyproject.toml").write_text("[tool.pytest.ini_options]\naddopts = '-p no:cacheprovider'\n")
    (project / "script.py").write_text(f"{imports}import helper\nprint('ready', helper.value, flush=True)\n")
    (project / "helper.py").write_text("value = 0\n")
    test = "def test_it():\n    assert pandas.DataFrame({'a': [1, 2]}).a.sum() == 3\n"
    (project / "test_one.py").write_text(f"{imports}\n{test}")


Run = Callable[[Sequence[object]], Figures]
Commands = Mapping[str, Sequence[object]]


@contextmanager
def _daemon(python: Path, project: Path) -> Iterator[Run]:
    """Runs commands in the project, with daemons of their own, which end at the end."""
    # The path of a socket has to be short.
    runtime = tempfile.mkdtemp(prefix="fh-")
    variables = {**environments.variables(python, ()), "XDG_RUNTIME_DIR": runtime}

    def run(command: Sequence[object]) -> Figures:
        began = time.perf_counter()
        words = [str(word) for word in command]
        subprocess.run(words, cwd=project, env=variables, check=True, stdin=subprocess.DEVNULL, capture_output=True)
        return {"result": time.perf_counter() - began}

    try:
        yield run
    finally:
        run([_firehot(python), "stop", "--all"])
        shutil.rmtree(runtime)


def _firehot(python: Path) -> Path:
    return python.parent / "firehot"


def _contestants(run: Run, commands: Commands) -> list[Contestant]:
    return [Contestant(name, partial(run, command)) for name, command in commands.items()]


def _compared(bench: Bench, run: Run, what: str, commands: Commands, **targets: float) -> Row:
    measured = interleave(_contestants(run, commands), bench.rounds(_ROUNDS))
    ours = measured.pop(FIREHOT).of("result")
    theirs = {
        name: (found.of("result"), targets.get("bare") if name == BARE else None) for name, found in measured.items()
    }
    return row("command", "any" if "nothing" in what else MIXED.name, what, ours, theirs)


def _nothing(bench: Bench, python: Path, run: Run) -> Row:
    run([_firehot(python), "warm", "-c", "pass"])
    commands: Commands = {FIREHOT: [_firehot(python), "run", "-c", "pass"], BARE: [python, "-c", "pass"]}
    return _compared(bench, run, "a program that does nothing (`firehot run -c pass`)", commands)


def _script(bench: Bench, python: Path, run: Run) -> Row:
    run([_firehot(python), "warm", "script.py"])
    commands: Commands = {
        FIREHOT: [_firehot(python), "run", "script.py"],
        BARE: [python, "-c", "pass"],
        COLD: [python, "script.py"],
    }
    return _compared(bench, run, "a script", commands, bare=_TWO_STARTS)


def _test(bench: Bench, python: Path, run: Run) -> Row:
    # The first run builds the template, and the second one learns what plug-ins import.
    for _ in range(3):
        run([_firehot(python), "pytest", "-q", "test_one.py"])
        time.sleep(2.0)
    commands: Commands = {
        FIREHOT: [_firehot(python), "pytest", "-q", "test_one.py"],
        COLD_TESTS: [python.parent / "pytest", "-q", "test_one.py"],
    }
    return _compared(bench, run, "one test (`firehot pytest`)", commands)


def _save(bench: Bench, python: Path, project: Path, run: Run) -> Row:
    """From the write of a module to the first line of the run that `--watch` starts."""
    variables = {**environments.variables(python, ()), "XDG_RUNTIME_DIR": tempfile.mkdtemp(prefix="fh-")}
    command = [str(_firehot(python)), "run", "--watch", "script.py"]
    process = subprocess.Popen(
        command,
        cwd=project,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    lines = process.stdout
    values = iter(range(1, 10_000))

    def save() -> Figures:
        value = next(values)
        began = time.perf_counter()
        (project / "helper.py").write_text(f"value = {value}\n")
        for line in lines:
            if line == f"ready {value}\n":
                return {"result": time.perf_counter() - began}
        raise SystemExit(f"{' '.join(command)} has ended")

    try:
        contestants = [Contestant(FIREHOT, save), Contestant(COLD, partial(run, [python, "script.py"]))]
        measured = interleave(contestants, bench.rounds(_ROUNDS))
    finally:
        process.terminate()
        process.wait()
        subprocess.run([_firehot(python), "stop", "--all"], env=variables, check=True, stdout=sys.stderr)
        shutil.rmtree(variables["XDG_RUNTIME_DIR"], ignore_errors=True)
    theirs = {COLD: (measured[COLD].of("result"), None)}
    note = "cold: the program alone, without whatever would notice the save"
    return row(
        "command", MIXED.name, "save to first line (`--watch`)", measured[FIREHOT].of("result"), theirs, note=note
    )
