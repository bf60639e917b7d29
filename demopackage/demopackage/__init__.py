"""A small application: a shop's open orders, priced and reported."""

__version__ = "1.0.0"
