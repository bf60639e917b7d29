"""The scanner against CPython's own parser, over every file that this interpreter has at hand.

Files that this interpreter's `ast` rejects are left out: nothing can be compared there.
"""

from __future__ import annotations

import ast
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from firehot._core import imports_of

Found: TypeAlias = tuple[int, int, str | None, tuple[tuple[str, str | None], ...], bool]


def expected_imports(source: bytes) -> list[Found] | None:
    """What `ast` finds, by position; None when it rejects the source."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    found: list[tuple[tuple[int, int], Found]] = []
    for node in statements(tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = tuple((alias.name, alias.asname) for alias in node.names)
            is_from = isinstance(node, ast.ImportFrom)
            level = node.level if isinstance(node, ast.ImportFrom) else 0
            module = node.module if isinstance(node, ast.ImportFrom) else None
            position = (node.lineno, node.col_offset)
            found.append((position, (node.lineno, level, module, names, is_from)))
    return [one for _, one in sorted(found, key=lambda pair: pair[0])]


def statements(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """All of them, nested ones too. `ast.walk` looks at expressions as well, which hold none and are most of a tree."""
    for node in body:
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from statements(getattr(node, field, ()))
        for field in ("handlers", "cases"):
            for part in getattr(node, field, ()):
                yield from statements(part.body)


def source_files(root: Path) -> Iterator[Path]:
    """The files of one root; those of the distributions inside the standard library's folder are another root's."""
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root).parts[:-1]
        if path.is_file() and not {"site-packages", "dist-packages"} & set(inside):
            yield path


def found_imports(source: bytes) -> list[Found]:
    return [(line, level, module, tuple(names), is_from) for line, level, module, names, is_from in imports_of(source)]


def assert_same_imports(root: Path, at_least: int) -> None:
    compared = 0
    differing = []
    for path in source_files(root):
        source = path.read_bytes()
        expected = expected_imports(source)
        if expected is None:
            continue
        compared += len(expected)
        if found_imports(source) != expected:
            differing.append(str(path))
    assert differing == []
    assert compared >= at_least, "too few imports were compared to tell anything"


# Parsing whole trees with `ast` takes its time on a slow machine.
@pytest.mark.timeout(600)
def test_every_import_of_the_standard_library_is_found() -> None:
    assert_same_imports(Path(sysconfig.get_path("stdlib")), at_least=1000)


@pytest.mark.timeout(600)
def test_every_import_of_the_installed_packages_is_found() -> None:
    roots = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    for root in sorted(roots):
        assert_same_imports(root, at_least=100)


@pytest.mark.parametrize(
    "source",
    [
        b"import a, b.c as d; from . import e\n",
        b"if x: import a\nelse: import b\n",
        b"try: import a\nexcept ImportError: import b\nfinally: import c\n",
        b"class A: import a; x = 1; import b\n",
        b"match x:\n    case {'a': [1, {'b': 2}]} if y[1:2]: import a\n    case _: import b\n",
        b"case = 1\ncase; import a\nmatch: int; import b\n",
        b"from a import (b, # one (\n    c as d,\n)\nfrom a \\\n  import e\n",
        b"x = '''\nimport a\n'''; import b\n",
        b"x = rb'\\''; import a # ; import b\n",
        b"f'{x:{y}}' f'{{import' '}}'; import a\n",
        b"rf'\\{x}' f'\\N{BULLET}{x!r:>{w}}'; import a\n",
        b"if x:\n\tif y:\n\t\timport a\n\timport b\n",
        b"\x0cimport a\r\nimport b\rimport c",
        b"def f(x: int = lambda: 0) -> {1: 2}: import a\n",
        b"while (x := 1): import a\n",
        b"if lambda: x: import a\n",
        b"import \xc2\xaa\n",
        b"\xef\xbb\xbfimport a\n",
        b"# coding: latin-1\n'\xe9'; import a\n",
        b"from .... import a\nfrom ... b.c import (d)\nfrom a import *\n",
    ],
)
def test_hand_made_imports_are_found(source: bytes) -> None:
    expected = expected_imports(source)
    assert expected
    assert found_imports(source) == expected
