"""Runs pytest on several CPythons, each in an environment of its own, all from one wheel.

usage: test_pythons.py --wheel FILE [--pythons "3.10 3.15" | all | newest] [pytest's arguments]

`get-python.sh` finds the interpreters, or fetches them. The tests run from a copy that lies outside the checkout, so
that the `firehot` that they import is the wheel's. Ends with 1 when a run fails, or when fewer than two of the several
interpreters that were asked for could be had. `newest` is the newest but for the one that runs this; when there is
none, that is said, and is no failure: a machine without it can still try a change.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "target" / "pythons"
SUPPORTED = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]
# What the tests need from the checkout, apart from pyproject.toml; never `firehot`.
COPIED = ["tests", "benches", "docs", "safety", "README.md"]
# Without these there is no run; each other package of the group is left out where it has no wheel.
NEEDED = ("pip", "pytest", "pytest-timeout")
NOT_HAD = 3
"""The exit status of get-python.sh when an interpreter can't be had."""
# From 3.12 on `os.fork` warns when the process has threads. Given to the interpreter and not to pytest alone, so that
# templates, which take over the host's options, and their children have it too.
STRICT = ["-W", "error::DeprecationWarning"]
STRICT_FROM = (3, 12)


class Failed(Exception):
    """A version could not be tested, or its tests failed."""


@dataclass
class Run:
    """One interpreter, and what became of it."""

    version: str
    interpreter: Path
    left_out: list[str] = field(default_factory=list)
    result: str = ""
    failed: bool = False

    @property
    def line(self) -> str:
        """What the table at the end says."""
        missing = f"; left out, no wheel: {', '.join(self.left_out)}" if self.left_out else ""
        return f"{self.version:<8} {self.result}{missing}"


def main() -> int:
    """Runs what the command line asks for, and prints one line per version at the end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--pythons", default="all", help="versions, `all` or `newest`")
    options, pytest_arguments = parser.parse_known_args()
    newest = options.pythons == "newest"
    wanted = _wanted(options.pythons)
    lines = {}
    runs = []
    for version in wanted:
        interpreter, reason = _find(version)
        if interpreter is None:
            lines[version] = f"{version:<8} not run: {reason}"
            _say(lines[version])
            continue
        run = Run(version, interpreter)
        _run(run, options.wheel.resolve(), pytest_arguments)
        lines[version] = run.line
        runs.append(run)
        if newest:
            break
    print()
    for version in sorted(lines, key=_key):
        _say(lines[version])
    if newest and not runs:
        _say(f"WARNING: NO OTHER PYTHON THAN {_own()} WAS FOUND OR FETCHED: THIS CHANGE WAS TRIED ON {_own()} ALONE")
        return 0
    if len(runs) < min(2, len(wanted)) and not newest:
        _say(f"only {len(runs)} of the {len(wanted)} versions could be run, which says too little")
        return 1
    return int(any(run.failed for run in runs))


def _wanted(text: str) -> list[str]:
    if text == "newest":
        return [version for version in reversed(SUPPORTED) if version != _own()]
    return SUPPORTED if text == "all" else text.replace(",", " ").split()


def _own() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _key(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def _say(text: str) -> None:
    print(f"test-pythons: {text}", flush=True)


def _find(version: str) -> tuple[Path | None, str]:
    """The interpreter, or why there is none."""
    done = subprocess.run(
        ["sh", str(ROOT / "scripts" / "get-python.sh"), version, str(FOLDER / version)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode == 0:
        return Path(done.stdout.strip()), ""
    reason = (done.stderr.strip() or "no reason").splitlines()[-1]
    if done.returncode != NOT_HAD:
        sys.exit(f"test-pythons: get-python.sh {version} ended with {done.returncode}: {reason}")
    return None, reason.removeprefix(f"get-python: no Python {version}: ")


# --- one interpreter ------------------------------------------------------------------------------------------------


def _run(run: Run, wheel: Path, pytest_arguments: list[str]) -> None:
    _say(f"Python {run.version}: {run.interpreter}")
    start = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix=f"firehot-{run.version}-"))
    try:
        python = _environment(run, wheel)
        _copy(work)
        run.result = _test(python, work, pytest_arguments)
    except Failed as error:
        run.failed = True
        run.result = str(error)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    run.result += f", {time.monotonic() - start:.0f} s"


def _environment(run: Run, wheel: Path) -> Path:
    """A new virtual environment with the wheel and what the tests need; its interpreter.

    pip runs from the environment of this script: Debian's interpreters carry none.
    """
    home = FOLDER / f"venv-{run.version}"
    shutil.rmtree(home, ignore_errors=True)
    _call([str(run.interpreter), "-m", "venv", "--without-pip", str(home)], "no virtual environment")
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "install"]
    # Nothing is compiled: it takes longer than the tests, and fails for reasons that are not firehot's.
    pip += ["--only-binary", ":all:"]
    group = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["dependency-groups"]["test"]
    group.insert(0, "pip")
    if subprocess.run([*pip, str(wheel), *group], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE).returncode != 0:
        needed = [package for package in group if _name(package) in NEEDED]
        _call([*pip, str(wheel), *needed], "the wheel or pytest can't be installed")
        for package in group:
            if subprocess.run([*pip, package], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE).returncode != 0:
                run.left_out.append(_name(package))
    return python


def _name(requirement: str) -> str:
    return requirement.partition(">")[0].strip()


def _copy(work: Path) -> None:
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, work / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, work / name)
    shutil.copy(ROOT / "pyproject.toml", work / "pyproject.toml")


def _test(python: Path, work: Path, pytest_arguments: list[str]) -> str:
    where = "import firehot._core, sys; print(*sys.version_info[:2]); print(firehot._core.__file__)"
    printed = subprocess.run(
        [str(python), "-c", where], cwd=work, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )
    if printed.returncode != 0:
        raise Failed("failed: firehot can't be imported")
    version, core = printed.stdout.splitlines()
    if not Path(core).is_relative_to(python.parent.parent):
        raise Failed(f"failed: {core} is imported, not the wheel's module")
    strict = STRICT if tuple(map(int, version.split())) >= STRICT_FROM else []
    report = work / "report.xml"
    command = [*strict, "-m", "pytest", "-W", "error", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run([str(python), *command, *pytest_arguments], cwd=work, stdin=subprocess.DEVNULL)
    result = _counts(report)
    if done.returncode != 0:
        raise Failed(f"{result} (pytest ended with {done.returncode})")
    return result


def _counts(report: Path) -> str:
    """What pytest's own report says."""
    if not report.exists():
        return "failed: pytest wrote no report"
    suite = ElementTree.parse(report).find("testsuite")
    if suite is None:
        return "failed: pytest's report is empty"
    tests, failures, errors, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped"))
    failed = failures + errors
    return f"{tests - failed - skipped} passed, {failed} failed, {skipped} skipped"


def _call(command: list[str], otherwise: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise Failed(f"failed: {otherwise}: {lines[-1]}")


if __name__ == "__main__":
    # A foreign PYTHONPATH would put other packages before the environment's own.
    for variable in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
        os.environ.pop(variable, None)
    sys.exit(main())
