"""Opens a template for recipes, runs their work in children, and notes how each ended."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from firehot import isolate_imports
from firehot.environment import Environment
from safety.loopback import Collector, http_server
from safety.recipe import COLLECTOR, Recipe

WATCHDOG = 100.0
"""Seconds that a child may take before it counts as hanging."""
IMPORTS = 120.0
_END = 30.0
_PROJECT = "matrix_project"


@dataclass(slots=True)
class Run:
    """One child, or one cold process: what came of it and how long it took."""

    value: object = None
    error: str = ""
    work: float = 0.0
    end: float = 0.0


@dataclass(slots=True)
class Trial:
    """What is known of a recipe after it was tried."""

    name: str
    threads: list[str] | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    verdicts: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    @property
    def errors(self) -> list[str]:
        """What went wrong, each once."""
        return list(dict.fromkeys(run.error for run in self.runs if run.error))

    def as_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return asdict(self)


@contextmanager
def prepared(recipes: Sequence[Recipe]) -> Iterator[tuple[Collector, str]]:
    """The collector, and a folder on `sys.path` with a package that imports what the recipes preload."""
    collector = Collector()
    with ExitStack() as stack:
        # Only where it is needed: a thread from before gevent's patches would be in their way in a cold process.
        delivers = any(recipe.delivers for recipe in recipes)
        address = stack.enter_context(http_server(collector.answer)) if delivers else ""
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        variables = {COLLECTOR: address}
        for recipe in recipes:
            variables.update({name: text.format(collector=address) for name, text in recipe.variables.items()})
        stack.enter_context(_variables(variables))
        package, site = Path(folder, "source", _PROJECT), Path(folder, "site")
        package.mkdir(parents=True)
        site.mkdir()
        modules = [module for recipe in recipes for module in recipe.modules]
        (package / "__init__.py").write_text("")
        (package / "app.py").write_text("".join(f"import {module}\n" for module in dict.fromkeys(modules)))
        for recipe in recipes:
            for name, text in recipe.files.items():
                (site / name).write_text(text)
        path = list(sys.path)
        sys.path[:0] = [str(package.parent), str(site)]
        stack.callback(sys.path.__setitem__, slice(None), path)
        yield collector, str(site)


@contextmanager
def _variables(wanted: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name in wanted:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


@contextmanager
def opened(recipes: Sequence[Recipe], *, output: Any = "capture") -> Iterator[tuple[Environment, Collector]]:
    """An environment with the modules of the recipes preloaded."""
    with (
        prepared(recipes) as (collector, _),
        isolate_imports(_PROJECT, output=output, import_timeout=IMPORTS) as environment,
    ):
        yield environment, collector


def try_recipe(recipe: Recipe) -> Trial:
    """A template of its own; two children one after the other, and two at once."""
    trial = Trial(recipe.name)
    with opened([recipe]) as (environment, collector):
        note_template(trial, environment, recipe.modules)
        for count in (1, 1, 2):
            trial.runs += run_at_once(environment, collector, recipe, count)
    return trial


def try_together(recipes: Sequence[Recipe]) -> tuple[Trial, list[Trial]]:
    """One template with everything; each recipe in two children at once. The template's own facts come first."""
    whole = Trial("all together")
    trials = []
    with opened(recipes) as (environment, collector):
        note_template(whole, environment, [module for recipe in recipes for module in recipe.modules])
        for recipe in recipes:
            trial = Trial(recipe.name)
            trial.runs = run_at_once(environment, collector, recipe, 2)
            trials.append(trial)
            print(recipe.name, trial.errors or "ok", file=sys.stderr, flush=True)
    return whole, trials


def note_template(trial: Trial, environment: Environment, modules: Sequence[str]) -> None:
    """Threads of the template, and what it has left out, right after opening."""
    trial.threads = template_threads()
    trial.verdicts = {str(name): str(text) for name, text in getattr(environment, "verdicts", {}).items()}
    skipped = environment.skipped
    trial.left_out = {name: skipped[name].reason for name in modules if name in skipped}


def run_at_once(environment: Environment, collector: Collector, recipe: Recipe, count: int) -> list[Run]:
    """Runs the work in `count` children at the same time."""
    delivered = collector.count(recipe.delivers) if recipe.delivers else 0
    runs = run_children(environment, [recipe.work] * count)
    missing = delivered + count - collector.count(recipe.delivers) if recipe.delivers else 0
    for run in runs[:missing]:
        run.error = run.error or "nothing was delivered to the collector"
    return runs


def run_children(environment: Environment, works: Sequence[Callable[[], object]]) -> list[Run]:
    """Runs each function in a child of its own, all at the same time."""
    runs = [Run() for _ in works]
    threads = [
        threading.Thread(target=_run_child, args=(environment, work, run))
        for work, run in zip(works, runs, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return runs


def _run_child(environment: Environment, work: Callable[[], object], run: Run) -> None:
    start = time.monotonic()
    process = environment.exec(work, timeout=WATCHDOG)
    try:
        run.value = process.result(WATCHDOG + _END)
    except Exception as error:
        run.error = describe(error.__cause__ or error) + _tail(process.output)
    run.work = time.monotonic() - start
    start = time.monotonic()
    try:
        code = process.wait(_END)
    except TimeoutError:
        run.error = run.error or f"did not end within {_END:g} s"
        process.stop(0.5)
    else:
        if code != 0:
            run.error = run.error or f"ended with {code}" + _tail(process.output)
    run.end = time.monotonic() - start


def _tail(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return f" [{lines[-1].strip()[:200]}]" if lines else ""


def describe(error: BaseException) -> str:
    """An exception in one line."""
    text = " ".join(str(error).split())[:400]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def template_threads() -> list[str] | None:
    """Names of the threads of this process's only child, the template; `None` where there is no /proc."""
    own = os.getpid()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text("utf-8", "replace").rpartition(")")[2].split()
            if int(fields[1]) == own:
                return thread_names(int(entry.parent.name))
        except OSError:
            continue
    return None


def thread_names(pid: int) -> list[str]:
    """Names of a process's threads as the kernel knows them, sorted."""
    return sorted(path.read_text("utf-8", "replace").strip() for path in Path(f"/proc/{pid}/task").glob("*/comm"))
