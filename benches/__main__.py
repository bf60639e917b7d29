"""Measures firehot against what its users could pick instead, and writes docs/benchmarks.md.

    make bench                              # everything, about a quarter of an hour
    make bench ROWS="exec ready" QUICK=1    # some row groups, three rounds of each

It needs the wheel that `make bench` builds, and makes its environments in `.venv-bench`.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from benches import report
from benches.bench import Bench, say
from benches.rows import GROUPS
from benches.stacks import STACKS


def main() -> None:
    options = _options()
    if options.cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in options.cpus.split(",")})
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="firehot-bench-") as folder:
        stacks = tuple(STACKS[name] for name in options.stacks)
        bench = Bench(Path(folder), options.quick, stacks)
        for name in options.rows:
            began = time.monotonic()
            rows = GROUPS[name](bench)
            print(report.terminal(rows), flush=True)
            say(f"{name}: {time.monotonic() - began:.0f} s")
            if rows and not options.print:
                # After each group, so that whoever interrupts the rest keeps it.
                report.write(report.merge(name, rows))
    say(f"all: {time.monotonic() - start:.0f} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benches", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROWS", help=f"row groups: {', '.join(GROUPS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="three rounds of everything; docs/ stays as it is")
    parser.add_argument("--print", action="store_true", help="print the table and leave docs/ as it is")
    parser.add_argument("--stacks", nargs="+", choices=[*STACKS], default=[*STACKS], help="all by default")
    parser.add_argument("--cpus", help='the processors to use, as in "0,1" (Linux)')
    options = parser.parse_args()
    if unknown := [name for name in options.rows if name not in GROUPS]:
        parser.error(f"there is no row group {unknown[0]!r}: {', '.join(GROUPS)}")
    options.rows = options.rows or [*GROUPS]
    # A few figures are for the one who waits for them, not for the page.
    options.print = options.print or options.quick or options.stacks != [*STACKS]
    return options


if __name__ == "__main__":
    main()
