"""No write that was finished before an exec is missed by its check, however it was made."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import stampwork
from conftest import Measure
from scale import times
from support import Project


def test_no_write_that_was_finished_before_an_exec_is_missed(
    project: Project, tmp_path: Path, moments: random.Random, measure: Measure
) -> None:
    tries = times(10_000)
    project.write("app.py", f"import {', '.join(stampwork.MODULES)}\n")
    modules = stampwork.Modules(project.site, tmp_path / "aside", moments)
    ways: Counter[str] = Counter()
    missed = []
    try:
        counted = measure("writes in 11 ways, each followed by a run", tries)
        with counted as outcome, project.open(learn=False) as environment:
            template, values = environment.run(stampwork.look)
            assert values == modules.values
            for _ in range(tries):
                way = modules.change()
                before = template
                template, values = environment.run(stampwork.look)
                ways[way] += 1
                if template == before or values != modules.values:
                    missed.append((way, template == before, values, dict(modules.values)))
            outcome.append(f"{tries - len(missed):,} had a new template")
    finally:
        modules.close()
    assert not missed, (len(missed), missed[:5], ways)
