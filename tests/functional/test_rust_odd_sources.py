"""Sources that are empty, misplaced, oddly named or talkative: each is built, or told of in one clear message."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rusting import PYO3, Bench, file, library, manifest, needs_cargo

pytestmark = [needs_cargo, pytest.mark.timeout(300)]


def test_a_module_that_is_named_like_a_file_elsewhere_on_the_path_comes_first(bench: Bench) -> None:
    bench.write("early/fast.py", "def value(): return 'python'\n")
    bench.write("late/fast.rs", file(1))
    bench.write("early/other.rs", file(2))
    bench.write("late/other.py", "def value(): return 'python'\n")
    # The standard library comes first as well, and is never looked at.
    bench.write("late/json.rs", file(3))
    path = [bench.folder / "early", bench.folder / "late"]
    with bench.python("import fast, other", path=path) as python:
        assert python("fast.value(), other.value()") == ["python", 2]
        assert python("importlib.reload(fast).value(), importlib.reload(other).value()") == ["python", 2]
    assert bench.runs() == 1


def test_python_s_own_source_beside_a_file_comes_first(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    bench.write("fast.py", "def value(): return 'python'\n")
    bench.write("packed.rs", file(1))
    bench.write("packed/__init__.py", "def value(): return 'package'\n")
    with bench.python("import fast, packed") as python:
        assert python("fast.value(), packed.value()") == ["python", "package"]
    assert bench.runs() == 0


def test_what_has_not_opted_in_is_left_alone_and_named_when_nothing_else_is_there(bench: Bench) -> None:
    bench.write("plain.rs", "fn main() {}\n")
    bench.write("empty.rs", "")
    bench.write("binary.rs", b"// firehot\n\xff\xfe\n")
    bench.write("crate_only/Cargo.toml", manifest("crate_only").replace("# firehot\n", ""))
    with bench.python() as python:
        for name, reason in [
            ("plain", 'its first line is not "// firehot"'),
            ("empty", "it is empty"),
            ("binary", "it is not UTF-8"),
        ]:
            for code in (f"import {name}", f"firehot.rust.imp({name!r})"):
                raised = python.raised(code)
                assert raised.kind == "ModuleNotFoundError", code
                assert f"{name}.rs" in raised.text and reason in raised.text, code
        raised = python.raised("firehot.rust.imp('crate_only')")
        assert raised.kind == "ModuleNotFoundError" and "no file .firehot in it" in raised.text
        # To Python a folder is a package.
        assert python("__import__('crate_only').__file__") is None
        assert python("importlib.util.find_spec('plain')") is None
        assert python("importlib.util.find_spec('fast')") is None
    assert bench.runs() == 0


def test_a_file_that_opts_in_and_has_nothing_else_is_an_empty_module(bench: Bench) -> None:
    bench.write("fast.rs", "// firehot:pyo3\n")
    with bench.python("import fast") as python:
        assert python("[name for name in vars(fast) if not name.startswith('_')]") == []


def test_a_file_without_a_module_says_so(bench: Bench) -> None:
    bench.write("fast.rs", "// firehot\npub fn value() -> i64 { 1 }\n")
    with bench.python() as python:
        raised = python.raised("import fast")
        assert raised.kind in ("ImportError", "RustBuildError") and "PyInit_fast" in raised.text
        assert python("'fast' in sys.modules") is False


def test_a_crate_without_a_cdylib_says_what_to_add(bench: Bench) -> None:
    bench.write("quick/Cargo.toml", manifest("quick").replace('crate-type = ["cdylib"]', ""))
    bench.write("quick/src/lib.rs", library("quick", 1))
    with bench.python() as python:
        raised = python.raised("import quick")
        assert raised.kind == "RustBuildError"
        assert 'crate-type = ["cdylib"]' in raised.text and str(bench.folder / "quick") in raised.text
        bench.write("quick/Cargo.toml", manifest("quick"))
        assert python("__import__('quick').value()") == 1


def test_a_manifest_that_is_no_toml_is_shown_by_cargo(bench: Bench) -> None:
    bench.write("quick/Cargo.toml", "# firehot\n[package\n")
    with bench.python() as python:
        raised = python.raised("import quick")
        assert raised.kind == "RustBuildError" and "Cargo.toml:2" in raised.text


def test_two_crates_of_one_name_are_kept_apart(bench: Bench) -> None:
    for number, folder in enumerate(("one", "two")):
        bench.write(f"{folder}/quick/Cargo.toml", manifest("quick"))
        bench.write(f"{folder}/quick/src/lib.rs", library("quick", number))
    one, two = bench.folder / "one", bench.folder / "two"
    with bench.python("import quick", path=[one]) as first, bench.python("import quick", path=[two]) as second:
        assert [first("quick.value()"), second("quick.value()")] == [0, 1]
        bench.write("one/quick/src/lib.rs", library("quick", 5))
        assert [first("importlib.reload(quick).value()"), second("importlib.reload(quick).value()")] == [5, 1]


def test_spaces_and_other_letters_in_paths(bench: Bench) -> None:
    folder = bench.folder / "mit Leerzeichen und größe"
    bench.write(f"{folder.name}/fast.rs", file(1, 'const TEXT: &str = include_str!("daten größe.txt");'))
    data = bench.write(f"{folder.name}/daten größe.txt", "1")
    bench.write(f"{folder.name}/quick/Cargo.toml", manifest("quick"))
    inner = bench.write(f"{folder.name}/quick/src/ein teil.rs", "pub const VALUE: i64 = 2;\n")
    bench.write(f"{folder.name}/quick/src/lib.rs", library("quick", "part::VALUE", '#[path = "ein teil.rs"] mod part;'))
    with bench.python("import fast, quick", path=[folder]) as python:
        assert python("fast.value(), quick.value()") == [1, 2]
        runs = bench.runs()
        data.write_text("2")
        python("importlib.reload(fast)")
        assert bench.runs() == runs + 1
        inner.write_text("pub const VALUE: i64 = 3;\n")
        assert python("importlib.reload(quick).value()") == 3
        runs = bench.runs()
        python("importlib.reload(fast), importlib.reload(quick)")
        assert bench.runs() == runs


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems take only UTF-8")
def test_a_path_that_is_not_utf_8_is_told_of(bench: Bench) -> None:
    folder = bench.folder / "\udcff"
    folder.mkdir()
    (folder / "fast.rs").write_text(file(1))
    with bench.python() as python:
        python(f"sys.path.insert(0, {str(folder)!r})")
        raised = python.raised("import fast")
        assert raised.kind == "RustBuildError" and "not UTF-8" in raised.text


def test_a_crate_behind_a_symbolic_link_is_built_from_where_it_is(bench: Bench) -> None:
    bench.write("real/quick/Cargo.toml", manifest("quick"))
    source = bench.write("real/quick/src/lib.rs", library("quick", 1))
    single = bench.write("real/fast.rs", file(1))
    (bench.folder / "links").mkdir()
    (bench.folder / "links/quick").symlink_to(bench.folder / "real/quick")
    (bench.folder / "links/fast.rs").symlink_to(single)
    with bench.python("import quick, fast", path=[bench.folder / "links"]) as python:
        assert python("quick.value(), fast.value()") == [1, 1]
        source.write_text(library("quick", 2))
        single.write_text(file(2))
        assert python("importlib.reload(quick).value(), importlib.reload(fast).value()") == [2, 2]
        # The link itself goes elsewhere.
        other = bench.write("real/other.rs", file(3))
        (bench.folder / "links/fast.rs").unlink()
        (bench.folder / "links/fast.rs").symlink_to(other)
        assert python("importlib.reload(fast).value()") == 3


MACRO = """
use proc_macro::TokenStream;
use std::io::Write;
#[proc_macro]
pub fn seven(_: TokenStream) -> TokenStream {
    println!("the macro says: {{\\"reason\\": 1}}");
    println!("{{\\"reason\\":\\"compiler-artifact\\"}}");
    std::io::stdout().write_all(b"not UTF-8: \\xff\\xfe\\n").unwrap();
    eprintln!("the macro complains");
    "7".parse().unwrap()
}
"""


def test_a_build_script_and_a_macro_that_print(bench: Bench) -> None:
    bench.write(
        "talk/Cargo.toml",
        '[package]\nname = "talk"\nversion = "0.1.0"\nedition = "2021"\n[lib]\nproc-macro = true\n',
    )
    bench.write("talk/src/lib.rs", MACRO)
    bench.write("quick/Cargo.toml", manifest("quick", 'talk = { path = "../talk" }\n'))
    bench.write("quick/src/lib.rs", library("quick", "talk::seven!()"))
    script = (
        'fn main() { println!("only words"); println!("cargo:warning=the script warns"); eprintln!("and more"); }\n'
    )
    bench.write("quick/build.rs", script)
    with bench.python("import quick") as python:
        assert python("quick.value()") == 7
        assert "the macro complains" in python.said() and "the script warns" in python.said()
        bench.write("quick/src/lib.rs", library("quick", "talk::seven!() + 1"))
        assert python("importlib.reload(quick).value()") == 8
        bench.write("talk/src/lib.rs", MACRO.replace('"7"', '"9"'))
        assert python("importlib.reload(quick).value()") == 10


def test_a_file_is_deleted_and_comes_back(bench: Bench) -> None:
    place = bench.write("fast.rs", file(1))
    with bench.python("import fast") as python:
        place.unlink()
        assert python.raised("importlib.reload(fast)").kind == "ModuleNotFoundError"
        assert python("fast.value(), sys.modules['fast'] is fast") == [1, True]
        bench.write("fast.rs", file(2))
        assert python("importlib.reload(fast).value()") == 2


def test_a_name_that_rust_keeps_for_itself_is_told_of(bench: Bench) -> None:
    bench.write("match.rs", file(1))
    with bench.python() as python:
        raised = python.raised("importlib.import_module('match')")
        assert raised.kind == "RustBuildError" and "Rust keeps that name for itself" in raised.text


def test_a_panic_at_import_is_an_error_of_the_import(bench: Bench) -> None:
    init = '#[pymodule]\nfn fast(_: &Bound<\'_, PyModule>) -> PyResult<()> { panic!("no luck") }\n'
    bench.write("fast.rs", "// firehot:pyo3\nuse pyo3::prelude::*;\n" + init)
    with bench.python() as python:
        raised = python.raised("import fast")
        assert raised.kind == "PanicException" and "no luck" in raised.text
        assert python("'fast' in sys.modules") is False
        bench.write("fast.rs", file(2))
        assert python("__import__('fast').value()") == 2


def test_a_reload_that_fails_to_load_leaves_the_module_as_it_was(bench: Bench) -> None:
    init = '#[pymodule]\nfn fast(_: &Bound<\'_, PyModule>) -> PyResult<()> { panic!("no luck") }\n'
    bench.write("fast.rs", file(1))
    with bench.python("import fast") as python:
        bench.write("fast.rs", "// firehot:pyo3\nuse pyo3::prelude::*;\n" + init)
        assert python.raised("importlib.reload(fast)").kind == "PanicException"
        assert python("fast.value(), sys.modules['fast'] is fast, os.path.isfile(fast.__file__)") == [1, True, True]
        bench.write("fast.rs", file(2))
        assert python("importlib.reload(fast).value(), fast.__spec__.origin == fast.__file__") == [2, True]


def test_the_target_of_a_project_is_never_touched(bench: Bench) -> None:
    bench.write("quick/Cargo.toml", manifest("quick"))
    bench.write("quick/src/lib.rs", library("quick", 1))
    kept = bench.write("quick/target/release/libquick.so", "the user's own")
    with bench.python("import quick") as python:
        assert python("quick.value()") == 1
    assert kept.read_text() == "the user's own"
    assert [path.name for path in (bench.folder / "quick/target").iterdir()] == ["release"]
    assert PYO3 in Path(bench.folder / "quick/Cargo.toml").read_text()
