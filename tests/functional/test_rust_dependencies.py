"""Every edit of what goes into a Rust extension is noticed, and no other."""

from __future__ import annotations

import os
import subprocess

import pytest
from rusting import PYO3, Bench, Python, file, library, needs_cargo, plain

pytestmark = [needs_cargo, pytest.mark.timeout(300)]

MEMBER = f"""# firehot
[package]
name = "whole"
version = "0.1.0"
edition = "2021"
[lib]
crate-type = ["cdylib"]
[dependencies]
{PYO3}
beside = {{ path = "../../beside" }}
shared = {{ workspace = true }}
[target.'cfg(unix)'.dependencies]
system = {{ path = "../../system" }}
[build-dependencies]
maker = {{ path = "../../maker" }}
"""
WORKSPACE = """[workspace]
resolver = "2"
members = ["whole", "shared"]
[workspace.dependencies]
shared = { path = "shared" }
"""
SUM = """
mod inner;
const TEXT: &str = include_str!("../../../texts/text.txt");
include!(concat!(env!("OUT_DIR"), "/made.rs"));
fn sum() -> i64 {
    inner::VALUE + beside::VALUE + shared::VALUE + system::VALUE + MADE + TEXT.trim().parse::<i64>().unwrap()
}
"""
SCRIPT = """
use std::{env, fs, path::Path};
fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../texts/number.txt");
    let number: i64 = fs::read_to_string("../../texts/number.txt").unwrap().trim().parse().unwrap();
    let made = Path::new(&env::var("OUT_DIR").unwrap()).join("made.rs");
    fs::write(made, format!("const MADE: i64 = {};", maker::VALUE + number + 0)).unwrap();
}
"""


@pytest.fixture
def whole(bench: Bench) -> Bench:
    """A crate with a dependency of each kind; each adds a digit to its value."""
    files = {
        "space/Cargo.toml": WORKSPACE,
        "space/whole/Cargo.toml": MEMBER,
        "space/whole/build.rs": SCRIPT,
        "space/whole/src/lib.rs": library("whole", "sum()", SUM),
        "space/whole/src/inner.rs": "pub const VALUE: i64 = 1;\n",
        **plain("beside", 10),
        **{f"space/{name}": text for name, text in plain("shared", 100).items()},
        **plain("system", 1000),
        **plain("maker", 10000),
        "texts/text.txt": "100000\n",
        "texts/number.txt": "1000000\n",
    }
    for name, text in files.items():
        bench.write(name, text)
    return bench


def reloaded(python: Python) -> object:
    return python("importlib.reload(whole).value()")


def test_each_kind_of_dependency_is_noticed(whole: Bench) -> None:
    with whole.python("import whole", path=[whole.folder / "space"]) as python:
        assert python("whole.value()") == 1111111
        expected, runs = 1111111, whole.runs()
        for name, before, after, more in [
            ("space/whole/src/inner.rs", "= 1;", "= 2;", 1),
            ("beside/src/lib.rs", "= 10;", "= 20;", 10),
            ("space/shared/src/lib.rs", "= 100;", "= 200;", 100),
            ("system/src/lib.rs", "= 1000;", "= 2000;", 1000),
            ("maker/src/lib.rs", "= 10000;", "= 20000;", 10000),
            ("texts/text.txt", "100000", "200000", 100000),
            ("texts/number.txt", "1000000", "2000000", 1000000),
            ("space/whole/build.rs", "number + 0", "number + 10000000", 10000000),
        ]:
            place = whole.folder / name
            place.write_text(place.read_text().replace(before, after))
            expected += more
            assert reloaded(python) == expected, name
            runs += 1
            assert whole.runs() == runs, name
        # A file that was put back as it was, with its date.
        for name in ("space/whole/src/inner.rs", "beside/src/lib.rs", "texts/text.txt", "texts/number.txt"):
            place = whole.folder / name
            for content, date in ((place.read_text(), None), (place.read_text().replace("2", "1"), 10**18)):
                place.write_text(content)
                if date is not None:
                    os.utime(place, ns=(date, date))
            expected = {
                "space/whole/src/inner.rs": 12222221,
                "beside/src/lib.rs": 12222211,
                "texts/text.txt": 12122211,
                "texts/number.txt": 11122211,
            }[name]
            assert reloaded(python) == expected, name
        runs = whole.runs()
        assert reloaded(python) == expected and whole.runs() == runs


def test_an_edit_of_a_manifest_is_noticed(whole: Bench) -> None:
    with whole.python("import whole", path=[whole.folder / "space"]) as python:
        place = whole.folder / "beside/Cargo.toml"
        place.write_text(place.read_text() + "[features]\ndefault = ['more']\nmore = []\n")
        whole.write("beside/src/lib.rs", 'pub const VALUE: i64 = if cfg!(feature = "more") { 30 } else { 40 };\n')
        assert reloaded(python) == 1111131
        place.write_text(place.read_text().replace("['more']", "[]"))
        assert reloaded(python) == 1111141
        config = whole.write("space/.cargo/config.toml", '[alias]\nbuild-it = "build"\n')
        runs = whole.runs()
        assert reloaded(python) == 1111141 and whole.runs() == runs + 1
        config.unlink()
        assert reloaded(python) == 1111141 and whole.runs() == runs + 2


def test_what_is_no_source_is_touched_without_a_build(whole: Bench) -> None:
    with whole.python("import whole", path=[whole.folder / "space"]) as python:
        runs = whole.runs()
        for name in ("README.md", "tests/all.rs", "src/unused.rs", "target/debug/anything", ".gitignore", "data.csv"):
            whole.write(f"space/whole/{name}", "nothing\n")
            assert reloaded(python) == 1111111
        os.utime(whole.folder / "space/whole")
        os.utime(whole.folder / "space/whole/src")
        assert reloaded(python) == 1111111
        assert whole.runs() == runs
    with whole.python("import whole", path=[whole.folder / "space"]) as python:
        assert python("whole.value()") == 1111111
    assert whole.runs() == runs


def test_a_file_that_was_restored_with_an_older_date_is_noticed(bench: Bench) -> None:
    place = bench.write("fast.rs", file(1))
    before = place.stat()
    with bench.python("import fast") as python:
        bench.write("fast.rs", file(2))
        assert python("importlib.reload(fast).value()") == 2
        bench.write("fast.rs", file(1))
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert python("importlib.reload(fast).value()") == 1
        # Moved there, as version control and editors do.
        other = bench.write("other", file(4))
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(place)
        assert python("importlib.reload(fast).value()") == 4


def test_an_edit_during_a_build_is_built_as_well(bench: Bench) -> None:
    # After the compiler has read it, before the build has ended.
    started, go = bench.aside / "started", bench.aside / "go"
    os.mkfifo(started)
    os.mkfifo(go)
    bench.write("fast.rs", file(1))
    with bench.python("import fast") as python:
        bench.cargo(
            after=f"[ -e {bench.aside}/once ] || {{ touch {bench.aside}/once; : >{started}; cat {go}; }}", name="slow"
        )
        python(f"os.environ['CARGO'] = {bench.env['CARGO']!r}")
        place = bench.write("fast.rs", file(2))
        python.tell("importlib.reload(fast).value()")
        started.read_bytes()
        assert "value" in place.read_text()
        bench.write("fast.rs", file(3))
        go.write_bytes(b"")
        assert python.answer() == 3
        assert python("importlib.reload(fast).value()") == 3
        runs = bench.runs()
        assert python("importlib.reload(fast).value()") == 3 and bench.runs() == runs


def test_an_edit_during_the_first_build_is_built_as_well(bench: Bench) -> None:
    started, go = bench.aside / "started", bench.aside / "go"
    os.mkfifo(started)
    os.mkfifo(go)
    bench.cargo(after=f"[ -e {bench.aside}/once ] || {{ touch {bench.aside}/once; : >{started}; cat {go}; }}")
    bench.write("fast.rs", file(1))
    with bench.python() as python:
        python.tell("import fast")
        started.read_bytes()
        bench.write("fast.rs", file(2))
        go.write_bytes(b"")
        python.answer()
        assert python("fast.value()") == 2
        assert python("importlib.reload(fast).value()") == 2


def test_what_a_repository_ignores_is_no_source(bench: Bench) -> None:
    subprocess.run(["git", "init", "-q", str(bench.folder)], check=True)
    bench.write(".gitignore", "*.csv\n")
    bench.write("fast.rs", file(1))
    with bench.python("import fast") as python:
        bench.write("big.csv", "1")
        assert python("importlib.reload(fast).value()") == 1
    assert bench.runs() == 1


def test_tracked_files_of_a_header_are_noticed(bench: Bench) -> None:
    # What a macro reads by itself is unknown to cargo: the header names it.
    bench.write("data/a.txt", "1")
    bench.write("fast.rs", "// firehot:pyo3\n//d: data/*.txt\n" + file(1).partition("\n")[2])
    with bench.python("import fast") as python:
        runs = bench.runs()
        bench.write("data/a.txt", "2")
        python("importlib.reload(fast)")
        assert bench.runs() == runs + 1
        bench.write("data/b.txt", "1")
        python("importlib.reload(fast)")
        assert bench.runs() == runs + 2
        python("importlib.reload(fast)")
        assert bench.runs() == runs + 2
