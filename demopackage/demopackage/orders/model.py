"""What an order is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    # Only type checkers have this module: importing it at run time fails.
    from _typeshed import SupportsRichComparison

    Key = TypeVar("Key", bound=SupportsRichComparison)


@dataclass(frozen=True)
class Line:
    product: str
    count: int


@dataclass(frozen=True)
class Order:
    number: int
    customer: str
    lines: tuple[Line, ...]

    def sort_key(self) -> SupportsRichComparison:
        return (self.customer, self.number)
