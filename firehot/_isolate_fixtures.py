"""Where a test's fork begins: what is set up before it, to be inherited, and what that leaves to tear down.

The invariant: a node is in the parent's `SetupState` when it is wider than the unit, and a fixture is set up in the
parent when the node that it belongs to is there. A fork empties the finalizers that it inherits; so each fixture is
torn down once, by the process that has set it up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

_KINDS: dict[str, type[pytest.Collector]] = {"class": pytest.Class, "module": pytest.Module}
_SCOPES: dict[str, type[pytest.Collector]] = {**_KINDS, "package": pytest.Package, "session": pytest.Session}


def top(item: pytest.Item, unit: str) -> pytest.Item | pytest.Collector:
    """The node that a fork is made for: with all that is below it, it belongs to the fork."""
    kind = _KINDS.get(unit)
    found: Any = item.getparent(kind) if kind is not None else None
    if unit == "class":
        # Classes in a class share the fixtures of the outer one.
        while found is not None and (outer := found.parent.getparent(pytest.Class)) is not None:
            found = outer
    return item if found is None else found


def inherited_names(item: Any, stack: Any) -> Iterator[str]:
    """The fixtures of a test that belong to a node that is set up already, widest first."""
    info: Any = getattr(item, "_fixtureinfo", None)
    if info is None or not getattr(item, "_request", None):
        return
    narrowed = getattr(getattr(item, "callspec", None), "_arg2scope", {})
    for name in item.fixturenames:
        definitions = info.name2fixturedefs.get(name)
        if not definitions:
            continue
        scopes = {definitions[-1].scope, getattr(narrowed.get(name), "value", definitions[-1].scope)}
        if all(_is_in(scope, item, stack) for scope in scopes):
            yield name


def _is_in(scope: str, item: pytest.Item, stack: Any) -> bool:
    kind = _SCOPES.get(scope)
    if kind is None:
        return False
    node = item.getparent(kind)
    # Without a package the session stands in; without a class the test does.
    return scope == "package" if node is None else node in stack


def is_replaced(item: Any, name: str) -> bool:
    """Whether setting this fixture up tears another value of it down first."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    cached = item._fixtureinfo.name2fixturedefs[name][-1].cached_result
    return name in params and cached is not None and cached[1] is not params[name]


def prepare(item: Any, stack: Any) -> None:
    """Sets up what a later test of the unit inherits, so that no other unit does it again.

    A failure is kept with the fixture, and is the failure of each test that uses it.
    """
    from _pytest.skipping import evaluate_skip_marks

    params = getattr(getattr(item, "callspec", None), "params", {})
    stack[item] = ([], None)
    try:
        names = list(inherited_names(item, stack))
        # One value at a time: with parameters each fork has its own.
        if names and params.keys().isdisjoint(names) and evaluate_skip_marks(item) is None:
            for name in names:
                item._request.getfixturevalue(name)
    except (Exception, pytest.skip.Exception, pytest.fail.Exception):
        return
    finally:
        del stack[item]


def surplus(stack: Any, nextitem: pytest.Item | None) -> list[Any]:
    """The nodes that are to be torn down before the next test, the innermost last."""
    needed = nextitem.listchain() if nextitem is not None else []
    nodes = list(stack)
    kept = 0
    while kept < len(nodes) and kept < len(needed) and nodes[kept] is needed[kept]:
        kept += 1
    return nodes[kept:]


def has_work(stack: Any, nodes: list[Any]) -> bool:
    """Whether tearing these down does anything."""
    for node in nodes:
        finalizers = stack[node][0]
        if any(finalizer != node.teardown for finalizer in finalizers):
            return True
        if type(node).teardown is not pytest.Item.teardown:
            return True
    return False


def disown(session: Any) -> None:
    """In a fork: what is set up is not torn down here."""
    for finalizers, _ in session._setupstate.stack.values():
        finalizers.clear()
