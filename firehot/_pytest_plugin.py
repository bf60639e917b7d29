"""The plug-in of pytest: its options. What they ask for is loaded when they are given; see `_isolate`.

PYTEST_DONT_REWRITE: pytest loads this in every run of everybody who has firehot installed.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pytest

_UNITS = ("test", "class", "module")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("firehot", "tests in processes of their own (firehot)")
    # An option whose value may be left out would take the file behind it for its value; these are four plain ones.
    group.addoption(
        "--firehot-isolate",
        dest="firehot_isolate",
        action="store_const",
        const="test",
        default=None,
        help="run each test in a fork of this process; =class or =module: each class or module. Fixtures of wider "
        "scope are set up once and inherited.",
    )
    for unit in _UNITS:
        group.addoption(
            f"--firehot-isolate={unit}",
            dest="firehot_isolate",
            action="store_const",
            const=unit,
            help=f"fork for each {unit}",
        )
    group.addoption(
        "--firehot-jobs",
        dest="firehot_jobs",
        type=_jobs,
        default=None,
        metavar="N",
        help="run up to N forks at the same time (auto: as many as there are cores); default: 1. Implies "
        "--firehot-isolate.",
    )


def _jobs(text: str) -> int:
    if text == "auto":
        import os

        usable = getattr(os, "sched_getaffinity", None)
        return len(usable(0)) if usable is not None else os.cpu_count() or 1
    if text.isdecimal() and int(text) > 0:
        return int(text)
    from argparse import ArgumentTypeError

    raise ArgumentTypeError(f"{text!r} is neither a number from 1 on nor auto")


def pytest_configure(config: pytest.Config) -> None:
    """Loads what the options ask for."""
    options = config.option
    if options.firehot_isolate is None and options.firehot_jobs is None:
        return
    from firehot import _isolate

    _isolate.enable(config, options.firehot_isolate or "test", options.firehot_jobs or 1)
