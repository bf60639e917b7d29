"""The report as plain text."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from ..orders import Order

TITLE = "Open orders"


def render(rows: Sequence[tuple[Order, int]]) -> str:
    lines = [TITLE]
    for order, cents in rows:
        lines.append(f"  {order.number:>3}  {order.customer:<10} {cents / 100:>8.2f}")
    middle = statistics.median(cents for _, cents in rows)
    lines.append(f"  the middle one costs {middle / 100:.2f}")
    return "\n".join(lines)
