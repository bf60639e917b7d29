"""`isolate_imports(watch=True)`: `update_environment` is told what changed, and misses no finished edit."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import Project, Scripts

from firehot import FirehotError
from firehot.environment import Environment

# Small modules of the standard library that nothing here imports by itself.
MODULES = ["colorsys", "graphlib", "netrc", "sched", "wave"]


def preloaded(environment: Environment) -> set[str]:
    return {name for name in MODULES if name in environment.modules}


def imports(*names: str) -> str:
    return "".join(f"import {name}\n" for name in names)


def test_an_edit_is_found_by_the_update_that_follows_at_once(project: Project) -> None:
    project.write("app.py", imports("colorsys"))
    with project.open(watch=True, learn=False) as environment:
        assert preloaded(environment) == {"colorsys"}
        project.write("app.py", imports("sched"))
        assert environment.update_environment() is True
        assert preloaded(environment) == {"sched"}
        assert environment.update_environment() is False


def test_the_setting_of_the_project_counts_and_the_argument_wins(project: Project) -> None:
    project.settings("watch = true")
    with project.open() as environment:
        assert environment.update_environment() is False
    project.settings("watch = 'yes'")
    with pytest.raises(FirehotError, match=r"watch is true or false"), project.open():
        pass


def test_random_edits_are_each_found_at_once(project: Project) -> None:
    """The scan itself is compared after 1,000 edits in tests/watch.rs; this is the way through the API."""
    rng = random.Random(7)
    wanted: dict[str, set[str]] = {}

    def edit() -> None:
        name = rng.choice(["a.py", "sub/b.py", "sub/deep/c.py", "d.py"])
        file = project.package / name
        chosen = set(rng.sample(MODULES, rng.randint(0, 2)))
        kind = rng.choice(["write", "replace", "remove", "remake", "rename"])
        if kind == "write":
            project.write(name, imports(*chosen))
            wanted[name] = chosen
        elif kind == "replace":
            project.write(name + ".tmp", imports(*chosen))
            (project.package / (name + ".tmp")).rename(file)
            wanted[name] = chosen
        elif kind == "remove":
            file.unlink(missing_ok=True)
            wanted.pop(name, None)
        elif kind == "remake":
            shutil.rmtree(project.package / "sub", ignore_errors=True)
            for known in [known for known in wanted if known.startswith("sub/")]:
                del wanted[known]
            project.write("sub/deep/c.py", imports(*chosen))
            wanted["sub/deep/c.py"] = chosen
        elif (project.package / "sub").is_dir():
            (project.package / "sub").rename(project.package / "moved")
            (project.package / "moved").rename(project.package / "sub")

    with project.open(watch=True, learn=False) as environment:
        for number in range(150):
            edit()
            environment.update_environment()
            assert preloaded(environment) == set().union(*wanted.values()), number


def test_an_edit_by_another_process_is_found_when_that_says_it_is_done(project: Project) -> None:
    file = project.write("app.py", "")
    with project.open(watch=True, learn=False) as environment:
        for name in MODULES:
            code = f"open({str(file)!r}, 'w').write('import {name}')"
            subprocess.run([sys.executable, "-S", "-c", code], check=True)
            environment.update_environment()
            assert preloaded(environment) == {name}


def test_files_that_an_edit_reaches_are_followed_from_then_on(project: Project) -> None:
    neighbour = project.root / "neighbour" / "inner.py"
    neighbour.parent.mkdir()
    neighbour.write_text(imports("colorsys"))
    project.write("app.py", "")
    with project.open(watch=True, learn=False) as environment:
        assert preloaded(environment) == set()
        project.write("app.py", "import neighbour.inner\n")
        # Between the scan and the watch of what it has come to, anything may happen.
        environment.update_environment()
        assert preloaded(environment) == {"colorsys"}
        for name in MODULES:
            neighbour.write_text(imports(name))
            environment.update_environment()
            assert preloaded(environment) == {name}


def test_a_module_that_appears_beside_the_project_is_found(project: Project) -> None:
    project.write("app.py", "import beside\n")
    with project.open(watch=True, learn=False) as environment:
        (project.root / "beside.py").write_text(imports("sched"))
        environment.update_environment()
        assert preloaded(environment) == {"sched"}
        (project.root / "beside.py").unlink()
        folder = project.root / "beside"
        folder.mkdir()
        environment.update_environment()
        assert preloaded(environment) == set()
        (folder / "__init__.py").write_text(imports("wave"))
        environment.update_environment()
        assert preloaded(environment) == {"wave"}


def test_a_folder_above_that_is_replaced_is_noticed(project: Project, tmp_path: Path) -> None:
    project.write("app.py", imports("colorsys"))
    with project.open(watch=True, learn=False) as environment:
        assert environment.update_environment() is False
        project.root.rename(tmp_path / "old")
        shutil.copytree(tmp_path / "old", project.root)
        project.write("app.py", imports("sched"))
        environment.update_environment()
        assert preloaded(environment) == {"sched"}
        project.write("app.py", imports("wave"))
        environment.update_environment()
        assert preloaded(environment) == {"wave"}


def test_a_file_with_another_name_elsewhere_is_looked_at_each_time(project: Project, tmp_path: Path) -> None:
    target = tmp_path / "target.py"
    target.write_text(imports("colorsys"))
    (project.package / "link.py").symlink_to(target)
    other = tmp_path / "other.py"
    os.link(project.write("hard.py", imports("wave")), other)
    with project.open(watch=True, learn=False) as environment:
        assert preloaded(environment) == {"colorsys", "wave"}
        target.write_text(imports("sched"))
        environment.update_environment()
        assert preloaded(environment) == {"sched", "wave"}
        other.write_text(imports("netrc"))
        environment.update_environment()
        assert preloaded(environment) == {"sched", "netrc"}


def test_rules_outside_the_package_count_at_once(project: Project) -> None:
    project.write("app.py", imports("colorsys"))
    project.write("made/generated.py", imports("sched"))
    with project.open(watch=True, learn=False) as environment:
        assert preloaded(environment) == {"colorsys", "sched"}
        (project.root / ".gitignore").write_text("made/\n")
        environment.update_environment()
        assert preloaded(environment) == {"colorsys"}
        (project.root / ".gitignore").unlink()
        environment.update_environment()
        assert preloaded(environment) == {"colorsys", "sched"}
        project.write("made/generated.py", imports("wave"))
        environment.update_environment()
        assert preloaded(environment) == {"colorsys", "wave"}


def test_an_unchanged_project_is_told_as_that(scripts: Scripts, script_package: str) -> None:
    """The scan is told of no path; what children write beside the sources is no reason to look.

    The first update has to look at everything: the scan before it did not wait until all was watched.
    """
    finished = scripts.run(
        """
        from pathlib import Path
        from firehot import isolate_imports

        with isolate_imports("my_package", watch=True, learn=False) as environment:
            environment.update_environment()
            Path("my_package/__pycache__").mkdir(exist_ok=True)
            Path("my_package/__pycache__/app.pyc").touch()
            Path("my_package/data.txt").touch()
            Path("my_package/.app.py.swp").touch()
            for _ in range(3):
                assert environment.update_environment() is False
            Path("my_package/app.py").write_text("import wave")
            assert environment.update_environment() is True
        """,
        env={"FIREHOT_LOG_LEVEL": "debug"},
    )
    finished.ok()
    told = re.findall(r"told of (\d+) changed paths", finished.stderr)
    assert told == ["0", "0", "0", "1"], finished.stderr
