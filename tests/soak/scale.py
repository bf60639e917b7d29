"""How much of the full counts this run does; the only place that reads it."""

from __future__ import annotations

import os
import random

SCALE = float(os.environ.get("FIREHOT_SOAK") or 0.01)
"""1 is the full count (`make soak`); a hundredth is what `make test` runs."""
SEED = int(os.environ.get("FIREHOT_SOAK_SEED") or random.SystemRandom().randrange(1 << 32))
"""What the random moments come from; printed by a failing test, and with the figures."""


def times(full: int, least: int = 3) -> int:
    """That part of a full count, but no fewer than `least`."""
    return max(least, round(full * SCALE))
