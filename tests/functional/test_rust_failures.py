"""A build that failed is not tried again before something that counts has changed; one with an outside cause is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rusting import Bench, file, needs_cargo, plain, raw_library, raw_manifest

pytestmark = [needs_cargo, pytest.mark.timeout(300)]


def test_the_same_sources_give_the_same_error_without_cargo(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    with bench.python("import fast") as python:
        bench.write("fast.rs", file("nothing_of_this_name"))
        first = python.raised("importlib.reload(fast)")
        assert "cannot find value `nothing_of_this_name`" in first.diagnostics
        for _ in range(3):
            again = python.raised("importlib.reload(fast)")
            assert (again.text, again.diagnostics) == (first.text, first.diagnostics)
        assert bench.runs() == 2
        assert python.said().count("cannot find value `nothing_of_this_name`") == 1
        bench.write("fast.rs", file("nothing_of_that_name"))
        assert "nothing_of_that_name" in python.raised("importlib.reload(fast)").diagnostics
        bench.write("fast.rs", file(2) + "}")
        assert "unexpected closing delimiter" in python.raised("importlib.reload(fast)").diagnostics
        assert "unexpected closing delimiter" in python.raised("importlib.reload(fast)").diagnostics
        assert bench.runs() == 4
        bench.write("fast.rs", file(2))
        assert python("importlib.reload(fast).value()") == 2


def test_what_keeps_the_last_good_build_asks_cargo_once(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    bench.env["FIREHOT_RUST_ON_BUILD_ERROR"] = "keep"
    with bench.python("import fast") as python:
        bench.write("fast.rs", file("nothing_of_this_name"))
        for _ in range(3):
            assert python("importlib.reload(fast).value()") == 1
        assert bench.runs() == 2


def test_anything_that_may_mend_it_has_it_tried_again(bench: Bench) -> None:
    for name, text in plain("helper", 1).items():
        bench.write(name, text)
    bench.write("quick/Cargo.toml", raw_manifest("quick", 'helper = { path = "../helper" }\n[workspace]\n'))
    bench.write("quick/src/lib.rs", raw_library("quick", "helper::VALUE"))
    with bench.python("import quick") as python:
        assert python("quick.value()") == 1
        bench.write("quick/src/lib.rs", raw_library("quick", "helper::MORE"))

        def still_fails() -> None:
            python.raised("importlib.reload(quick)")
            runs = bench.runs()
            python.raised("importlib.reload(quick)")
            assert bench.runs() == runs

        still_fails()
        runs = bench.runs()
        bench.write("helper/src/lib.rs", "pub const OTHER: i64 = 2;\n")
        still_fails()
        assert bench.runs() == runs + 1
        python("os.environ['RUSTFLAGS'] = '--cfg other'")
        still_fails()
        assert bench.runs() == runs + 2
        python("del os.environ['RUSTFLAGS']")
        # A file that comes, in a module that was not there.
        bench.write("quick/src/lib.rs", raw_library("quick", "new::VALUE", "mod new;"))
        python.raised("importlib.reload(quick)")
        bench.write("quick/src/new.rs", "pub const VALUE: i64 = 3;\n")
        assert python("importlib.reload(quick).value()") == 3
        bench.write("quick/src/lib.rs", raw_library("quick", "helper::MORE"))
        still_fails()
        bench.write("helper/src/lib.rs", "pub const MORE: i64 = 4;\n")
        assert python("importlib.reload(quick).value()") == 4


def test_a_failure_with_an_outside_cause_is_tried_again(bench: Bench, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    text = f"if [ -e '{broken}' ]; then echo 'error: failed to write: No space left on device' >&2; exit 101; fi"
    bench.cargo(before=text)
    bench.write("fast.rs", file(1))
    broken.touch()
    with bench.python() as python:
        for run in (1, 2):
            assert "No space left" in python.raised("import fast").text
            assert bench.runs() == run
        broken.unlink()
        assert python("__import__('fast').value()") == 1


def test_what_a_macro_has_read_may_lie_anywhere(bench: Bench, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    bench.write("fast.rs", file(f"include_str!({os.fspath(outside)!r}).len() as i64".replace("'", '"')))
    with bench.python() as python:
        assert "outside.txt" in python.raised("import fast").diagnostics
        outside.write_text("12345")
        assert python("__import__('fast').value()") == 5
