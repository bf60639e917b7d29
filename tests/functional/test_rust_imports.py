"""`firehot.rust` in one process: what is imported is built, and a reload gives what was edited."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from rusting import Bench, file, library, manifest, needs_cargo

pytestmark = [needs_cargo, pytest.mark.timeout(300)]

POINT = """
#[pyclass]
struct Point { #[pyo3(get)] x: i64 }
#[pymethods]
impl Point { #[new] fn new() -> Self { Point { x: %d } } }
"""


def test_a_single_file_is_built_when_it_is_imported(bench: Bench) -> None:
    bench.write("fast.rs", file(1, POINT % 7))
    with bench.python("import fast") as python:
        assert python("fast.value(), fast.Point().x") == [1, 7]
        assert python("fast.__name__, fast.__spec__.name, fast.__package__") == ["fast", "fast", ""]
        loaded = python("fast.__file__")
        assert Path(loaded).is_file() and python("fast.__spec__.origin") == loaded
    assert bench.runs() == 1
    with bench.python("import fast") as python:
        assert python("fast.value()") == 1
    assert bench.runs() == 1


def test_a_marked_crate_is_built_when_it_is_imported(bench: Bench) -> None:
    bench.write("quick/Cargo.toml", manifest("quick"))
    bench.write("quick/src/lib.rs", library("quick", 2))
    with bench.python("import quick") as python:
        assert python("quick.value()") == 2
    assert not (bench.folder / "quick" / "target").exists()


def test_an_extension_within_a_package_is_imported_by_its_dotted_name(bench: Bench) -> None:
    bench.write("package/__init__.py", "from . import inner\n")
    bench.write("package/inner.rs", file(3))
    with bench.python("import package") as python:
        assert python("package.inner.value(), package.inner.__name__") == [3, "package.inner"]
        assert python("package.inner.__package__") == "package"


def test_a_reload_gives_what_was_edited(bench: Bench) -> None:
    bench.write("fast.rs", file(1, POINT % 7))
    with bench.python(
        "import fast", "held, point, old, first = fast, fast.Point(), fast.value, fast.__file__"
    ) as python:
        bench.write("fast.rs", file(2, "#[pyfunction] fn more() -> i64 { 5 }" + POINT % 8))
        assert python("importlib.reload(fast) is held and sys.modules['fast'] is held")
        assert python("fast.value(), fast.more(), fast.Point().x, held.value()") == [2, 5, 8, 2]
        assert Path(python("fast.__file__")).is_file() and python("fast.__file__ != first")
        assert python("fast.__spec__.origin == fast.__file__ and os.path.isfile(first)")
        # Said in the documentation: what was taken out before stays what it was.
        assert python("old(), isinstance(point, fast.Point), point.x") == [1, False, 7]
        bench.write("fast.rs", file(3))
        assert python("importlib.reload(fast).value()") == 3
        assert not python("hasattr(fast, 'more') or hasattr(fast, 'Point')")
    assert bench.runs() == 3


def test_a_reload_of_what_has_not_changed_does_nothing(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    with bench.python("import fast", "first, fast.mark = fast.__file__, 'kept'") as python:
        assert python("importlib.reload(fast).mark, fast.__file__ == first") == ["kept", True]
        assert bench.runs() == 1
        # cargo is asked, and makes the same bytes.
        bench.write("fast.rs", file(1) + "// a comment that changes no line number\n")
        assert python("importlib.reload(fast).mark, fast.__file__ == first") == ["kept", True]
        assert bench.runs() == 2
        assert python("importlib.reload(fast).mark, fast.value()") == ["kept", 1]
        assert bench.runs() == 2


def test_a_reload_goes_back_to_an_earlier_build(bench: Bench) -> None:
    bench.write("fast.rs", file(1, POINT % 7))
    with bench.python("import fast", "held, point = fast, fast.Point()") as python:
        for value in (2, 1, 2, 1):
            bench.write("fast.rs", file(value, POINT % (value + 6)))
            assert python("importlib.reload(fast) is held")
            assert python("fast.value(), fast.Point().x, fast.__name__") == [value, value + 6, "fast"]
            assert Path(python("fast.__file__")).is_file()


def test_a_failed_build_leaves_the_module_as_it_was(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    with bench.python("import fast") as python:
        bench.write("fast.rs", file("nothing_of_this_name"))
        raised = python.raised("importlib.reload(fast)")
        assert raised.kind == "RustBuildError"
        assert "nothing_of_this_name" in raised.text and "fast.rs:4" in raised.text
        assert "cannot find value" in raised.diagnostics and "nothing_of_this_name" in python.said()
        assert python("fast.value(), sys.modules['fast'] is fast, os.path.isfile(fast.__file__)") == [1, True, True]
        bench.write("fast.rs", file(3))
        assert python("importlib.reload(fast).value()") == 3


def test_a_warning_is_shown_once(bench: Bench) -> None:
    bench.write("fast.rs", file(1, "fn nobody_calls_this() {}\n"))
    with bench.python("import fast") as python:
        assert python.said().count("function `nobody_calls_this` is never used") == 1
        bench.write("fast.rs", file(2, "fn nobody_calls_this() {}\n"))
        assert python("importlib.reload(fast).value()") == 2
        assert python.said().count("function `nobody_calls_this` is never used") == 1


def test_what_is_uninstalled_builds_nothing(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    with bench.python("assert firehot.rust.uninstall() and not firehot.rust.uninstall()") as python:
        assert python.raised("import fast").kind == "ModuleNotFoundError"
    assert bench.runs() == 0


def test_an_import_of_something_else_is_none_of_its_business(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    bench.write("plain.py", "value = 1\n")
    with bench.python("import plain, json") as python:
        assert python("'firehot._core' in sys.modules") is False
        assert python.raised("import nowhere").text == "No module named 'nowhere'"
    assert os.listdir(bench.folder) and bench.runs() == 0


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="pyo3 0.23 knows no newer interpreter")
def test_extensions_of_an_older_pyo3_are_reloaded_too(bench: Bench) -> None:
    # These make their module in one phase: one for each library that is loaded, and it is that again.
    old = '//: [dependencies]\n//: pyo3 = { version = "0.23", features = ["abi3", "extension-module"] }\n'

    def text(value: int) -> str:
        return "// firehot:pyo3\n" + old + file(value, POINT % (value + 6)).partition("\n")[2]

    bench.env["CARGO_NET_OFFLINE"] = "false"
    bench.write("fast.rs", text(1))
    with bench.python("import fast", "held, point = fast, fast.Point()") as python:
        for value in (2, 1, 2, 1):
            bench.write("fast.rs", text(value))
            assert python("importlib.reload(fast) is held and sys.modules['fast'] is held")
            assert python("fast.value(), fast.Point().x, fast.__name__") == [value, value + 6, "fast"]
            assert Path(python("fast.__file__")).is_file()
        # Imported again, not reloaded: the module of the build that counts.
        bench.write("fast.rs", text(2))
        assert python("importlib.reload(fast).value()") == 2
        bench.write("fast.rs", text(1))
        python("del sys.modules['fast']\nimport fast as again")
        assert python("again.value(), again.__name__") == [1, "fast"]
