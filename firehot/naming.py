"""Names for processes that people can tell apart: an adjective and a noun."""

from __future__ import annotations

import random
import threading

__all__ = ["NAME_REGISTRY", "NameRegistry"]

_ADJECTIVE_WORDS = """
    amber ample apt bold brisk calm candid chilly civil clear cosy crisp curly deft dewy dusty early even
    faint fair fleet fond fresh frosty gentle glad grand hardy hazy honest humble icy keen kind late level
    light lively loyal lucid mellow merry mild misty modest neat nimble patient placid plain polite prime
    proud pure quaint quick quiet rapid ready rosy rustic sandy shy silent silky simple sleek slim smooth snug
    sober soft solid spry stable steady still sturdy subtle sunny sure swift tame tidy tiny trim true upbeat
    vast vivid warm wary wise witty young zippy
"""
_NOUN_WORDS = """
    alder anchor aspen badger barley basin beacon birch bison brook candle canoe cedar clover comet copper
    coral cove crane creek delta dune eagle ember falcon fern finch fjord flint forge fox gecko geyser glade
    grove gull hamlet harrier hazel heron hill ibis inlet iris ivy jay juniper kelp kestrel lagoon lantern
    larch lark lemur linen lotus lynx magpie maple marsh marten mesa mill moss newt oak olive orchid osprey
    otter owl parrot pebble pine plover pond poplar puffin quail quartz raven reef ridge robin saffron sage
    salmon shore sparrow spruce stoat swan teal thistle tulip tundra vale walnut willow wren yarrow
"""
_ADJECTIVES = _ADJECTIVE_WORDS.split()
_NOUNS = _NOUN_WORDS.split()


class NameRegistry:
    """Hands out names in random order, none of them twice.

    When every pair of words is used up, the next names carry a number. Safe to use from several threads.

    Example:
        >>> from firehot.naming import NameRegistry
        >>> registry = NameRegistry()
        >>> first, second = registry.reserve_random_name(), registry.reserve_random_name()
        >>> first != second, first.count("-")
        (True, 1)
    """

    def __init__(self) -> None:
        """Starts with every name unused."""
        # Own generator: a program that seeds `random` gets the numbers that it expects.
        self._random = random.SystemRandom()
        self._lock = threading.Lock()
        self._round = 0
        self._left: list[int] = []

    def reserve_random_name(self) -> str:
        """A name that this registry has not given before, such as `"quiet-otter"`."""
        with self._lock:
            if not self._left:
                self._round += 1
                self._left = list(range(len(_ADJECTIVES) * len(_NOUNS)))
                self._random.shuffle(self._left)
            adjective, noun = divmod(self._left.pop(), len(_NOUNS))
            name = f"{_ADJECTIVES[adjective]}-{_NOUNS[noun]}"
            return name if self._round == 1 else f"{name}-{self._round}"


NAME_REGISTRY = NameRegistry()
"""The names of this process's children."""
