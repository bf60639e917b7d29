"""The recipes, one function for each package; a file holds those that do the same kind of work."""

from __future__ import annotations

from safety.recipe import RECIPES
from safety.recipes import (  # noqa: F401
    arrays,
    clients,
    databases,
    frames,
    greenlets,
    jobs,
    learning,
    models,
    servers,
    telemetry,
    text,
    tools,
    torch,
)

__all__ = ["RECIPES"]
