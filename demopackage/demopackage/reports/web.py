"""The report as a page."""

from __future__ import annotations

from collections.abc import Sequence

from ..orders import Order


def render(rows: Sequence[tuple[Order, int]]) -> str:
    # Wanted only here, by few runs.
    import html
    from string import Template

    row = Template("<tr><td>$number<td>$customer<td>$cents")
    cells = (
        row.substitute(number=order.number, customer=html.escape(order.customer), cents=cents) for order, cents in rows
    )
    return "<table>" + "".join(cells) + "</table>"
