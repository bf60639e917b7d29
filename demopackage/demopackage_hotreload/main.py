"""The command `test-hotreload`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from demopackage_hotreload import application, real
from demopackage_hotreload.screen import ClaimError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="test-hotreload", description=__doc__)
    parser.add_argument(
        "--runs",
        type=int,
        choices=range(1, 6),
        default=3,
        help="how often slow things are measured; fast ones are measured five times as often",
    )
    parser.add_argument("--only", choices=("demopackage", "datasette"), help="show one part only")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.only != "datasette":
            application.show(chosen.runs)
        if chosen.only != "demopackage":
            real.show(chosen.runs)
    except ClaimError as error:
        print(f"test-hotreload: this does not hold: {error}", file=sys.stderr)
        return 1
    return 0
