"""The table, as Markdown, as JSON and for the terminal. Row groups that were not measured keep their last figures."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from benches import chart, environments
from benches.environments import ROOT
from benches.rows import GROUPS
from benches.runner.statistics import Spread
from benches.runner.table import Row
from benches.stacks import OLD, RUST, STACKS

PAGE = ROOT / "docs" / "benchmarks.md"
FACTS = ROOT / "docs" / "benchmarks.json"
CHART = ROOT / "docs" / "benchmarks.svg"
SCALES = {"ms": 1e3, "us": 1e6, "s": 1.0, "MB": 1.0 / (1 << 20)}
_COLUMNS = (
    "subject",
    "what",
    "against",
    "ratio",
    "middle half",
    "of the least",
    "target",
    "firehot",
    "rival",
    "rounds",
)
_HEAD = f"| {' | '.join(_COLUMNS)} |\n{'|---' * len(_COLUMNS)}|"

_PAGE = """# Benchmarks

Written by `make bench`. Firehot and its rivals measure in turns, in one run on one machine, in an order that differs
from round to round, with 20 ms of idleness between turns. **ratio** is the median over the rounds of firehot's figure
by the rival's in the same round: below 1 is faster, or smaller. **middle half** is where the middle half of these
ratios lies; **of the least** is firehot's least figure by the rival's, which a busy machine changes less. The columns
*firehot* and *rival* are medians, with the least value in brackets.

{machine}

![Ratios and their targets](benchmarks.svg)

The figures are in [benchmarks.json](benchmarks.json) as well, with all quartiles.

## Targets

{targets}

{groups}

## What is timed

{words}

## What was installed

{stacks}
"""

TITLES = {
    "exec": "exec to result",
    "burst": "Bursts and sequences",
    "executor": "Tasks of an executor",
    "ready": "Ready",
    "edits": "Imports added, removed, upgraded",
    "save": "Save to first result",
    "scan": "Scan",
    "memory": "Memory",
    "growth": "Growth",
    "rust": "Rust extensions",
    "command": "The command",
    "serve": "Serving",
    "isolate": "Tests in forks",
}

_WORDS = """\
- **exec to result**: from the call of `Environment.exec` to the return of `IsolatedProcess.result`, in the host, of a
  function that lies in a first-party module, imports another that imports the whole stack, and returns a small number.
  The function travels by name; the child imports the first-party modules from disk, with their bytecode. Every rival
  runs the same function of the same module.
- **bare `os.fork()`** is the limit: a process that has imported the same modules, `gc.collect()`ed and `gc.freeze()`d,
  forks itself; the child imports the first-party modules, runs the function, writes a pickle to a pipe and ends by
  `os._exit`. It is timed until the parent has the result, which is when `result` returns; *and `waitpid`* until the
  child has been waited for. Nothing is checked or reset in that child, and its output is not told apart from its
  parent's.
- **stdlib forkserver**: `multiprocessing` with `set_forkserver_preload` of the same modules, and of `__main__`, so that
  no child imports that again; from `Process(...)` to `recv`.
- **cold `python`**: `python -c` that calls the function and prints its result. In bursts, four at a time.
- **executor**: `firehot.Executor` and `ProcessPoolExecutor` with two workers each, running the same function as in
  *exec to result*; the future's `result` is waited for. *One task each* is `max_tasks_per_child=1`; *that preloads* has
  the forkserver import the stack. Processes that are *reused* have it from their first task on.
- **ready**: from the call of `isolate_imports` to the first line of the block, with what firehot knows of the packages'
  fork safety in its cache, and the bytecode of everything on disk. firehot {old} imports on after it says that it is
  ready, so it is compared by the first result.
- **edits**: a package of 40 modules, never imported before, is added to the imports of the project's module, and taken
  out again; from the call of `update_environment` to the result of the run after it. *Upgraded*: the version of an
  imported package changes; from the call of `exec`, which finds out by itself, to the result.
- **save**: from the write of a first-party module to the result of the first run of the new code, in a loop over
  `Environment.watch`. The restart is that of `uvicorn --reload`: `watchfiles.watch` with its defaults ends the process
  and starts another.
- **scan**: the sources of pandas, scikit-learn, scipy, matplotlib and numpy as one first-party package. Firehot's scan
  as it logs it itself, beside the start of the template's interpreter; ruff and deptry as whole commands, grimp in a
  running process without its cache.
- **memory**: `/proc/PID/smaps_rollup` of a child that has run the function and stays, and of the process that forked
  it.
- **growth**: a third-party module that keeps written memory; one that imports so many tiny modules; so many more files
  in the project, which no run imports.
- **the command**: whole processes, from their start to their end, with no terminal; firehot's daemon has the program's
  template. *Save to first line*: from the write of a module of the project to the line that the next run prints.
- **serving**: a FastAPI application that imports the stack, served by both at once, each from a folder of its own,
  with its value in a module beside it; uvloop, httptools and watchfiles are installed for both. *Save to new code
  served*: from the write of that module to the first answer with the new value, asked for on a new connection each
  time. *Slowest request*: eight clients, four of them on one connection each, ask from 0.1 s before the save to 0.5 s
  after that answer, and again when there was none.
- **tests in forks**: the suite that comes with the sources of a package, from the start of pytest to its end.
- **Rust** ({rust}): *the hook is loaded*: import and installation in a new interpreter. *An unrelated import, added*:
  what the hook takes to say that a module of the standard library is none of its. *Import with nothing changed*: a
  new process imports a built extension, with its package; *no hook* is the import of the same file. *Edit to result*:
  from the write of the Rust source to the result of its function, in an environment or after a reload; rustimport and
  maturin-import-hook in a new process, since that is what their users start; *cargo alone* builds a copy of the crate
  after the same edit and loads nothing."""


def merge(name: str, rows: list[Row]) -> dict[str, Any]:
    """The figures of the page, with those of one group put in."""
    before: dict[str, Any] = json.loads(FACTS.read_text()) if FACTS.exists() else {"groups": {}}
    measured = {"date": time.strftime("%Y-%m-%d"), **_machine(), "rows": [as_json(row) for row in rows]}
    groups = before["groups"] | {name: measured}
    versions = {
        stack.name: {
            name: version
            for name, version in sorted(environments.installed(environments.of_stack(stack)).items())
            if any(name == line.split("==")[0] for line in stack.requirements) or name == "firehot"
        }
        for stack in STACKS.values()
    }
    return {"groups": {name: groups[name] for name in GROUPS if name in groups}, "versions": versions}


def write(facts: Mapping[str, Any]) -> None:
    """Writes the page, its figures and its chart."""
    FACTS.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    rows = [row for group in facts["groups"].values() for row in group["rows"]]
    CHART.write_text(chart.draw(rows), "utf-8")
    page = _PAGE.format(
        machine=_machines(facts),
        targets=_targets(rows),
        groups="\n\n".join(_group(name, group["rows"]) for name, group in facts["groups"].items()),
        words=_WORDS.format(old=OLD, rust=", ".join(line.replace("==", " ") for line in RUST if "==" in line)),
        stacks=_stacks(facts["versions"]),
    )
    PAGE.write_text(page, "utf-8")


def terminal(rows: Iterable[Row]) -> str:
    """The rows in aligned columns."""
    cells = [["", "what", "against", "ratio", "middle half", "least", "target", "firehot", "rival", "n"]]
    for row in rows:
        cells += [[cell.replace("**", "").replace("`", "") for cell in line] for line in _lines(as_json(row))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def target(against: Mapping[str, Any]) -> str:
    """The target and by how much it is missed."""
    if against["target"] is None:
        return ""
    over = against["ratio"]["median"] / against["target"] - 1
    return f"{against['target']:g} met" if over <= 0 else f"{against['target']:g} missed by {over:.0%}"


def as_json(row: Row) -> dict[str, Any]:
    """As the file of figures holds it."""
    return asdict(row)


def _group(name: str, rows: list[dict[str, Any]]) -> str:
    lines = [f"## {TITLES[name]}", "", _HEAD]
    lines += [f"| {' | '.join(line)} |" for row in rows for line in _lines(row)]
    notes = [f"- {row['subject']}, {row['what']}: {row['note']}." for row in rows if row["note"]]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _lines(row: Mapping[str, Any]) -> list[list[str]]:
    start = [row["subject"], row["what"]]
    if not row["against"]:
        return [[*start, "", "", "", "", "", _amount(row["ours"], row["unit"]), "", str(row["ours"]["count"])]]
    return [
        [
            *start,
            against["rival"],
            f"**{_ratio(against['ratio']['median'])}**",
            f"{_ratio(against['ratio']['low'])} to {_ratio(against['ratio']['high'])}",
            _ratio(row["ours"]["least"] / against["theirs"]["least"]),
            target(against),
            _amount(row["ours"], row["unit"]),
            _amount(against["theirs"], row["unit"]),
            str(against["ratio"]["count"]),
        ]
        for against in row["against"]
    ]


def _targets(rows: Iterable[Mapping[str, Any]]) -> str:
    lines = ["| target | subject | measured | |", "|---|---|---|---|"]
    for row in rows:
        for against in row["against"]:
            if against["target"] is not None:
                promise = f"{row['what']}: at most {against['target']:g} of {against['rival']}"
                state = target(against).partition(" ")[2]
                measured = _ratio(against["ratio"]["median"])
                lines.append(f"| {promise} | {row['subject']} | **{measured}** | {state} |")
    return "\n".join(lines)


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}" if value >= 0.01 else f"{value:.4f}"


def _amount(spread: Mapping[str, Any] | Spread, unit: str) -> str:
    found = asdict(spread) if isinstance(spread, Spread) else spread
    median, least = found["median"] * SCALES[unit], found["least"] * SCALES[unit]
    return f"{_number(median)} {unit} ({_number(least)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _machine() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


def _machines(facts: Mapping[str, Any]) -> str:
    groups: dict[str, list[str]] = {}
    for name, group in facts["groups"].items():
        said = (
            f"CPython {group['python']}, {group['system']}, {group['machine']}, {group['cores']} cores, {group['date']}"
        )
        groups.setdefault(said, []).append(name)
    if len(groups) == 1:
        return f"{next(iter(groups))}."
    return "\n".join(f"- {', '.join(names)}: {said}" for said, names in groups.items())


def _stacks(versions: Mapping[str, Mapping[str, str]]) -> str:
    lines = []
    for name, found in versions.items():
        packages = ", ".join(f"{package} {version}" for package, version in found.items())
        modules = STACKS[name].modules
        lines.append(f"- `{name}`: {packages}; the project imports {len(modules) or 'no'} of their modules")
    return "\n".join(lines)
