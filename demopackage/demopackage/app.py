"""The application: prices the open orders and reports them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from demopackage import settings
from demopackage.orders import Order, Orders
from demopackage.pricing import total
from demopackage.reports import text, web


def priced() -> list[tuple[Order, int]]:
    chosen = settings.load(Path("demopackage.toml"))
    return [(order, total(order, chosen)) for order in Orders()]


def report(*, as_page: bool = False) -> str:
    return web.render(priced()) if as_page else text.render(priced())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="demopackage", description="Report the open orders.")
    parser.add_argument("--html", action="store_true", help="as a page")
    print(report(as_page=parser.parse_args(arguments).html))
    return 0
