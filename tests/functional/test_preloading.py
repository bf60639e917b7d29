"""Which imports are preloaded: wherever they stand, whatever state the file is in, and never the project's own."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest
from support import Project, skipped

from firehot import FirehotError, PackageNotFoundError, isolate_imports
from firehot.environment import Environment


def loaded(environment: Environment) -> set[str]:
    """What a fresh child finds imported."""
    return set(environment.run(lambda: list(sys.modules)))


def preloaded(project: Project, source: str | bytes, *names: str) -> set[str]:
    """Of these third-party modules, those that are preloaded for a source text."""
    for name in names:
        project.dependency(f"{name}.py")
    project.write("app.py", source)
    with project.open() as environment:
        return {name for name in names if name in environment.modules}


PLACES = """
import dep_plain
import dep_one, dep_two as two
from dep_from import name
try:
    import dep_try
except Exception:
    import dep_except
else:
    import dep_else
finally:
    import dep_finally
with open(__file__) as file:
    import dep_with
for _ in ():
    import dep_for
else:
    import dep_for_else
while False:
    import dep_while
match 1:
    case 1:
        import dep_match
if False:
    import dep_if
elif True:
    import dep_elif
def function():
    import dep_function
    async def inner():
        import dep_async
class Class:
    import dep_class
    def method(self):
        import dep_method
if True: import dep_line
import dep_first; import dep_second
from dep_brackets import (
    a,
    b,  # with a comment
)
import \\
    dep_continued
x = lambda: 1; from dep_semicolon import y
"""


def test_imports_are_found_wherever_they_stand(project: Project) -> None:
    names = re.findall(r"dep_\w+", PLACES)
    assert len(names) == 25
    assert preloaded(project, PLACES, *names) == set(names)


def test_an_import_for_type_checkers_is_not_preloaded(project: Project) -> None:
    source = """
        import typing
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import dep_types
        else:
            import dep_else
        if typing.TYPE_CHECKING:
            import dep_attribute
        if not TYPE_CHECKING:
            import dep_not
    """
    names = ("dep_types", "dep_else", "dep_attribute", "dep_not")
    assert preloaded(project, source, *names) == {"dep_else", "dep_not"}


def test_a_missing_module_for_type_checkers_is_not_reported(project: Project) -> None:
    project.write(
        "app.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import missing_types_module\n",
    )
    with project.open() as environment:
        assert "missing_types_module" not in environment.skipped


def test_standard_library_modules_are_preloaded_but_for_jokes_and_tests(project: Project) -> None:
    project.write("app.py", "import colorsys, this, antigravity\nimport test.support\n")
    with project.open() as environment:
        names = loaded(environment)
    assert "colorsys" in names
    assert not names & {"this", "antigravity", "test.support"}


def test_submodules_named_in_from_imports_are_preloaded(project: Project) -> None:
    project.dependency("dep_package/__init__.py", "class Thing: pass\n")
    project.dependency("dep_package/part.py")
    project.dependency("dep_package/other.py")
    project.write("app.py", "from dep_package import part, Thing\n")
    with project.open() as environment:
        names = loaded(environment)
        assert "dep_package.part" in environment.modules
        assert not environment.skipped
    assert "dep_package.part" in names and "dep_package.other" not in names


def test_a_star_import_brings_the_names_of_all(project: Project) -> None:
    project.dependency("dep_package/__init__.py", "__all__ = ['part']\n")
    project.dependency("dep_package/part.py")
    project.write("app.py", "from dep_package import *\n")
    with project.open() as environment:
        assert "dep_package.part" in loaded(environment)


def test_modules_are_told_with_their_time_in_order(project: Project) -> None:
    project.dependency("dep_b.py")
    project.dependency("dep_a.py")
    project.write("app.py", "import dep_b\nimport dep_a\n")
    with project.open() as environment:
        names = [name for name in environment.modules if name.startswith("dep_")]
        assert names == ["dep_b", "dep_a"]
        assert all(module.milliseconds >= 0 for module in environment.modules.values())
        assert environment.modules["dep_a"].name == "dep_a"


def test_module_level_imports_come_before_nested_ones(project: Project) -> None:
    for name in ("dep_a", "dep_b", "dep_c"):
        project.dependency(f"{name}.py")
    project.write("__init__.py", "def later():\n    import dep_a\nfrom . import app\nimport dep_c\n")
    project.write("app.py", "import dep_b\n")
    with project.open() as environment:
        assert [name for name in environment.modules if name.startswith("dep_")] == [
            "dep_b",
            "dep_c",
            "dep_a",
        ]


def test_each_module_is_imported_once_and_in_one_process(project: Project, tmp_path: Path) -> None:
    log = tmp_path / "log"
    project.dependency(
        "dep_a.py", f"import os\nwith open({str(log)!r}, 'a') as file:\n    file.write(f'{{os.getpid()}} ')\n"
    )
    project.write("app.py", "import dep_a\n")
    project.write("other.py", "from dep_a import os\n")
    with project.open() as environment:
        template = environment.run(os.getppid)
        assert environment.run(lambda: __import__("dep_a") is not None)
    assert log.read_text().split() == [str(template)]


def test_the_projects_own_modules_are_never_imported_in_the_template(project: Project, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    project.write("__init__.py", f"open({str(trace)!r}, 'w').close()\nfrom . import part\n")
    project.write("part.py", f"import {project.name}.other\nfrom {project.name} import more\nimport beside\n")
    project.write("other.py", "import dep_a")
    project.write("more.py", "")
    (project.root / "beside.py").write_text("import dep_b\n")
    project.dependency("dep_a.py")
    project.dependency("dep_b.py")
    with project.open() as environment:
        names = loaded(environment)
        assert {"dep_a", "dep_b"} <= names
    assert not [name for name in names if name.split(".")[0] in (project.name, "beside")]
    assert not trace.exists()


def test_a_package_does_not_own_what_only_begins_like_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, site = tmp_path / "root", tmp_path / "site"
    (root / "appl").mkdir(parents=True)
    (root / "appl" / "__init__.py").write_text("import applools\nimport appl.own\n")
    (root / "appl" / "own.py").write_text("")
    site.mkdir()
    (site / "applools.py").write_text("")
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.syspath_prepend(str(site))
    with isolate_imports("appl") as environment:
        assert "applools" in environment.modules
        assert not [name for name in environment.modules if name.split(".")[0] == "appl"]


def test_a_virtual_environment_inside_the_source_root_is_third_party(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = project.root / ".venv" / "lib" / "python3" / "site-packages"
    site.mkdir(parents=True)
    (site / "dep_inside.py").write_text("import dep_deeper\n")
    (site / "dep_deeper.py").write_text("")
    (site / "dep_unused.py").write_text("import dep_never\n")
    monkeypatch.syspath_prepend(str(site))
    project.write("app.py", "import dep_inside\n")
    with project.open() as environment:
        assert "dep_inside" in environment.modules
        assert "dep_unused" not in loaded(environment)
        assert not environment.skipped


def test_a_thousand_import_lines_are_preloaded(project: Project) -> None:
    for number in range(1000):
        project.dependency(f"dep_{number:04}.py")
    project.write("app.py", "".join(f"import dep_{number:04}\n" for number in range(1000)))
    with project.open() as environment:
        found = [name for name in environment.modules if name.startswith("dep_")]
        assert found == [f"dep_{number:04}" for number in range(1000)]
        assert sum(name.startswith("dep_") for name in loaded(environment)) == 1000


# -- files in every state ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("import dep_a\ndef broken(:\nimport dep_b\n", id="syntax error"),
        pytest.param("import dep_a\nx = (1,\nimport dep_b\n", id="open bracket"),
        pytest.param("import dep_a\nx = f'{'nested'}'\nimport dep_b\n", id="PEP 701"),
        pytest.param('import dep_a\nx = f"{f"{1 + 1}"}"\nimport dep_b\n', id="nested f-strings"),
        pytest.param("import dep_a\nx = t'{1}'\nimport dep_b\n", id="t-string"),
        pytest.param("import dep_a\ntry:\n    import dep_b\nexcept A, B:\n    pass\n", id="PEP 758"),
        pytest.param("import dep_a\nclass A[T = int]:\n    import dep_b\n", id="PEP 696"),
        pytest.param("lazy import dep_a\nlazy from dep_b import x\n", id="lazy"),
        pytest.param("# -*- coding: latin-1 -*-\nx = 'é'\nimport dep_a, dep_b\n".encode("latin-1"), id="latin-1"),
        pytest.param(b"\xef\xbb\xbfimport dep_a\nimport dep_b\n", id="BOM"),
        pytest.param(b"import dep_a\r\nimport dep_b\r\n", id="CRLF"),
        pytest.param(b"import dep_a\rimport dep_b\r", id="CR"),
        pytest.param("import dep_a\nif x:\n\timport dep_b\n        import os\n", id="mixed tabs"),
        pytest.param("import dep_a\n\x0cimport dep_b\n", id="form feed"),
        pytest.param("import dep_a\nimport dep_b", id="no newline at the end"),
    ],
)  # fmt: skip
def test_imports_are_found_in_files_of_every_state(project: Project, source: str | bytes) -> None:
    assert preloaded(project, source, "dep_a", "dep_b") == {"dep_a", "dep_b"}


def test_text_that_looks_like_an_import_is_none(project: Project) -> None:
    source = '''
        """
        import dep_text
        """
        x = """
        import dep_string
        """  # import dep_comment
        y = f"""
        {1}
        import dep_fstring
        """
    '''
    assert not preloaded(project, source, "dep_text", "dep_string", "dep_comment", "dep_fstring")


def test_a_file_that_can_not_be_decoded_is_no_end(project: Project) -> None:
    project.dependency("dep_a.py")
    project.write("bad.py", b"# coding: nonsense\nimport dep_a\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert "dep_a" in environment.modules


def test_symlink_loops_and_unreadable_files_are_no_end(project: Project) -> None:
    project.dependency("dep_a.py")
    project.write("app.py", "import dep_a\n")
    (project.package / "loop").symlink_to(project.package)
    (project.package / "dangling.py").symlink_to("nowhere")
    (project.package / "folder.py").mkdir()
    with project.open() as environment:
        assert "dep_a" in environment.modules


def test_ignored_files_are_not_scanned(project: Project) -> None:
    project.dependency("dep_a.py")
    project.dependency("dep_b.py")
    project.write("app.py", "import dep_a\n")
    project.write("generated/module.py", "import dep_b\n")
    project.write("node_modules/module.py", "import dep_b\n")
    (project.root / ".git").mkdir()
    (project.root / ".gitignore").write_text("generated/\n")
    with project.open() as environment:
        assert "dep_a" in environment.modules
        assert "dep_b" not in environment.modules


# -- kinds of packages ---------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on `sys.path`, beside one with `dep_a` and `dep_b`."""
    root, site = tmp_path / "root", tmp_path / "site"
    root.mkdir()
    site.mkdir()
    (site / "dep_a.py").write_text("")
    (site / "dep_b.py").write_text("")
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.syspath_prepend(str(site))
    return root


def modules_of(package: str) -> set[str]:
    with isolate_imports(package) as environment:
        return {name for name in environment.modules if name.startswith("dep_")}


def test_a_single_file_is_scanned_alone(folder: Path) -> None:
    (folder / "single_file_app.py").write_text("import dep_a\n")
    (folder / "beside.py").write_text("import dep_b\n")
    assert modules_of("single_file_app") == {"dep_a"}


def test_a_single_file_is_scanned_with_what_it_imports(folder: Path) -> None:
    (folder / "single_file_app.py").write_text("import beside\n")
    (folder / "beside.py").write_text("import dep_b\n")
    assert modules_of("single_file_app") == {"dep_b"}


def test_a_namespace_package_is_scanned_in_all_its_folders(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    monkeypatch.syspath_prepend(str(second))
    for root, name in ((folder, "a"), (second, "b")):
        (root / "spread_app").mkdir(parents=True)
        (root / "spread_app" / f"{name}.py").write_text(f"import dep_{name}\n")
    assert modules_of("spread_app") == {"dep_a", "dep_b"}


def test_a_dotted_package_is_scanned_without_its_siblings(folder: Path) -> None:
    for name in ("outer_app", "outer_app/inner", "outer_app/other"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("")
    (folder / "outer_app" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "outer_app" / "inner" / "module.py").write_text("import dep_a\n")
    (folder / "outer_app" / "other" / "module.py").write_text("import dep_b\n")
    assert modules_of("outer_app.inner") == {"dep_a"}


@pytest.mark.parametrize(
    "name",
    ["no_such_package", "no_such_package.inner", "json.no_such_module", "", "not a name", "..", "sys"],
)
def test_a_package_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(PackageNotFoundError) as caught, isolate_imports(name):
        pass
    assert isinstance(caught.value, ImportError)
    assert repr(name.rpartition(".")[0] or name)[1:-1] in str(caught.value)


# -- settings ------------------------------------------------------------------------------------


def test_more_modules_can_be_preloaded(project: Project) -> None:
    project.dependency("dep_argument.py")
    project.dependency("dep_setting.py")
    project.settings('preload = ["dep_setting"]')
    with project.open(preload=["dep_argument"]) as environment:
        assert {"dep_argument", "dep_setting"} <= set(environment.modules)


def test_modules_can_be_ignored_with_what_is_below_them(project: Project) -> None:
    for name in ("dep_a", "dep_b", "dep_bb", "dep_c"):
        project.dependency(f"{name}/__init__.py")
    project.dependency("dep_b/part.py")
    project.write("app.py", "import dep_a, dep_b.part, dep_bb, dep_c\n")
    project.settings('ignored_modules = ["dep_a"]')
    with project.open(ignored_modules=["dep_b"]) as environment:
        assert {name for name in environment.modules if name.startswith("dep_")} == {"dep_bb", "dep_c"}


def test_more_modules_can_be_first_party(project: Project) -> None:
    project.dependency("dep_own/__init__.py", "import dep_a\n")
    project.dependency("dep_a.py")
    project.write("app.py", "import dep_own\n")
    with project.open(first_party=["dep_own"]) as environment:
        assert "dep_own" not in loaded(environment)
        assert "dep_a" in environment.modules, "it is scanned with the project"


def test_wrong_settings_are_refused_when_the_environment_is_opened(project: Project) -> None:
    project.settings("import_timeout = 'long'")
    with pytest.raises(FirehotError, match="import_timeout"), project.open():
        pass


def test_a_preload_that_is_missing_is_told(project: Project) -> None:
    with project.open(preload=["dep_missing"]) as environment:
        assert "ModuleNotFoundError" in skipped(environment)["dep_missing"]
        assert environment.skipped["dep_missing"].lines == ()
