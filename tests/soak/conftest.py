"""For the soak alone: time for large counts, random moments that can be repeated, and figures."""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from pathlib import Path

import pytest
from figures import Figures, write_between_marks
from scale import SCALE, SEED

HERE = Path(__file__).parent
_GATHERED = Figures()
_TIMEOUT = 120.0
_FULL_TIMEOUT = 3600.0

Measure = Callable[[str, int], AbstractContextManager[list[str]]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    limit = max(_TIMEOUT, _FULL_TIMEOUT * SCALE)
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.timeout(limit))


@pytest.fixture
def moments() -> random.Random:
    """Random moments; FIREHOT_SOAK_SEED repeats them."""
    print(f"FIREHOT_SOAK_SEED={SEED}")
    return random.Random(SEED)


@pytest.fixture
def measure() -> Measure:
    """Times a block for the table; what it appends to the list is the outcome."""

    @contextmanager
    def block(what: str, count: int) -> Iterator[list[str]]:
        outcome: list[str] = []
        started = time.monotonic()
        yield outcome
        _GATHERED.add(what, count, time.monotonic() - started, "; ".join(outcome) or "as expected")

    return block


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    if not _GATHERED.lines or "FIREHOT_SOAK" not in os.environ:
        return
    python = platform.python_version()
    where = f"CPython {python} on {platform.system()}, {os.cpu_count()} cores, {date.today():%d %B %Y}"
    text = f"{where}; seed {SEED}:\n\n{_GATHERED.table()}"
    terminalreporter.section("figures of the soak")
    terminalreporter.write_line(text)
    page = os.environ.get("FIREHOT_SOAK_PAGE")
    if page and exitstatus == 0 and SCALE >= 1:
        write_between_marks(Path(page), text)
        terminalreporter.write_line(f"\nwritten to {page}")
