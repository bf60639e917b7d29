"""A run sees what is installed now: a template that is no longer true to the disk is replaced before the next exec."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packages import Index, keeps, rebuilds, template_of, value_of
from support import Project, Scripts

from firehot import ChildError


@pytest.fixture
def index(project: Project, tmp_path: Path) -> Index:
    """Installs into the folder of the project's third-party modules."""
    return Index(tmp_path / "wheels", project.site)


# -- distributions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), [("1.0", "2.0"), ("2.0", "1.0")], ids=["upgrade", "downgrade"])
def test_another_version_of_a_distribution_is_seen(project: Project, index: Index, old: str, new: str) -> None:
    index.install("gadget", old)
    project.write("app.py", "import gadget\n")
    with project.open() as environment:
        assert environment.last_rebuild is None
        with rebuilds(environment, f"gadget {old} -> {new}"):
            index.install("gadget", new)
        assert value_of(environment, "gadget") == new
        assert "gadget" in environment.modules


def test_a_distribution_that_was_uninstalled_is_gone(project: Project, index: Index) -> None:
    index.install("gadget", "1.0")
    project.write("app.py", "import gadget\n")
    with project.open() as environment:
        with rebuilds(environment, "gadget 1.0 removed"):
            index.uninstall("gadget")
        assert "gadget" not in environment.modules and "gadget" in environment.skipped
        with pytest.raises(ChildError, match="No module named 'gadget'"):
            value_of(environment, "gadget")


def test_a_distribution_that_was_missing_is_preloaded_once_it_is_installed(project: Project, index: Index) -> None:
    project.write("app.py", "import gadget\n")
    with project.open() as environment:
        assert "gadget" in environment.skipped
        with rebuilds(environment, "gadget 1.0 installed"):
            index.install("gadget", "1.0")
        assert "gadget" in environment.modules and "gadget" not in environment.skipped
        assert environment.run(lambda: "gadget" in sys.modules)


def test_the_same_version_with_other_code_is_seen(project: Project, index: Index) -> None:
    index.install("gadget", "1.0", {"gadget.py": "VALUE = 'broken'\n"})
    project.write("app.py", "import gadget\n")
    with project.open() as environment:
        with rebuilds(environment, "gadget.py changed"):
            index.install("gadget", "1.0", {"gadget.py": "VALUE = 'mended'\n"})
        assert value_of(environment, "gadget") == "mended"


def test_what_only_a_dependency_imports_is_watched_as_well(project: Project, index: Index) -> None:
    index.install("widget", "1.0")
    index.install("gadget", "1.0", {"gadget.py": "from widget import VALUE\n"})
    project.write("app.py", "import gadget\n")
    with project.open() as environment:
        with rebuilds(environment, "widget 1.0 -> 1.1"):
            index.install("widget", "1.1")
        assert value_of(environment, "gadget") == "1.1"


def test_entry_points_that_a_new_distribution_brings_are_seen(project: Project, index: Index) -> None:
    project.dependency(
        "dep_a.py",
        """
        from importlib.metadata import entry_points
        VALUE = sorted(point.name for point in entry_points(group="dep_a.plugins"))
        """,
    )
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert value_of(environment) == []
        with rebuilds(environment, "plug 1.0 installed"):
            index.install("plug", "1.0", entry_points="[dep_a.plugins]\nextra = plug\n")
        assert value_of(environment) == ["extra"]


@pytest.mark.parametrize(
    ("file", "text"),
    [("gadget-1.0.egg-info/PKG-INFO", "Name: gadget\nVersion: 1.0\n"), ("gadget.egg-link", "/somewhere\n.\n")],
    ids=["egg-info", "egg-link"],
)
def test_older_kinds_of_installation_count(project: Project, file: str, text: str) -> None:
    with project.open() as environment, rebuilds(environment, "gadget"):
        project.dependency(file, text)


def test_several_changes_are_all_told(project: Project, index: Index) -> None:
    index.install("gadget", "1.0")
    project.dependency("dep_a.py", "VALUE = 1\n")
    project.write("app.py", "import gadget, dep_a\n")
    with project.open() as environment:
        with rebuilds(environment, "gadget 1.0 -> 2.0", "; ", "dep_a.py changed"):
            index.install("gadget", "2.0")
            project.dependency("dep_a.py", "VALUE = 2\n")
        with keeps(environment):
            assert value_of(environment) == 2


# -- imports that failed ---------------------------------------------------------------------------

FAILING = {
    "it was missing": {},
    "it raised": {"__init__.py": "raise RuntimeError\n"},
    "it was no Python": {"__init__.py": "VALUE = (\n"},
    "it failed half-way": {"__init__.py": "from . import part\nraise RuntimeError\n", "part.py": ""},
}


@pytest.mark.parametrize("why", FAILING)
def test_an_import_that_failed_is_preloaded_as_soon_as_it_works(project: Project, why: str) -> None:
    for name, text in FAILING[why].items():
        project.dependency(f"dep_a/{name}", text)
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert "dep_a" in environment.skipped
        project.dependency("dep_a/__init__.py", "VALUE = 'fine'\n")
        assert value_of(environment) == "fine"
        assert "dep_a" in environment.modules and "dep_a" not in environment.skipped
        with keeps(environment):
            assert value_of(environment) == "fine"


def test_an_import_that_lacked_another_module_is_preloaded_once_that_is_there(project: Project) -> None:
    project.dependency("dep_package/__init__.py")
    project.dependency("dep_a.py", "from dep_package.part import VALUE\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert "dep_package.part" in environment.skipped["dep_a"].reason
        project.dependency("dep_package/part.py", "VALUE = 'fine'\n")
        assert value_of(environment) == "fine"
        assert "dep_a" in environment.modules


def test_an_import_that_goes_on_failing_does_not_rebuild_at_each_exec(project: Project) -> None:
    project.dependency("dep_a.py", "raise RuntimeError('one')\n")
    project.write("app.py", "import dep_a, dep_missing\n")
    with project.open() as environment:
        with keeps(environment):
            environment.run(abs, -1)
        project.dependency("dep_a.py", "raise RuntimeError('another')\n")
        environment.run(abs, -1)
        assert "another" in environment.skipped["dep_a"].reason
        with keeps(environment):
            environment.run(abs, -1)


# -- how it is told --------------------------------------------------------------------------------


def test_an_update_replaces_a_stale_template_and_says_so(project: Project) -> None:
    project.dependency("dep_a.py", "VALUE = 'old'\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert environment.update_environment() is False
        project.dependency("dep_a.py", "VALUE = 'new one'\n")
        assert environment.update_environment() is True
        assert "dep_a.py changed" in environment.last_rebuild
        with keeps(environment):
            assert value_of(environment) == "new one"
            assert environment.update_environment() is False


def test_changed_imports_are_a_reason(project: Project) -> None:
    project.dependency("dep_a.py")
    app = project.write("app.py", "")
    with project.open() as environment:
        app.write_text("import dep_a\n")
        assert environment.update_environment() is True
        assert environment.last_rebuild.startswith("the imports have changed")


def test_the_reason_is_logged_at_info_and_not_again(scripts: Scripts, script_package: str) -> None:
    dependency = scripts.save("VALUE = 1\n", "third_party/dep_a.py")
    scripts.save("import dep_a\n", "my_package/app.py")
    finished = scripts.run(
        """
        import os, sys
        from pathlib import Path
        from firehot import isolate_imports
        file = Path(sys.argv[1])
        sys.path.append(str(file.parent))
        with isolate_imports("my_package") as environment:
            environment.run(abs, -1)
            for part in ("edited", "as it was"):
                print(f"-- {part}", file=sys.stderr, flush=True)
                if part == "edited":
                    file.write_text("VALUE = 'another'\\n")
                for _ in range(3):
                    environment.run(abs, -1)
            print(environment.last_rebuild)
        """,
        str(dependency),
        env={"FIREHOT_LOG_LEVEL": "info"},
    )
    assert finished.ok().strip().endswith("dep_a.py changed")
    before, _, rest = finished.stderr.partition("-- edited\n")
    edited, _, after = rest.partition("-- as it was\n")
    assert "the template" not in after and "dep_a.py changed" not in before + after
    told = [line for line in edited.splitlines() if line.endswith("dep_a.py changed")]
    assert told and all(line.startswith("firehot [info] ") for line in told)


def test_the_first_template_has_no_reason(project: Project) -> None:
    with project.open() as environment:
        assert template_of(environment) > 0
        assert environment.last_rebuild is None
