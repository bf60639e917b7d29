"""Modules that the template has loaded, and pytest would rewrite: in the template, and so in each of its children.

pytest rewrites the `assert` statements of plug-ins while they are imported. A library that is a plug-in as well (anyio,
hypothesis) comes with the template, its asserts as they are written. Told that it has rewritten these modules itself,
pytest does not warn of them; what is imported later is rewritten as ever. Standard library only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


class Rewriting:
    """What pytest is told in children: see `watch` and `settle`."""

    def __init__(self) -> None:
        """Nothing yet: pytest may never be loaded."""
        self._loaded: dict[str, None] = {}
        self._asked: set[str] = set()
        self._silent: tuple[Any, Callable[..., object]] | None = None
        self._is_told = False

    def watch(self) -> None:
        """After each import of the preload: notes what packages ask pytest to rewrite, which it would not hear here."""
        if self._silent is not None or (module := sys.modules.get("_pytest.assertion")) is None:
            return
        kind: Any = getattr(module, "DummyRewriteHook", None)
        if kind is None:
            return
        self._silent = kind, kind.mark_rewrite
        kind.mark_rewrite = lambda _, *names: self._asked.update(names)

    def settle(self) -> None:
        """After a preload: what is loaded by now counts as rewritten in children, and what was asked for as asked."""
        if self._silent is not None:
            kind, mark = self._silent
            kind.mark_rewrite = mark
            self._silent = None
        module = sys.modules.get("_pytest.assertion.rewrite")
        hook: Any = getattr(module, "AssertionRewritingHook", None)
        if hook is None:
            return
        self._loaded = dict.fromkeys(sys.modules)
        if not self._is_told:
            self._is_told = True
            hook.__init__ = self._telling(hook.__init__)

    def _telling(self, init: Callable[..., None]) -> Callable[..., None]:
        def __init__(hook: Any, *args: Any, **kwargs: Any) -> None:
            init(hook, *args, **kwargs)
            if isinstance(known := getattr(hook, "_rewritten_names", None), dict):
                known.update(self._loaded)
            if isinstance(asked := getattr(hook, "_must_rewrite", None), set):
                asked.update(self._asked)

        return __init__


REWRITING = Rewriting()
"""A layer goes on with that of the template below it."""
