"""The test suites of two packages, in forks of pytest: against pytest itself, and against pytest-xdist."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from benches import environments
from benches.bench import Bench, say
from benches.runner.interleave import Contestant, Figures, interleave
from benches.runner.table import Row, row
from benches.stacks import Stack

# Of click, which has 1,700 tests, those of two files.
_SUITES = {
    "itsdangerous==2.2.0": ("tests",),
    "click==8.5.1": ("tests/test_arguments.py", "tests/test_commands.py"),
}
_STACK = Stack("isolate", (*_SUITES, "freezegun==1.5.5", "pytest>=9,<10", "pytest-xdist>=3.7,<4"), ())
_PLAIN = "`pytest`"
_XDIST = "`pytest -n 2` (pytest-xdist)"
_RIVALS = {_PLAIN: (), _XDIST: ("-n", "2")}
_KINDS = {
    "a test in each fork": ("--firehot-isolate",),
    "a test in each fork, two at a time": ("--firehot-jobs=2",),
    "a module in each fork": ("--firehot-isolate=module",),
}
_ROUNDS = 8
Outcomes = dict[tuple[str | None, str | None], list[str]]


def measure(bench: Bench) -> list[Row]:
    say("tests in forks")
    python = environments.of_stack(_STACK)
    return [found for suite in _SUITES for found in _measure(bench, python, suite)]


def _measure(bench: Bench, python: Path, suite: str) -> list[Row]:
    suites = _SUITES[suite]
    folder = _download(bench.folder, suite)
    say(f"the tests of {suite}")
    expected = _outcomes(python, folder, suites)
    for words in _KINDS.values():
        if (found := _outcomes(python, folder, (*words, *suites))) != expected:
            raise SystemExit(
                f"{suite}: {' '.join(words)} has other results: {set(found.items()) ^ set(expected.items())}"
            )
    contestants = [
        Contestant(name, partial(_run, python, folder, (*words, *suites)))
        for name, words in {**_KINDS, **_RIVALS}.items()
    ]
    measured = interleave(contestants, bench.rounds(_ROUNDS), warm_up=1)
    theirs = {name: (measured[name].of("result"), None) for name in _RIVALS}
    note = f"{len(expected)} tests, with the same results in each way"
    return [
        row("isolate", suite.replace("==", " "), kind, measured[kind].of("result"), theirs, note=note)
        for kind in _KINDS
    ]


def _download(folder: Path, suite: str) -> Path:
    """The package's sources, which its tests come with."""
    options = ("--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder))
    subprocess.run([sys.executable, "-m", "pip", "download", *options, suite], check=True, stdout=sys.stderr)
    [archive] = folder.glob(f"{suite.partition('==')[0]}-*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    return Path(str(archive).removesuffix(".tar.gz"))


def _run(python: Path, folder: Path, words: Sequence[str]) -> Figures:
    began = time.perf_counter()
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *words]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environments.variables(python, ()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    # Some tests fail in some places; they have to be the same ones.
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return {"result": time.perf_counter() - began}


def _outcomes(python: Path, folder: Path, words: Sequence[str]) -> Outcomes:
    report = folder / "report.xml"
    _run(python, folder, (*words, f"--junitxml={report}"))
    cases = ElementTree.parse(report).iter("testcase")
    return {(case.get("classname"), case.get("name")): [child.tag for child in case] for case in cases}
