"""Orders: what they are, and where they are kept."""

from .model import Line, Order
from .storage import Orders

__all__ = ["Line", "Order", "Orders"]
