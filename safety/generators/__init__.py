"""Sources of random numbers that children of one template must not share."""

from __future__ import annotations

from safety.generators import identifiers, numbers  # noqa: F401
from safety.generators.base import GENERATORS, Generator

__all__ = ["GENERATORS", "Generator"]
