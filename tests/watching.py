"""Reads what watches tell, for the tests of them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from support import DEADLINE, Project

from firehot import Watch


def names(project: Project, paths: tuple[Path, ...]) -> list[str]:
    return [str(path.relative_to(project.root).relative_to(project.name)) for path in paths]


def told(project: Project, watch: Watch) -> dict[str, list[str]]:
    """The next set, by names in the package; what is empty is left out."""
    changes = watch.wait(DEADLINE)
    assert changes is not None
    assert len(changes) == len(changes.paths) > 0
    kinds = {"added": changes.added, "changed": changes.changed, "removed": changes.removed}
    return {kind: names(project, paths) for kind, paths in kinds.items() if paths}


def expect(project: Project, watch: Watch, expected: dict[str, list[str]]) -> None:
    """Waits for these changes; a machine that is busy may cut a burst in two."""
    states: dict[str, tuple[bool, bool]] = {}
    seen: dict[str, list[str]] = {}
    while seen != expected:
        try:
            changes = watch.wait(DEADLINE)
        except TimeoutError:
            raise AssertionError(f"{seen} instead of {expected}") from None
        assert changes is not None
        sets = {(False, True): changes.added, (True, True): changes.changed, (True, False): changes.removed}
        for (before, after), paths in sets.items():
            for name in names(project, paths):
                states[name] = (states.get(name, (before, after))[0], after)
        kinds = {"added": (False, True), "changed": (True, True), "removed": (True, False)}
        found = {kind: sorted(name for name in states if states[name] == wanted) for kind, wanted in kinds.items()}
        seen = {kind: paths for kind, paths in found.items() if paths}


def nothing_but(project: Project, watch: Watch, act: Callable[[], object]) -> None:
    """Does something that is no change, and then one: only that is told."""
    act()
    is_new = not (project.package / "marker.txt").exists()
    project.write("marker.txt", str(time.monotonic_ns()))
    expect(project, watch, {"added" if is_new else "changed": ["marker.txt"]})


def git(project: Project, *arguments: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", *arguments]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(command, cwd=project.root, check=True, env=environment, stdout=subprocess.DEVNULL)
