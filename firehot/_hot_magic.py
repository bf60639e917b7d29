"""The notebook magics `%%hot` and `%hot_status`: cells in children of the project's environment."""

from __future__ import annotations

import argparse
import os
import pickle
import shlex
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import cloudpickle

from firehot import _background, _hot_cell, _hot_run
from firehot._answers import family_memory
from firehot.context import isolate_imports
from firehot.environment import Environment
from firehot.errors import CallNotPicklable, EnvironmentClosedError, FirehotError, PackageNotFoundError

_PRELOAD = (
    "IPython.core.interactiveshell",
    "IPython.core.displayhook",
    "IPython.core.displaypub",
    "traitlets.config",
    "cloudpickle",
)
_NO_PROJECTS = ("test", "tests", "docs", "doc", "examples", "build", "dist", "site", "node_modules")


@dataclass
class Project:
    """One project's environment, which is kept open between cells."""

    name: str
    environment: Environment
    opened: float
    runs: int = 0
    took: float | None = None
    problem: str | None = None
    _following: threading.Lock = field(default_factory=threading.Lock)

    def refresh(self) -> None:
        """Has the template follow the project's imports, for the cells to come: none waits for it."""
        if self._following.acquire(blocking=False):
            _background.start(self._follow, (), name="firehot-follow")

    def _follow(self) -> None:
        self.problem = None
        try:
            self.environment.update_environment()
        except EnvironmentClosedError:
            pass  # The kernel ends.
        except (FirehotError, OSError) as error:
            self.problem = str(error)
        finally:
            self._following.release()


@dataclass
class Projects:
    """Those of one kernel."""

    closing: ExitStack = field(default_factory=ExitStack)
    open: dict[str, Project] = field(default_factory=dict)
    last: str | None = None

    def get(self, wanted: str | None) -> Project:
        """The project of a name or a path; of the last cell, or the one in the working directory, if none is given."""
        if wanted is None:
            wanted = self.last or _only_package(Path.cwd())
        name = _package(wanted)
        if (project := self.open.get(name)) is None:
            began = time.monotonic()
            try:
                environment = self.closing.enter_context(isolate_imports(name, preload=_PRELOAD, output="capture"))
            except PackageNotFoundError as error:
                _refuse(str(error))
            project = self.open[name] = Project(name, environment, time.monotonic() - began)
        self.last = name
        return project


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _refuse(message)


def _refuse(message: str) -> NoReturn:
    from IPython.core.error import UsageError

    raise UsageError(f"%%hot: {message}")


def load(shell: Any) -> None:
    """Registers the magics with a shell."""
    projects = Projects()
    parser = _Parser(prog="%%hot", add_help=False)
    parser.add_argument("--project")
    parser.add_argument("--in", dest="given", default="", type=_names)
    parser.add_argument("--out", default="", type=_names)
    parser.add_argument("--timeout", type=_seconds)

    def hot(line: str, cell: str) -> object:
        """Runs a cell in a child: `%%hot [--project PATH] [--in a,b] [--out c,d] [--timeout SECONDS]`.

        The child is forked from a process that has the project's third-party imports done, and imports the project's
        own modules as they are on disk now. Variables are its own, but for those that are named.

        --project  a package, or the path of one; by default that of the last cell, or the only one in the directory
        --in       variables of the notebook that the cell gets
        --out      variables of the cell that the notebook gets
        --timeout  seconds after which the cell is ended
        """
        try:
            told = parser.parse_args(shlex.split(line))
        except ValueError as error:
            _refuse(str(error))
        return _run(shell, projects.get(told.project), told, f"# %%hot {line}".rstrip() + f"\n{cell}")

    def hot_status(line: str) -> None:
        """Tells of the templates that `%%hot` runs cells from."""
        print("\n".join(_status(projects)))

    shell.register_magic_function(hot, magic_kind="cell", magic_name="hot")
    shell.register_magic_function(hot_status, magic_kind="line", magic_name="hot_status")


def _names(text: str) -> list[str]:
    found = [name.strip() for name in text.split(",") if name.strip()]
    for name in found:
        if not name.isidentifier():
            raise argparse.ArgumentTypeError(f"{name} is no name of a variable")
    return found


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if (seconds := float(text)) > 0:
            return seconds
    raise argparse.ArgumentTypeError(f"{text} is no time that a cell could run for")


def _unpicklable(given: dict[str, Any]) -> str | None:
    """Which variable can't be sent, and why."""
    for name, value in given.items():
        try:
            cloudpickle.dumps(value)
        except Exception as error:
            return f"{name} can't be sent: {error}"
    return None


def _run(shell: Any, project: Project, told: argparse.Namespace, cell: str) -> object:
    missing = [name for name in told.given if name not in shell.user_ns]
    if missing:
        _refuse(f"--in names {', '.join(missing)}, which the notebook has not set")
    number = shell.displayhook.prompt_count
    given = {name: shell.user_ns[name] for name in told.given}
    options = {"colors": shell.colors, "ast_node_interactivity": shell.ast_node_interactivity}
    environment = project.environment
    began = time.monotonic()
    with _hot_run.Run(shell) as run:
        arguments = (run.address, cell, number, options, given, told.out)
        try:
            process = environment.exec(_hot_cell.run, *arguments, name=f"the cell {number}", timeout=told.timeout)
        except CallNotPicklable as error:
            _refuse(f"--in {_unpicklable(given) or error}")
        except (FirehotError, OSError) as error:
            raise run.short(error) from None
        project.runs += 1
        try:
            packed, problem = run.follow(process)
        finally:
            project.took = time.monotonic() - began
            project.refresh()
    if problem is not None:
        _refuse(f"--out {problem}")
    try:
        found = pickle.loads(packed)
    except Exception as error:
        _refuse(f"--out can't be rebuilt here: {type(error).__name__}: {error}")
    shell.push(found)
    if missing := [name for name in told.out if name not in found]:
        _refuse(f"--out names {', '.join(missing)}, which the cell has not set")
    return run.shown


def _package(wanted: str) -> str:
    """The dotted name of a project, which can be imported from here on."""
    path = Path(os.path.expanduser(wanted))
    if not (os.sep in wanted or path.exists()):
        return wanted
    path = path.resolve()
    if not path.exists():
        _refuse(f"there is no {path}")
    if path.is_dir() and not (path / "__init__.py").exists():
        return _package(str(_inside(path)))
    parts = [path.stem]
    while (path.parent / "__init__.py").exists():
        path = path.parent
        parts.insert(0, path.name)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    return ".".join(parts)


def _only_package(folder: Path) -> str:
    return str(_inside(folder))


def _inside(folder: Path) -> Path:
    """The one package in a folder, or in its `src`."""
    found = [package for place in (folder / "src", folder) for package in _packages(place)]
    if len(found) != 1:
        which = "holds no package" if not found else f"holds {', '.join(sorted(each.name for each in found))}"
        _refuse(f"{folder} {which}: name the project's with --project PATH")
    return found[0]


def _packages(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.glob("*/__init__.py")):
        if file.parent.name not in _NO_PROJECTS:
            yield file.parent


def _status(projects: Projects) -> Iterator[str]:
    if not projects.open:
        yield "no cell has run with %%hot yet"
    for project in projects.open.values():
        environment = project.environment
        modules = environment.modules
        cost = sum(module.milliseconds for module in modules.values())
        yield f"{project.name}: template built in {project.opened:.1f} s, {_count(project.runs, 'run')}" + (
            "" if project.took is None else f", the last took {project.took:.2f} s"
        )
        memory = family_memory(_lowest(environment.run(os.getppid)))
        size = "" if memory is None else f", {memory / 1e6:,.0f} MB"
        yield f"  {_count(len(modules), 'import')} preloaded, {cost:,.0f} ms of each run saved{size}"
        for name, skipped in environment.skipped.items():
            yield f"  not preloaded: {name}: {skipped.reason}"
        if environment.last_rebuild is not None:
            yield f"  rebuilt last because: {environment.last_rebuild}"
        if project.problem is not None:
            yield f"  could not be brought up to date: {project.problem}"


def _lowest(pid: int) -> int:
    """The template below all layers: the one that this process has started."""
    while True:
        try:
            parent = int(Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return pid  # Only Linux tells.
        if parent in (0, 1, os.getpid()):
            return pid
        pid = parent


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
