"""What a source of random numbers is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Generator:
    """A source of random numbers; `seeded` sets a seed first, where there is one to set."""

    name: str
    environment: str
    modules: tuple[str, ...]
    draw: Callable[[], object]
    seeded: Callable[[], object] | None = None


GENERATORS: dict[str, Generator] = {}


def generator(name: str, environment: str, *modules: str) -> Callable[[type], type]:
    """Makes a generator of a class with `draw` and perhaps `seed`; a seed comes right before a draw."""

    def register(kind: Any) -> type:
        seed = getattr(kind, "seed", None)
        GENERATORS[name] = Generator(name, environment, modules, kind.draw, kind.seeded if seed else None)
        return kind  # type: ignore[no-any-return]

    return register


class Source:
    @staticmethod
    def draw() -> object:
        raise NotImplementedError

    @classmethod
    def seeded(cls) -> object:
        cls.seed()  # type: ignore[attr-defined]
        return cls.draw()
