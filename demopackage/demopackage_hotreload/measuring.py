"""Measures a package under firehot and cold, the same way for every package."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from demopackage_hotreload.project import Project
from demopackage_hotreload.screen import ClaimError, heading, say
from demopackage_hotreload.timing import Table, run_cold, timed
from firehot import isolate_imports
from firehot.environment import Environment, Output


@dataclass(frozen=True)
class Subject:
    """A package, what is run of it, and how its sources are edited."""

    package: str
    call: Callable[[], str]
    """One of the functions in `calls`; what it returns contains the edited constant."""
    constant: tuple[str, str, str]
    """A file, the name of a string constant in it, and its value."""
    imports: tuple[str, tuple[str, ...]]
    """A file, and modules that nothing imports yet, to be imported there one after the other."""
    ignored: tuple[str, ...] = ()
    """What is not preloaded."""

    def edit(self, project: Project, number: int) -> str:
        """Give the constant its value of that number, and return it."""
        file, name, value = self.constant
        # Of another length each time: a source of the same size and second is unchanged to Python.
        value += "i" * number
        project.set_constant(file, name, value)
        return value


def start(subject: Subject, stack: ExitStack, output: Output = "prefix") -> tuple[Environment, float]:
    """Open the environment, and return it with the seconds that this took."""
    opened = isolate_imports(subject.package, ignored_modules=subject.ignored, output=output)
    return timed(lambda: stack.enter_context(opened))


def measure(subject: Subject, project: Project, environment: Environment, table: Table, runs: int) -> None:
    """Fill the table. Fast things are measured five times as often as slow ones."""
    file, modules = subject.imports
    heading(f"Measuring {subject.package}: {runs} times each, runs {5 * runs} times")
    for _ in range(5 * runs):
        table.add("run", timed(lambda: environment.run(subject.call))[1])

    # Not from 1: that may be what the file says already.
    for number in range(2, 5 * runs + 2):
        value = subject.edit(project, number)
        answer, seconds = timed(lambda: environment.run(subject.call))
        if value not in answer:
            raise ClaimError(f"a run after an edit to {value!r} answered {answer!r}")
        table.add("run after an edit", seconds)

    for module in modules[:runs]:
        project.add_import(file, module)
        rebuilt, seconds = timed(environment.update_environment)
        if not rebuilt or module not in environment.modules:
            raise ClaimError(f"update_environment() did not preload {module}")
        table.add("rebuild after a new import", seconds)

    for _ in range(runs):
        with ExitStack() as stack:
            table.add("start of the environment", start(subject, stack, output="capture")[1])

    expected = environment.run(subject.call)
    for _ in range(runs):
        answer, seconds = timed(lambda: run_cold(subject.call.__name__, project.path))
        if answer != expected:
            raise ClaimError(f"cold, the answer is {answer!r}; under firehot it is {expected!r}")
        table.cold.append(seconds)
    say("each run gave the same answer as a cold start")
