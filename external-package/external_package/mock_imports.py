"""The slow part of the import: a loop of steps, each of which is told on stderr."""

import sys
import time

STEP_SECONDS = 0.5

_STEPS: tuple[tuple[str, dict[str, int]], ...] = (
    ("bakery", {"bread": 320, "croissant": 140}),
    ("dairy", {"butter": 275, "milk": 119}),
    ("fruit", {"apple": 45, "melon": 390}),
    ("vegetables", {"leek": 95, "potato": 30}),
    ("spices", {"pepper": 410, "salt": 85}),
    ("drinks", {"coffee": 780, "tea": 510}),
    ("household", {"candle": 220, "soap": 165}),
    ("stationery", {"notebook": 450, "pencil": 60}),
)


def _load() -> dict[str, int]:
    prices: dict[str, int] = {}
    for number, (department, products) in enumerate(_STEPS, start=1):
        # Not on stdout: that belongs to the program that imports this.
        progress = f"external_package: step {number} of {len(_STEPS)}: prices of {department}"
        print(progress, file=sys.stderr, flush=True)
        time.sleep(STEP_SECONDS)
        prices.update(products)
    return prices


PRICES = _load()
"""Product to price, in cents."""
