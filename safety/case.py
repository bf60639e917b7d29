"""One case in a process of its own, so that a hang or a crash is this process's alone: `python -m safety.case`.

usage: case.py run NAME OUT | cold NAME OUT | together ENVIRONMENT OUT [NAME...] | random ENVIRONMENT OUT

OUT is the file that takes the JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from safety import randomness, trial
from safety.recipes import RECIPES


def cold(name: str) -> dict[str, Any]:
    """The same imports and the same work without firehot."""
    recipe = RECIPES[name]
    result: dict[str, Any] = {}
    with trial.prepared([recipe]) as (collector, _):
        start = time.monotonic()
        for module in recipe.modules:
            importlib.import_module(module)
        result["imports"] = time.monotonic() - start
        result["threads"] = trial.thread_names(os.getpid()) if os.path.isdir("/proc") else None
        if recipe.delivers and result["threads"]:
            # The collector's server is not the package's; it has the name of the program, as the main thread has.
            result["threads"].remove(thread_of_program())
        start = time.monotonic()
        try:
            result["value"] = recipe.work()
        except Exception as error:
            result["error"] = trial.describe(error)
        result["work"] = time.monotonic() - start
        del collector
    return result


def thread_of_program() -> str:
    """What the kernel calls a thread that nobody has named."""
    return Path("/proc/self/comm").read_text("utf-8").strip()


def together(environment: str, names: list[str]) -> dict[str, Any]:
    """One template with every package of an environment."""
    recipes = [
        recipe
        for recipe in RECIPES.values()
        if recipe.environment == environment and not recipe.alone and (not names or recipe.name in names)
    ]
    whole, trials = trial.try_together(recipes)
    # Hundreds of names; those of single recipes are enough.
    whole.verdicts = {}
    return {"template": whole.as_dict(), "trials": [one.as_dict() for one in trials]}


def main() -> None:
    """Does what the arguments say."""
    kind, name, out, *names = sys.argv[1:]
    if kind == "run":
        found: Any = trial.try_recipe(RECIPES[name]).as_dict()
    elif kind == "cold":
        found = cold(name)
    elif kind == "together":
        found = together(name, names)
    elif kind == "random":
        found = {"rows": randomness.compare([one for one in randomness.GENERATORS.values() if one.environment == name])}
    else:
        raise SystemExit(__doc__)
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
