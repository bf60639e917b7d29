"""What a recipe is: a package to install, modules to preload, and real work that checks its own result.

Recipes import their package inside the function, so that this file and theirs load with the standard library alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

COLLECTOR = "FIREHOT_SAFETY_COLLECTOR"
"""Names the variable that holds the address of the loopback collector, for packages that send to one."""

RECIPES: dict[str, Recipe] = {}
"""Every recipe, by name, in the order of the table."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """One row of the matrix.

    Attributes:
        name: The package as its users call it, with the variant if there are several.
        environment: The virtual environment that it is installed into.
        distributions: What pip installs, with ranges.
        modules: What the template imports, in this order.
        work: Real work; asserts, and returns a value that is the same in each process. It travels by name.
        files: Third-party modules that are written for this recipe, by file name (a call made at import).
        variables: Environment variables of the host from before the template is opened.
        delivers: A part of the paths that the collector has to be asked for, once in each run of `work`.
        alone: Whether it changes the whole process at import, and so stays out of the template of all packages.
    """

    name: str
    environment: str
    distributions: tuple[str, ...]
    modules: tuple[str, ...]
    work: Callable[[], object]
    files: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    delivers: str = ""
    alone: bool = False


Register = Callable[[Callable[[], object]], Callable[[], object]]


def recipes_of(environment: str) -> Callable[..., Register]:
    """A decorator that makes recipes of functions; `environment` is the virtual environment of all of them."""

    def recipe(
        name: str,
        *distributions: str,
        modules: Sequence[str] = (),
        files: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
        delivers: str = "",
        alone: bool = False,
    ) -> Register:
        def register(work: Callable[[], object]) -> Callable[[], object]:
            RECIPES[name] = Recipe(
                name,
                environment,
                distributions,
                tuple(modules) or (name,),
                work,
                files or {},
                variables or {},
                delivers,
                alone,
            )
            return work

        return register

    return recipe
