"""Hooks around the forks of templates: `before_fork` and `after_fork_in_child`.

A package that is preloaded registers them when it is imported, or in a function that it names as an entry point of the
group `firehot.fork`. A program registers them for the environments that it opens.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any, TypeVar

__all__ = ["after_fork_in_child", "before_fork"]

Hook = TypeVar("Hook", bound=Callable[[], object])


def before_fork(fn: Hook) -> Hook:
    """Has `fn()` called in templates before each fork, on the thread that forks, in the order of registration.

    In a preloaded package it counts for the template that is importing it. In a program it counts for templates that
    are started later; `fn` must be a function of an installed module then, since a template runs no code of the
    project. An exception is a warning, told once; the fork goes on.

    Args:
        fn: A function without arguments.

    Returns:
        `fn`, so that it can be used as a decorator.

    Raises:
        FirehotError: `fn` can't be imported by name.

    Example:
        >>> import gc
        >>> from firehot import before_fork
        >>> before_fork(gc.collect) is gc.collect
        True
    """
    if not REGISTRY.in_template:
        _check_importable(fn)
    REGISTRY.add_before(fn)
    return fn


def after_fork_in_child(fn: Hook) -> Hook:
    """Has `fn()` called in each child, before the modules of its call are imported.

    In a preloaded package it counts for the children of the template that is importing it. In a program it counts for
    all later calls, and travels with them as functions do: by name, or by value. It runs when the child has the
    program's directory, environment and arguments; what it raises is raised like an exception of the call.

    Args:
        fn: A function without arguments.

    Returns:
        `fn`, so that it can be used as a decorator.

    Example:
        >>> import gc
        >>> from firehot import after_fork_in_child
        >>> after_fork_in_child(gc.enable) is gc.enable
        True
    """
    REGISTRY.add_after(fn)
    return fn


class Registry:
    """The hooks of one process: a host, a template, or a child, which is a host for environments of its own."""

    def __init__(self) -> None:
        self.in_template = False
        self._tell: Callable[[str], None] = print
        self._before: list[Callable[[], object]] = []
        self._after: list[Callable[[], object]] = []
        self._ran: set[tuple[str, str]] = set()
        self._told: set[int] = set()

    def enter_template(self, tell: Callable[[str], None]) -> None:
        """From now on this process is a template."""
        self.in_template = True
        self._tell = tell

    def add_before(self, fn: Callable[[], object]) -> None:
        """Registers, each function once."""
        if fn not in self._before:
            self._before.append(fn)

    def add_after(self, fn: Callable[[], object]) -> None:
        """Registers, each function once."""
        if fn not in self._after:
            self._after.append(fn)

    def run_before(self) -> None:
        """In the template."""
        for fn in self._before:
            try:
                fn()
            except BaseException as error:
                if id(fn) not in self._told:
                    self._told.add(id(fn))
                    self._tell(f"before_fork: {_show(fn)} failed: {type(error).__name__}: {error}")

    def run_in_child(self) -> None:
        """In a child: runs what the template's packages have registered, and begins anew."""
        after, self._after, self._before, self.in_template = self._after, [], [], False
        for fn in after:
            self._ran.add(_names(fn))
            fn()

    def run_travelling(self, functions: list[Callable[[], object]]) -> None:
        """In a child: runs what has come with the call, but for what the template has had as well."""
        for fn in functions:
            if _names(fn) not in self._ran:
                fn()

    def before_names(self) -> list[tuple[str, str]]:
        """In the host: what templates are to find and call."""
        return [_names(fn) for fn in self._before]

    def after_functions(self) -> list[Callable[[], object]]:
        """In the host: what is to travel with a call."""
        return list(self._after)


REGISTRY = Registry()


def find(module: str, function: str) -> Callable[[], object]:
    """The object that two dotted names lead to; imports the module."""
    found: Any = reduce(getattr, function.split("."), import_module(module))
    if not callable(found):
        raise TypeError(f"{module}:{function} is no function")
    return found  # type: ignore[no-any-return]


def _names(fn: Any) -> tuple[str, str]:
    module = getattr(fn, "__module__", None) or getattr(type(fn), "__module__", "")
    return str(module), str(getattr(fn, "__qualname__", repr(fn)))


def _show(fn: object) -> str:
    return ".".join(_names(fn))


def _check_importable(fn: Any) -> None:
    from firehot.errors import FirehotError

    module, name = _names(fn)
    why = None
    if not isinstance(fn, (FunctionType, type(len))):
        why = "it is no function"
    elif not isinstance(getattr(fn, "__self__", None), (ModuleType, type(None))):
        why = "it belongs to an object"
    elif module == "__main__":
        why = "it lives in the running script"
    elif not all(part.isidentifier() for part in name.split(".")):
        why = "it is a lambda or lives in another function"
    elif module not in sys.modules:
        why = f"there is no module {module!r}"
    if why is not None:
        raise FirehotError(
            "before_fork takes a function that templates can import from an installed module, "
            f"and {_show(fn)} is none: {why}"
        )
