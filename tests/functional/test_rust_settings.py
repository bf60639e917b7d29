"""What counts for a build, and what `firehot.rust` does beside its finder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rusting import Bench, Python, Raised, file, needs_cargo
from support import wait_until

pytestmark = [needs_cargo, pytest.mark.timeout(300)]

FEATURES = "//: [features]\n" + "".join(f"//: {name} = []\n" for name in "abcde")


def featured(bench: Bench) -> Path:
    """A file whose value is the number of the first feature that is on."""
    value = " else ".join(f'if cfg!(feature = "{name}") {{ {n} }}' for n, name in enumerate("abcde", 1)) + " else { 0 }"
    head, _, rest = file(value).partition("\n")
    return bench.write("fast.rs", f"{head}\n{FEATURES}{rest}")


def test_which_of_the_settings_counts(bench: Bench) -> None:
    featured(bench)

    def value(*lines: str, **env: str) -> object:
        with bench.python(install=False, env=env) as python:
            python("import importlib, firehot.rust\nfrom firehot.rust import Settings")
            for line in lines:
                python(line)
            return python("__import__('fast').value()")

    given = "firehot.rust.install(Settings(features=['a'])"
    assert value("firehot.rust.install()") == 0
    assert value(given + ")") == 1
    bench.write("pyproject.toml", '[tool.firehot.rust]\nfeatures = ["b"]\n')
    assert value(given + ")") == 2
    bench.write(
        "pyproject.toml", '[tool.firehot.rust]\nfeatures = ["b"]\n[tool.firehot.rust.crates.fast]\nfeatures = ["c"]\n'
    )
    assert value(given + ")") == 3
    is_it = "(name, place.name) == ('fast', 'fast.rs')"
    chosen = f", settings_for=lambda name, place: Settings(features=['d']) if {is_it} else 1/0)"
    assert value(given + chosen) == 4
    assert value(given + chosen, FIREHOT_RUST_FEATURES="e") == 5
    assert value(given + ", settings_for=lambda name, place: None)") == 3


def test_settings_that_are_none_are_told_of(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    with bench.python(env={"FIREHOT_RUST_RELEASE": "perhaps"}) as python:
        raised = python.raised("import fast")
        assert raised.kind == "FirehotError" and "FIREHOT_RUST_RELEASE" in raised.text and "'perhaps'" in raised.text
    place = bench.write("pyproject.toml", "[tool.firehot.rust]\nreleese = true\n")
    with bench.python() as python:
        raised = python.raised("import fast")
        assert raised.kind == "FirehotError" and "releese" in raised.text and str(place) in raised.text
        place.write_text("[tool.firehot.rust]\nfeatures = 'a'\n")
        assert "a list of texts" in python.raised("import fast").text
        place.write_text("[tool.firehot.rust\n")
        assert "no valid TOML" in python.raised("import fast").text
        place.unlink()
        assert python("__import__('fast').value()") == 1


def test_a_release_build_is_one_of_its_own(bench: Bench) -> None:
    bench.write("fast.rs", file("if cfg!(debug_assertions) { 1 } else { 2 }"))
    with bench.python("import fast") as python:
        assert python("fast.value()") == 1
        python("firehot.rust.install(firehot.rust.Settings(release=True))")
        assert python("importlib.reload(fast).value()") == 2
    runs = bench.runs()
    for release, value in (("1", 2), ("0", 1)):
        with bench.python("import fast", env={"FIREHOT_RUST_RELEASE": release}) as python:
            assert python("fast.value()") == value
    assert bench.runs() == runs


def test_what_is_built_is_enough_where_there_is_no_toolchain(bench: Bench, tmp_path: Path) -> None:
    bench.write("fast.rs", file(1))
    bench.write("other.rs", file(1))
    with bench.python("import fast"):
        pass
    bench.write("fast.rs", file(2))
    nothing = {"CARGO": None, "PATH": str(tmp_path), "HOME": str(tmp_path), "FIREHOT_RUST_PREBUILT": "1"}
    with bench.python("import fast", env=nothing) as python:
        assert python("fast.value(), importlib.reload(fast).value()") == [1, 1]
        raised = python.raised("import other")
        assert raised.kind == "RustBuildError"
        assert "never built" in raised.text and "FIREHOT_RUST_PREBUILT" in raised.text and "other.rs" in raised.text


def test_the_last_good_build_is_kept_where_that_is_wanted(bench: Bench) -> None:
    bench.write("fast.rs", file("broken"))
    with bench.python("firehot.rust.install(firehot.rust.Settings(on_build_error='keep'))") as python:
        assert python.raised("import fast").kind == "RustBuildError"
        bench.write("fast.rs", file(1))
        python("import fast")
        bench.write("fast.rs", file("broken_again"))
        assert python("importlib.reload(fast).value()") == 1
        assert python.said().count("cannot find value `broken_again`") == 1
        assert "going on with the last build that was good" in python.said()
        bench.write("fast.rs", file(2))
        assert python("importlib.reload(fast).value()") == 2


def in_time(python: Python, code: str, expected: object) -> bool:
    return bool(wait_until(lambda: python(code) == expected))


def test_a_build_in_the_background_comes_with_a_later_reload(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    go = bench.aside / "go"
    with bench.python("firehot.rust.install(background=True)", "import fast") as python:
        assert python("fast.value()") == 1
        os.mkfifo(go)
        bench.cargo(before=f"cat {go}", name="slow")
        python(f"os.environ['CARGO'] = {bench.env['CARGO']!r}")
        bench.write("fast.rs", file(2))
        assert python("importlib.reload(fast).value(), importlib.reload(fast).value()") == [1, 1]
        go.write_bytes(b"")
        assert in_time(python, "importlib.reload(fast).value()", 2)
        bench.cargo()
        python(f"os.environ['CARGO'] = {bench.env['CARGO']!r}")
        bench.write("fast.rs", file("broken"))
        assert python("importlib.reload(fast).value()") == 2

        def failure() -> Raised | None:
            try:
                assert python("importlib.reload(fast).value()") == 2
            except Raised as raised:
                return raised
            return None

        raised = wait_until(failure)
        assert raised.kind == "RustBuildError" and "broken" in raised.text
        # The same is not told again, nor does cargo say it again, however often it is asked for.
        runs = bench.runs()
        assert [failure() for _ in range(5)] == [None] * 5
        # Once more at most: this cargo is a new file, which may have changed while it ran.
        assert bench.runs() <= runs + 1
        bench.write("fast.rs", file(3))
        assert in_time(python, "importlib.reload(fast).value()", 3)


def test_extensions_are_imported_by_name_and_by_place(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    bench.write("package/__init__.py", "")
    bench.write("package/inner.rs", file(2))
    place = bench.write("elsewhere/my-file.rs", file(3))
    with bench.python("import firehot.rust, importlib, sys", install=False) as python:
        assert python("firehot.rust.imp('fast').value(), sys.modules['fast'].value()") == [1, 1]
        assert python("firehot.rust.imp('package.inner').value()") == 2
        python(f"placed = firehot.rust.imp_from_path({str(place)!r})")
        assert python("placed.value(), placed.__name__, sys.modules['my_file'] is placed") == [3, "my_file", True]
        assert python(f"firehot.rust.imp_from_path({str(place)!r}, 'named').__name__") == "named"
        assert python.raised("firehot.rust.imp_from_path('/nowhere.rs')").kind == "FileNotFoundError"
        python("firehot.rust.install()")
        python(f"placed = firehot.rust.imp_from_path({str(place)!r})")
        place.write_text(file(4))
        assert python("importlib.reload(placed).value(), placed.value()") == [4, 4]


def test_all_below_a_folder_is_built(bench: Bench) -> None:
    bench.write("one.rs", file(1))
    bench.write("deep/two.rs", file(2))
    bench.write("deep/broken.rs", file("broken"))
    bench.write("plain.rs", "fn main() {}")
    with bench.python("import firehot.rust", install=False) as python:
        raised = python.raised(f"firehot.rust.build({str(bench.folder)!r})")
        assert raised.kind == "RustBuildError" and "broken.rs" in raised.text
        runs = bench.runs()
        (bench.folder / "deep/broken.rs").unlink()
        built = python(f"{{name: path.is_file() for name, path in firehot.rust.build({str(bench.folder)!r}).items()}}")
        assert built == {"one": True, "two": True}
        assert bench.runs() == runs
        python(f"firehot.rust.build({str(bench.folder)!r}, force=True)")
        assert bench.runs() == runs + 2


SHELL = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "firehot")
def cell(line, text):
    shell.run_cell(f"%%rust {line}\\n{text}").raise_error()
"""


def test_a_cell_of_a_notebook(bench: Bench) -> None:
    pytest.importorskip("IPython", reason="no IPython here")
    text = file(1).partition("\n")[2]
    with bench.python(SHELL, install=False, env={"IPYTHONDIR": str(bench.aside / "ipython")}) as python:
        python(f"cell('', {text!r})")
        assert python("shell.user_ns['value']()") == 1
        python(f"cell('', {text.replace('1', '2')!r})")
        assert python("shell.user_ns['value']()") == 2
        runs = bench.runs()
        python(f"cell('', {text!r})")
        assert python("shell.user_ns['value']()") == 1 and bench.runs() == runs
        python(f"cell('--force', {text!r})")
        assert bench.runs() == runs + 1
        assert "--release and --force" in python.raised(f"cell('--fast', {text!r})").text
        raised = python.raised(f"cell('', {file('broken')!r})")
        assert raised.kind == "RustBuildError" and "broken" in raised.text
