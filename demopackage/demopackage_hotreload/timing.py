"""Measures, and shows the medians as a table against a cold start."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def timed(action: Callable[[], T]) -> tuple[T, float]:
    """Return what the action returns, and the seconds that it took."""
    started = time.perf_counter()
    result = action()
    return result, time.perf_counter() - started


def spoken(seconds: float) -> str:
    """Write a duration with three digits and a unit."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


def times(ratio: float) -> str:
    """Write a ratio, with one decimal while that tells something."""
    return f"{ratio:,.0f} x" if ratio >= 10 else f"{ratio:.1f} x"


def run_cold(function: str, path: Path) -> str:
    """Run a function of `calls` in a fresh interpreter, as a developer would without firehot."""
    code = f"from demopackage_hotreload.calls import {function}; print({function}())"
    finished = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return finished.stdout.rstrip("\n")


@dataclass
class Table:
    """Seconds by name, in the order in which the names appeared."""

    cold: list[float] = field(default_factory=list)
    rows: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, seconds: float) -> None:
        self.rows.setdefault(name, []).append(seconds)

    def lines(self) -> list[str]:
        """The medians, and how many times longer the median cold start takes."""
        cold = statistics.median(self.cold)
        lines = [f"{'':<28}{'firehot':>10}{'cold start':>14}{'ratio':>11}"]
        for name, seconds in self.rows.items():
            middle = statistics.median(seconds)
            lines.append(f"{name:<28}{spoken(middle):>10}{spoken(cold):>14}{times(cold / middle):>11}")
        counts = sorted({len(seconds) for seconds in [self.cold, *self.rows.values()]})
        lines.append(f"medians of {' or '.join(map(str, counts))} measurements")
        return lines
