"""What an order costs."""

from __future__ import annotations

from demopackage.orders import Order
from demopackage.settings import Settings
from external_package import PriceList


def total(order: Order, settings: Settings) -> int:
    """Return the price of an order in cents, less the discount."""
    prices = PriceList()
    full = sum(prices.price_of(line.product, line.count) for line in order.lines)
    return full * (100 - settings.discount_percent) // 100
