"""What users of the package call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from external_package.mock_imports import PRICES


class UnknownProductError(LookupError):
    """A product that the list has no price for."""


@dataclass(frozen=True)
class PriceList:
    """Prices in cents, by product."""

    prices: Mapping[str, int] = field(default_factory=lambda: PRICES)

    def price_of(self, product: str, count: int = 1) -> int:
        """Return the price in cents of a number of pieces."""
        try:
            return self.prices[product] * count
        except KeyError:
            raise UnknownProductError(f"no price for {product!r}") from None
