"""A price list that takes four seconds to import, as packages that load large tables do."""

from external_package.mock_imports import PRICES
from external_package.prices import PriceList, UnknownProductError

__all__ = ["PRICES", "PriceList", "UnknownProductError"]
