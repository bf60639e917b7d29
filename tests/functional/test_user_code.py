"""The template holds no code of the project, not even what a third-party package imports while it is imported."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import pytest
from packages import Index, build_wheel, install, keeps, rebuilds, template_of, value_of
from support import Project, Scripts, skipped

from firehot.environment import Environment

REGISTRY = """
from importlib.metadata import entry_points
PLUGINS = [point.load() for point in entry_points(group="dep_registry.plugins")]
"""


@pytest.fixture
def imported_by(project: Project, tmp_path: Path) -> Path:
    """Lists the processes that have imported the project's `plugin`."""
    log = tmp_path / "imported_by"
    text = f"import os\nwith open({str(log)!r}, 'a') as file:\n    file.write(f'{{os.getpid()}}\\n')\nVALUE = 'old'\n"
    project.write("plugin.py", text)
    log.touch()
    return log


def own_modules(environment: Environment, project: Project) -> list[str]:
    """The project's modules that a child finds imported: by name, and by where they lie."""
    name, root = project.name, str(project.root)

    def look() -> list[str]:
        return [
            each
            for each, module in sys.modules.items()
            if each.partition(".")[0] == name or str(getattr(module, "__file__", None)).startswith(root + os.sep)
        ]

    return environment.run(look)


def assert_clean(environment: Environment, project: Project, imported_by: Path | None = None) -> None:
    assert own_modules(environment, project) == []
    if imported_by is not None:
        assert str(template_of(environment)) not in imported_by.read_text().split(), "it has run the project's code"


# -- ways in which packages come to import it ------------------------------------------------------


def test_a_plugin_that_is_registered_as_an_entry_point(project: Project, imported_by: Path, tmp_path: Path) -> None:
    project.dependency("dep_registry.py", REGISTRY)
    project.dependency("dep_z.py")
    points = f"[dep_registry.plugins]\nplug = {project.name}.plugin\n"
    install(project.root, build_wheel(tmp_path / "wheels", "myproj", "1.0", {}, points))
    file = project.write("app.py", "import dep_registry\nimport dep_z\n")
    with project.open() as environment:
        assert f"it imports {project.name}.plugin while it is imported" in skipped(environment)["dep_registry"]
        assert [(line.file, line.line) for line in environment.skipped["dep_registry"].lines] == [(file, 1)]
        assert "dep_z" in environment.modules and "dep_registry" not in environment.modules
        assert_clean(environment, project, imported_by)
        assert environment.run(lambda: [each.VALUE for each in __import__("dep_registry").PLUGINS]) == ["old"]


def test_a_settings_module_that_a_variable_names(
    project: Project, imported_by: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", f"{project.name}.plugin")
    text = "import importlib, os\nSETTINGS = importlib.import_module(os.environ['DJANGO_SETTINGS_MODULE'])\n"
    project.dependency("dep_django.py", text)
    project.write("app.py", "import dep_django\n")
    with project.open() as environment:
        assert f"it imports {project.name}.plugin while it is imported" in skipped(environment)["dep_django"]
        assert_clean(environment, project, imported_by)
        assert environment.run(lambda: __import__("dep_django").SETTINGS.VALUE) == "old"


def test_a_settings_module_that_is_named_later(
    project: Project, imported_by: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "import importlib, os\nif os.getenv('DEP_SETTINGS'):\n    importlib.import_module(os.getenv('DEP_SETTINGS'))\n"
    )
    project.dependency("dep_django.py", text)
    project.write("app.py", "import dep_django\n")
    with project.open() as environment:
        assert "dep_django" in environment.modules
        with rebuilds(environment, "DEP_SETTINGS differs"):
            monkeypatch.setenv("DEP_SETTINGS", f"{project.name}.plugin")
        assert f"{project.name}.plugin" in skipped(environment)["dep_django"]
        assert_clean(environment, project, imported_by)


def test_a_settings_module_that_only_one_call_names(project: Project, imported_by: Path) -> None:
    text = (
        "import importlib, os\nif os.getenv('DEP_SETTINGS'):\n    importlib.import_module(os.getenv('DEP_SETTINGS'))\n"
    )
    project.dependency("dep_django.py", text)
    project.write("app.py", "import dep_django\n")
    plugin = f"{project.name}.plugin"

    def look() -> tuple[bool, bool]:
        before = plugin in sys.modules
        importlib.import_module("dep_django")
        return before, plugin in sys.modules

    with project.open() as environment:
        assert environment.exec(look, env={"DEP_SETTINGS": plugin}).result() == (False, True)
        with keeps(environment):
            assert environment.run(look) == (False, False)
        assert_clean(environment, project, imported_by)


def test_a_folder_of_plugins_that_are_loaded_by_path(project: Project, imported_by: Path) -> None:
    project.dependency(
        "dep_folder.py",
        f"""
        import importlib.util, sys
        spec = importlib.util.spec_from_file_location("loaded_plugin", {str(project.package / "plugin.py")!r})
        sys.modules["loaded_plugin"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        """,
    )
    project.dependency("dep_z.py")
    project.write("app.py", "import dep_folder\nimport dep_z\n")
    with project.open() as environment:
        assert "it imports loaded_plugin while it is imported" in skipped(environment)["dep_folder"]
        assert "dep_z" in environment.modules
        assert_clean(environment, project, imported_by)


def test_a_namespace_of_plugins_that_lies_in_the_source_folder(project: Project, imported_by: Path) -> None:
    plugin = project.root / "dep_plugins" / "own.py"
    plugin.parent.mkdir()
    plugin.write_text(f"from {project.name}.plugin import VALUE\n")
    project.dependency("dep_plugins/builtin.py")
    project.dependency(
        "dep_finder.py",
        """
        import importlib, pkgutil, dep_plugins
        for found in pkgutil.iter_modules(dep_plugins.__path__, "dep_plugins."):
            importlib.import_module(found.name)
        """,
    )
    project.write("app.py", "import dep_finder\n")
    with project.open() as environment:
        assert "dep_plugins.own" in skipped(environment)["dep_finder"]
        assert_clean(environment, project, imported_by)


def test_a_module_that_is_forgotten_after_its_import(project: Project, imported_by: Path) -> None:
    plugin = f"{project.name}.plugin"
    project.dependency(
        "dep_a.py",
        f"import importlib, sys\nKEPT = importlib.import_module({plugin!r})\n"
        f"del sys.modules[{plugin!r}], sys.modules[{project.name!r}]\n",
    )
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert plugin in skipped(environment)["dep_a"]
        assert_clean(environment, project, imported_by)


def test_modules_that_are_declared_as_the_projects_own(project: Project) -> None:
    project.dependency("dep_own/__init__.py", "VALUE = 'old'\n")
    project.dependency("dep_a.py", "from dep_own import VALUE\n")
    project.write("app.py", "import dep_a\n")
    with project.open(first_party=["dep_own"]) as environment:
        assert "it imports dep_own while it is imported" in skipped(environment)["dep_a"]
        assert environment.run(lambda: "dep_own" not in sys.modules)


def test_an_import_that_swallows_every_failure(project: Project, imported_by: Path) -> None:
    """Whatever is done to keep the project's code away, a package that expects failures must not hide it."""
    plugin = f"{project.name}.plugin"
    project.dependency("dep_a.py", f"try:\n    import {plugin}\nexcept BaseException:\n    pass\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert plugin in skipped(environment)["dep_a"]
        assert_clean(environment, project, imported_by)
        assert environment.run(lambda: bool(__import__("dep_a")) and plugin in sys.modules)


# -- who is to blame -------------------------------------------------------------------------------


def test_the_chain_of_imports_is_told(project: Project, imported_by: Path) -> None:
    project.dependency("dep_outer.py", "import dep_inner\n")
    project.dependency("dep_inner.py", f"import {project.name}.plugin\n")
    project.dependency("dep_before.py")
    project.dependency("dep_after.py")
    project.write("app.py", "import dep_before\nimport dep_outer\nimport dep_after\n")
    with project.open() as environment:
        reason = skipped(environment)["dep_outer"]
        assert f"it imports {project.name}.plugin while it is imported" in reason
        chain = [reason.rfind(name) for name in ("dep_outer", "dep_inner", f"{project.name}.plugin")]
        assert -1 not in chain and chain == sorted(chain), reason
        assert {"dep_before", "dep_after"} <= set(environment.modules)
        assert environment.run(lambda: "dep_inner" not in sys.modules)
        assert_clean(environment, project, imported_by)


def test_everybody_who_leads_to_it_is_left_out_and_nobody_else(project: Project, imported_by: Path) -> None:
    project.dependency("dep_shared.py")
    project.dependency("dep_inner.py", f"import dep_shared\nimport {project.name}.plugin\n")
    project.dependency("dep_one.py", "import dep_shared, dep_inner\n")
    project.dependency("dep_two.py", "import dep_inner, dep_shared\n")
    project.dependency("dep_neighbour.py", "import dep_shared\n")
    project.write("app.py", "import dep_one, dep_two, dep_inner, dep_neighbour, dep_shared\n")
    with project.open() as environment:
        bad = {"dep_one", "dep_two", "dep_inner"}
        assert bad <= set(environment.skipped)
        assert all(project.name in skipped(environment)[name] for name in bad)
        assert {name for name in environment.modules if name.startswith("dep_")} == {"dep_neighbour", "dep_shared"}
        assert_clean(environment, project, imported_by)


def test_the_package_of_a_guilty_submodule_stays(project: Project, imported_by: Path) -> None:
    project.dependency("dep_package/__init__.py")
    project.dependency("dep_package/good.py")
    project.dependency("dep_package/hooks.py", f"import {project.name}.plugin\n")
    project.write("app.py", "import dep_package\nfrom dep_package import hooks\nimport dep_package.good\n")
    with project.open() as environment:
        assert {"dep_package", "dep_package.good"} <= set(environment.modules)
        assert "dep_package.hooks" in " ".join(environment.skipped) and "dep_package.hooks" not in environment.modules
        assert_clean(environment, project, imported_by)
        assert environment.run(lambda: importlib.import_module("dep_package.hooks").__name__) == "dep_package.hooks"


def test_what_the_project_itself_imports_is_not_to_blame(project: Project) -> None:
    """The project's plugin brought it into the template first."""
    project.write("plugin.py", "import dep_innocent\n")
    project.dependency("dep_guilty.py", f"import {project.name}.plugin\n")
    project.dependency("dep_innocent.py")
    project.write("app.py", "import dep_guilty, dep_innocent\n")
    with project.open() as environment:
        assert "dep_innocent" in environment.modules
        assert list(environment.skipped) == ["dep_guilty"]
        assert_clean(environment, project)


def test_an_import_in_a_thread_is_blamed_on_its_package(project: Project, imported_by: Path) -> None:
    project.dependency(
        "dep_a.py",
        f"""
        import importlib, threading
        thread = threading.Thread(target=importlib.import_module, args=({project.name + ".plugin"!r},))
        thread.start()
        thread.join()
        """,
    )
    project.dependency("dep_z.py")
    project.write("app.py", "import dep_a\nimport dep_z\n")
    with project.open() as environment:
        assert list(environment.skipped) == ["dep_a"]
        assert "dep_z" in environment.modules
        assert_clean(environment, project, imported_by)


def test_many_that_are_guilty_are_all_left_out(project: Project, imported_by: Path) -> None:
    names = [f"dep_{number}" for number in range(10)]
    for name in names:
        project.dependency(f"{name}.py", f"import {project.name}.plugin\n")
    project.write("app.py", "".join(f"import {name}\n" for name in names))
    with project.open() as environment:
        assert list(environment.skipped) == names
        assert_clean(environment, project, imported_by)


def test_a_package_whose_name_begins_as_the_projects_does_is_not_blamed(project: Project) -> None:
    other = f"{project.name}_extras"
    project.dependency(f"{other}.py", "VALUE = 1\n")
    project.dependency("dep_a.py", f"import {other}\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert "dep_a" in environment.modules and not environment.skipped


def test_a_path_that_only_begins_as_the_projects_folder_is_not_its_own(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / (project.root.name + "_of_others")
    folder.mkdir()
    (folder / "dep_other.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(folder))
    project.dependency("dep_a.py", "import dep_other\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert "dep_a" in environment.modules and not environment.skipped


# -- afterwards ------------------------------------------------------------------------------------


def test_edits_of_what_it_imports_are_seen_by_the_next_run(project: Project) -> None:
    project.write("plugin.py", "VALUE = 'old'\n")
    project.dependency("dep_a.py", f"from {project.name}.plugin import VALUE\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert value_of(environment) == "old"
        with keeps(environment):
            project.write("plugin.py", "VALUE = 'new'\n")
            assert value_of(environment) == "new"


def test_a_package_that_leaves_the_project_alone_again_is_preloaded(project: Project, imported_by: Path) -> None:
    project.dependency("dep_a.py", f"import {project.name}.plugin\nVALUE = 'guilty'\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert "dep_a" in environment.skipped
        project.dependency("dep_a.py", "VALUE = 'reformed'\n")
        assert value_of(environment) == "reformed"
        assert "dep_a" in environment.modules and "dep_a" not in environment.skipped


def test_a_package_that_begins_to_import_it_is_left_out(project: Project, imported_by: Path) -> None:
    project.dependency("dep_a.py", "VALUE = 'innocent'\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        with rebuilds(environment, "dep_a.py changed"):
            project.dependency("dep_a.py", f"import {project.name}.plugin\nVALUE = 'guilty'\n")
        assert "dep_a" in environment.skipped
        assert_clean(environment, project, imported_by)


@pytest.mark.parametrize("level", ["warn", "info"])
def test_it_is_told_at_first_and_not_again(scripts: Scripts, script_package: str, level: str) -> None:
    scripts.save("import my_package.plugin\n", "third_party/dep_a.py")
    scripts.save("VALUE = 1\n", "third_party/dep_b.py")
    scripts.save("import dep_a, dep_b\n", "my_package/app.py")
    scripts.save("", "my_package/plugin.py")
    finished = scripts.run(
        """
        import sys
        from pathlib import Path
        from firehot import isolate_imports
        folder = Path(sys.argv[1])
        sys.path.append(str(folder))
        with isolate_imports("my_package") as environment:
            print("-- open", file=sys.stderr, flush=True)
            for _ in range(3):
                environment.run(abs, -1)
            (folder / "dep_b.py").write_text("VALUE = 'another'\\n")
            for _ in range(3):
                environment.run(abs, -1)
            print(environment.last_rebuild)
        """,
        str(scripts.folder / "third_party"),
        env={"FIREHOT_LOG_LEVEL": level},
    )
    assert "dep_b.py changed" in finished.ok()
    at_first, _, later = finished.stderr.partition("-- open\n")
    told = [line for line in at_first.splitlines() if "it imports my_package.plugin while it is imported" in line]
    assert told and all("dep_a" in line for line in told), finished.stderr
    assert level == "info" or len(told) == 1
    assert "dep_a" not in later, "it is no news, not even in another template"


# -- sitecustomize ---------------------------------------------------------------------------------

CUSTOM = """
    import os, sys
    from pathlib import Path
    from firehot import isolate_imports

    def look():
        return getattr(sys, "custom", None), getattr(sys, "custom_helper", None), os.getppid()

    if __name__ == "__main__":
        with isolate_imports("my_package") as environment:
            first, again = environment.run(look), environment.run(look)
            assert first == again, (first, again)
            for name in sys.argv[1:]:
                file = Path(name)
                # Of another size: an interpreter that starts goes by CPython's own rule for bytecode.
                file.write_text(file.read_text().replace("old", "newer"))
                seen = environment.run(look)
                assert seen[2] != again[2], "the template is stale and was kept"
                assert f"{file.name} changed" in environment.last_rebuild, environment.last_rebuild
                print(first[0], first[1], "->", seen[0], seen[1])
                again = seen
"""


def run_customised(scripts: Scripts, name: str, text: str, *edited: str) -> list[str]:
    """The lines on stderr at level info that name the file."""
    file = scripts.save(text, f"{name}.py")
    # A virtual environment has no user site, and so no usercustomize: the interpreter below it has.
    python = str(Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))
    path = [str(scripts.folder), *(entry for entry in sys.path if entry and "functional" not in entry)]
    finished = scripts.run_command(
        [python, str(scripts.save(CUSTOM)), *edited],
        env={
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONNOUSERSITE": "",
            "PYTHONUSERBASE": str(scripts.folder / "user"),
            "FIREHOT_LOG_LEVEL": "info",
        },
    )
    seen = finished.ok().splitlines()
    assert len(seen) == len(edited) and all("new" in line.partition("->")[2] for line in seen)
    return [line for line in finished.stderr.splitlines() if file.stem in line and "changed" not in line]


@pytest.mark.parametrize("name", ["sitecustomize", "usercustomize"])
def test_a_customisation_of_the_project_is_allowed_and_watched(
    scripts: Scripts, script_package: str, name: str
) -> None:
    told = run_customised(scripts, name, "import sys\nsys.custom = 'old'\n", str(scripts.folder / f"{name}.py"))
    assert len(told) == 1 and told[0].startswith("firehot [info] "), told


def test_what_a_customisation_imports_is_watched_as_well(scripts: Scripts, script_package: str) -> None:
    helper = scripts.save("VALUE = 'old'\n", "my_package/helper.py")
    text = "import sys\nfrom my_package.helper import VALUE\nsys.custom_helper = VALUE\n"
    run_customised(scripts, "sitecustomize", text, str(helper))


def test_a_customisation_that_imports_the_project_is_no_ones_fault(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What every interpreter has loaded at its start is not blamed on the packages that are imported then."""
    index = Index(tmp_path / "wheels", project.site)
    index.install("gadget", "1.0")
    (project.root / "sitecustomize.py").write_text(f"import {project.name}.settings\n")
    project.write("settings.py", "VALUE = 1\n")
    project.write("app.py", "import gadget\n")
    monkeypatch.setenv("PYTHONPATH", project.path)
    with project.open() as environment:
        assert "gadget" in environment.modules and not environment.skipped


def test_a_script_in_the_projects_folder_may_use_what_imports_multiprocessing(project: Project) -> None:
    project.dependency("dep_spawns.py", "import multiprocessing\n")
    project.write("__init__.py", "import dep_spawns\n")
    scripts = Scripts(project.root)
    ended = scripts.run(f"""
        import sys
        from firehot import isolate_imports

        def look():
            import multiprocessing
            return sys.modules["__mp_main__"] is sys.modules["__main__"]

        if __name__ == "__main__":
            sys.path[:0] = {project.path!r}.split(":")
            with isolate_imports({project.name!r}) as environment:
                print(list(environment.modules), dict(environment.skipped), environment.run(look))
    """)
    shown = ended.ok()
    assert "'dep_spawns'" in shown and shown.endswith("{} True\n"), shown
