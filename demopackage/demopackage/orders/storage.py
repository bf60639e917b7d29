"""Where orders are kept: here, as lines of JSON."""

from __future__ import annotations

from collections.abc import Iterator

from demopackage.errors import OrderNotFoundError

from .model import Line, Order

try:
    # Faster, if it happens to be installed.
    import simplejson as json
except ImportError:
    import json

_RECORDS = """\
{"number": 7, "customer": "Okafor", "lines": {"bread": 2, "butter": 1, "coffee": 1}}
{"number": 3, "customer": "Lindqvist", "lines": {"potato": 20, "leek": 3}}
{"number": 12, "customer": "Moreau", "lines": {"notebook": 5, "pencil": 12, "candle": 1}}
"""


class Orders:
    """The open orders, by customer."""

    def __init__(self) -> None:
        self._orders = sorted(map(_parse, _RECORDS.splitlines()), key=Order.sort_key)

    def __iter__(self) -> Iterator[Order]:
        return iter(self._orders)

    def get(self, number: int) -> Order:
        for order in self:
            if order.number == number:
                return order
        raise OrderNotFoundError(number)


def _parse(record: str) -> Order:
    fields = json.loads(record)
    lines = tuple(Line(product, count) for product, count in fields["lines"].items())
    return Order(fields["number"], fields["customer"], lines)
