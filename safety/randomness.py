"""Whether random numbers differ between the children of one template, and whether a seed that a child sets counts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from safety.generators import GENERATORS, Generator
from safety.recipe import Recipe
from safety.trial import Run, opened, run_children

__all__ = ["GENERATORS", "compare"]


def compare(generators: Sequence[Generator]) -> list[dict[str, Any]]:
    """Four draws of each generator, two after one another and two at once, and two draws after the same seed."""
    modules = tuple(dict.fromkeys(module for one in generators for module in one.modules))
    quiet = {"DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false", "DD_REMOTE_CONFIGURATION_ENABLED": "false"}
    recipe = Recipe("random", "", (), modules, lambda: None, variables=quiet)
    rows = []
    with opened([recipe]) as (env, _):
        left_out = [name for name in modules if name in env.skipped]
        for one in generators:
            draws: list[Run] = []
            for count in (1, 1, 2):
                draws += run_children(env, [one.draw] * count)
            seeded = run_children(env, [one.seeded] * 2) if one.seeded else []
            values = [json.dumps(run.value) for run in draws]
            row: dict[str, Any] = {"name": one.name, "preloaded": not set(left_out) & set(one.modules)}
            row["differ"] = _pieces_differ([run.value for run in draws])
            row["errors"] = sorted({run.error for run in (*draws, *seeded) if run.error})
            row["seed_wins"] = None
            if seeded:
                cold = [_cold(one)]
                row["seed_wins"] = len({json.dumps(run.value) for run in seeded} | set(cold)) == 1
            row["sample"] = values[:2]
            rows.append(row)
    return rows


def _pieces_differ(values: list[Any]) -> bool:
    """Whether no two children drew the same, in any of several numbers."""
    rows = [value if isinstance(value, list) else [value] for value in values]
    return all(len({json.dumps(piece) for piece in pieces}) == len(rows) for pieces in zip(*rows, strict=True))


def _cold(one: Generator) -> str:
    code = (
        "import json, sys; from safety.randomness import GENERATORS\n"
        f"print(json.dumps(GENERATORS[{one.name!r}].seeded()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    return done.stdout.strip().rpartition("\n")[2]
