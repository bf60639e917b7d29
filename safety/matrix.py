"""Runs the package matrix and writes its tables into docs/safety.md.

    make safety                     # or: python -m safety.matrix [--only NAME...] [--table]

Needs pip 25.1 or later beside this interpreter. Each case runs in a process of its own under a watchdog, so a package
that hangs or crashes costs its own row only.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safety import environments, report
from safety.environments import ROOT, Prepared
from safety.recipe import Recipe
from safety.recipes import RECIPES

PAGE = ROOT / "docs" / "safety.md"
FACTS = ROOT / "docs" / "safety.json"
_CASE = 400.0
_TOGETHER = 1500.0
# No proxy is asked for an address on loopback.
_LOOPBACK = {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}


def run_case(prepared: Prepared, *arguments: str, limit: float = _CASE) -> dict[str, Any]:
    """Runs `safety.case`; what it found, or `{"problem": why there is nothing}`."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.json")
        log = Path(folder, "log")
        kind, name, *more = arguments
        command = [prepared.python, "-m", "safety.case", kind, name, str(out), *more]
        environment = {**os.environ, **_LOOPBACK, **prepared.variables}
        # Verdicts are found anew; the fonts that matplotlib has found need not be.
        environment["XDG_CACHE_HOME"] = str(Path(folder, "cache"))
        environment["MPLCONFIGDIR"] = str(environments.FOLDER / "matplotlib")
        environment.pop("VIRTUAL_ENV", None)
        start = time.monotonic()
        with log.open("wb") as said:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
            try:
                code = process.wait(limit)
                how = f"the {kind} case ended with {code}"
            except subprocess.TimeoutExpired:
                code = None
                how = f"the {kind} case took longer than {limit:g} s"
            finally:
                left = session_members(process.pid)
                _kill_session(process)
        text = log.read_text("utf-8", "replace").strip()
        found: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
        if code != 0:
            found["problem"] = how + (f": {text.splitlines()[-1][:300]}" if text else "")
        found["left"] = left
        found["seconds"] = round(time.monotonic() - start, 1)
        return found


def session_members(leader: int) -> list[str]:
    """Command lines of the processes of a session but for its leader."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            if fields[3] == str(leader) and entry.name != str(leader) and fields[0] != "Z":
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
                found.append(command[:120].strip())
    return found


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """The case, its template and its children are one session; some packages leave processes of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def try_all(recipes: Sequence[Recipe], facts: dict[str, Any], *, extras: bool) -> None:
    """Tries each recipe, and what concerns all of an environment; notes it in `facts` and saves after each."""
    for name in dict.fromkeys(recipe.environment for recipe in recipes):
        mine = [recipe for recipe in recipes if recipe.environment == name]
        distributions = [
            line for recipe in RECIPES.values() if recipe.environment == name for line in recipe.distributions
        ]
        prepared = environments.prepare(name, distributions)
        if not prepared.python:
            for recipe in mine:
                facts["recipes"][recipe.name] = {"untried": prepared.reason}
            continue
        versions = environments.versions(prepared)
        for recipe in mine:
            facts["recipes"][recipe.name] = try_one(recipe, prepared, versions)
            save(facts)
        if extras:
            facts.setdefault("random", {})[name] = run_case(prepared, "random", name)
            if name != "torch":
                facts.setdefault("together", {})[name] = run_case(prepared, "together", name, limit=_TOGETHER)
            save(facts)


def try_one(recipe: Recipe, prepared: Prepared, versions: dict[str, str]) -> dict[str, Any]:
    """A recipe's row: cold, and in children of a template."""
    for line in recipe.distributions:
        if line in prepared.untried:
            return {"untried": prepared.untried[line]}
    cold = run_case(prepared, "cold", recipe.name)
    found = run_case(prepared, "run", recipe.name)
    row: dict[str, Any] = {key: found.get(key) for key in ("threads", "left_out", "verdicts", "runs") if key in found}
    tops = {module.partition(".")[0] for module in recipe.modules}
    verdicts = row.get("verdicts", {})
    row["verdicts"] = {name: text for name, text in verdicts.items() if name in tops or text.startswith("left out")}
    row["cold"] = cold
    row["modules"] = list(recipe.modules)
    row["distribution"] = _distribution(recipe)
    row["version"] = versions.get(row["distribution"], "")
    row["python"] = versions["python"]
    row["problems"] = [part["problem"] for part in (cold, found) if "problem" in part]
    if len(found["left"]) > len(cold["left"]):
        row["problems"].append(f"processes left behind: {', '.join(found['left'])}")
    print(f"{recipe.name}: {'; '.join(report.problems(row)) or 'ok'}", flush=True)
    return row


def _distribution(recipe: Recipe) -> str:
    first = recipe.distributions[0] if recipe.distributions else recipe.name
    return re.split(r"[^\w.-]", first)[0].lower().replace("_", "-")


def save(facts: dict[str, Any]) -> None:
    """Writes the facts, in the order of the recipes, and the page."""
    facts["recipes"] = {name: facts["recipes"][name] for name in RECIPES if name in facts["recipes"]}
    facts.update(
        date=time.strftime("%Y-%m-%d"),
        python=platform.python_version(),
        kernel=platform.release().split("-")[0],
        cores=os.cpu_count(),
    )
    FACTS.write_text(_text(facts), "utf-8")
    report.write(PAGE, facts)


def _text(facts: dict[str, Any]) -> str:
    """JSON with a line for each entry, so that two runs can be compared."""
    parts = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in value.items())
            parts.append(f" {json.dumps(key)}: {{\n{lines}\n }}")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="try these only; the other rows stay as they are")
    parser.add_argument("--extras", action="store_true", help="with --only: the random numbers and all together, too")
    parser.add_argument("--table", action="store_true", help="write the tables from docs/safety.json; run nothing")
    options = parser.parse_args()
    facts: dict[str, Any] = json.loads(FACTS.read_text("utf-8")) if FACTS.exists() else {"recipes": {}}
    if options.table:
        report.write(PAGE, facts)
        return
    unknown = set(options.only or ()) - set(RECIPES)
    if unknown:
        parser.error(f"no recipe {', '.join(sorted(unknown))}; there are: {', '.join(RECIPES)}")
    if not options.only:
        facts = {"recipes": {}}
    try_all([RECIPES[name] for name in options.only or RECIPES], facts, extras=options.extras or not options.only)
    bad = report.failures(facts)
    sys.exit(f"not as they should be: {', '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    main()
