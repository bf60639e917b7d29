"""Exchange rates: a part that the package itself doesn't import, half a second slow."""

import sys
import time

print("external_package: exchange rates", file=sys.stderr, flush=True)
time.sleep(0.5)

RATES = {"EUR": 1.0, "GBP": 0.86, "SEK": 11.2, "USD": 1.09}
"""Currency to units for one euro."""


def convert(cents: int, currency: str) -> int:
    """Convert an amount in euro cents to the currency's hundredths."""
    return round(cents * RATES[currency])
