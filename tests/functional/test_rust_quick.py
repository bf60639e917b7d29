"""What the next process does not have to find out again, and that it is never what was there before an edit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rusting import Bench, file, library, manifest, needs_cargo

pytestmark = [needs_cargo, pytest.mark.timeout(300)]

LOADED = "[name for name in sys.modules if name in ('firehot._core', 'firehot._rust_build', 'pathlib')]"


def notes(bench: Bench) -> set[Path]:
    return set(Path(bench.env["FIREHOT_RUST_CACHE"]).glob("quick/*"))


def test_an_import_with_nothing_changed_loads_no_engine(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    for value, name in ((1, "first"), (2, "second")):
        with bench.python("import fast"):
            pass
        with bench.python("import fast") as python:
            assert python("fast.value(), " + LOADED) == [value, []], name
            assert python("fast.__spec__.origin == fast.__file__ and fast.__spec__.has_location")
        bench.write("fast.rs", file(value + 1))
    # The last edit.
    with bench.python("import fast") as python:
        assert python("fast.value()") == 3
    assert bench.runs() == 3


def test_what_is_written_down_of_a_process_is_found_by_the_next_whatever_it_has_done(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    before = notes(bench)
    for code in ("pass", "import json, decimal", "held = [str(entry) + '' for entry in sys.path]"):
        with bench.python(code, "import fast") as python:
            assert python("fast.value()") == 1
    assert len(notes(bench) - before) == 1


def test_each_of_many_sources_is_compared(bench: Bench) -> None:
    names = [f"part{number}" for number in range(410)]
    bench.write("many/Cargo.toml", manifest("many"))
    for name in names:
        bench.write(f"many/src/{name}.rs", "pub const VALUE: i64 = 1;\n")
    modules = "\n".join(f"mod {name};" for name in names)
    bench.write("many/src/lib.rs", library("many", " + ".join(f"{name}::VALUE" for name in names), modules))
    values = []
    for edited in (None, names[0], names[200], names[-1]):
        if edited is not None:
            bench.write(f"many/src/{edited}.rs", "pub const VALUE: i64 = 2;\n")
        with bench.python("import many") as python:
            values.append(python("many.value()"))
        with bench.python("import many") as python:
            assert python("many.value(), " + LOADED) == [values[-1], ["firehot._core"]]
    assert values == [410, 411, 412, 413]
    assert bench.runs() == 4


def test_files_that_a_header_tracks_are_looked_for_each_time(bench: Bench) -> None:
    text = 'include_str!("data/one.txt").len() as i64'
    bench.write("fast.rs", file(text).replace("pyo3\n", "pyo3\n//d: data/*.txt\n", 1))
    bench.write("data/one.txt", "1")
    with bench.python("import fast"):
        pass
    with bench.python("import fast") as python:
        assert python("fast.value(), " + LOADED) == [1, ["firehot._core"]]
    bench.write("data/two.txt", "")
    with bench.python("import fast") as python:
        assert python("fast.value()") == 1
    assert bench.runs() == 2


def test_what_comes_to_stand_before_it_is_imported_in_its_place(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "earlier").mkdir()
    path = [tmp_path / "earlier", bench.folder]
    bench.write("fast.rs", file(1))
    for _ in range(2):
        with bench.python("import fast", path=path) as python:
            assert python("fast.value()") == 1
    (tmp_path / "earlier" / "fast.py").write_text("def value(): return 5\n")
    with bench.python("import fast", path=path) as python:
        assert python("fast.value()") == 5


def test_rust_that_has_just_come_is_found(bench: Bench) -> None:
    bench.write("plain.py", "")
    text = file(1)
    with bench.python() as python:
        # In one go: between two imports lie microseconds.
        python(
            f"""
            import plain, json
            with open({os.fspath(bench.folder / "fast.rs")!r}, "w") as new:
                new.write({text!r})
            import fast
            """
        )
        assert python("fast.value()") == 1
        python(f"import plain\nos.chdir({os.fspath(bench.folder)!r})\nsys.path[:] = ['', *sys.path]")
        (bench.folder / "below").mkdir()
        bench.write("below/other.rs", file(2))
        python("os.chdir('below')\nimport other")
        assert python("other.value()") == 2
