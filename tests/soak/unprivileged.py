"""Runs a script as a user who has limits. Root passes `ulimit -u` and every read-only folder."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

SOMEBODY = 65534 + 1021
"""A user of no account, so that no other process counts against its limits."""


def command(folder: Path) -> list[str]:
    """What to put before a command so that it runs unprivileged, with write access to `folder` and below.

    As root on Linux: as somebody else, who may read what root may, since the interpreter can lie in root's home. As
    anybody else: nothing.
    """
    if os.getuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if sys.platform != "linux" or setpriv is None:
        pytest.skip("root passes these limits, and there is no setpriv (util-linux) to become somebody else")
    for place in (folder, *folder.rglob("*")):
        os.chown(place, SOMEBODY, SOMEBODY)
    identity = [f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups"]
    reading = [
        "--bounding-set=-all,+dac_read_search",
        "--inh-caps=-all,+dac_read_search",
        "--ambient-caps=+dac_read_search",
    ]
    return [setpriv, *identity, *reading]


def tasks_of(user: int) -> int:
    """How many threads this user runs: what `ulimit -u` counts."""
    count = 0
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if entry.stat().st_uid == user:
                count += len(os.listdir(entry / "task"))
        except OSError:
            continue
    return count
