"""`warm_first_party`: the project's own modules in levels above the third-party template."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from support import Project, wait_until

from firehot import Environment

MARKED = "import os\nIMPORTED_BY = os.getpid()\n"


def importers(*names: str) -> dict[str, int]:
    """Which process has imported each of these modules; 0 for one that is not loaded."""
    return {name: getattr(sys.modules.get(name), "IMPORTED_BY", 0) for name in names}


def ask(project: Project, environment: Environment, *names: str) -> dict[str, int]:
    full = [f"{project.name}.{name}" for name in names]
    found = environment.run(importers, *full)
    return {name: found[f"{project.name}.{name}"] for name in names}


def wait_until_warm(project: Project, environment: Environment, *names: str) -> dict[str, int]:
    def warm() -> dict[str, int] | None:
        found = ask(project, environment, *names)
        return found if all(found.values()) else None

    found = wait_until(warm)
    assert found, ask(project, environment, *names)
    return dict(found)


@pytest.fixture(autouse=True)
def modules(project: Project) -> None:
    """`main` imports `stable` and `middle`, and that imports `lowest`."""
    project.write("__init__.py", MARKED)
    project.write("lowest.py", MARKED + "VALUE = 1\n")
    project.write("middle.py", MARKED + "from . import lowest\n")
    project.write("stable.py", MARKED)
    project.write("main.py", MARKED + "from . import stable, middle\n")
    project.write("entry.py", MARKED + "from . import main\n")


def test_off_no_code_of_the_project_is_in_a_template(project: Project) -> None:
    with project.open(learn=True) as environment:
        for _ in range(3):
            assert not any(ask(project, environment, "main", "lowest").values())


def test_modules_that_others_import_are_there_before_a_run_asks(project: Project) -> None:
    with project.open(warm_first_party=True, learn=True) as environment:
        found = wait_until_warm(project, environment, "main", "middle", "lowest", "stable")
        assert os.getpid() not in found.values()
        assert ask(project, environment, "entry") == {"entry": 0}, "nobody imports it: it may be a script"


def test_what_a_run_has_imported_is_there_for_the_next_one(project: Project) -> None:
    def use_entry(name: str) -> Any:
        return importlib.import_module(f"{name}.entry").IMPORTED_BY

    with project.open(warm_first_party=True, learn=True) as environment:
        assert environment.run(use_entry, project.name)
        wait_until_warm(project, environment, "entry")


def value(name: str) -> Any:
    import importlib

    return importlib.import_module(f"{name}.lowest").VALUE


def test_an_edit_counts_in_the_very_next_run(project: Project) -> None:
    with project.open(warm_first_party=True, learn=True) as environment:
        wait_until_warm(project, environment, "lowest")
        for number in range(2, 12):
            project.write("lowest.py", MARKED + f"VALUE = {number}\n")
            assert environment.run(value, project.name) == number
        wait_until_warm(project, environment, "main", "lowest")
        assert environment.run(value, project.name) == 11


def test_an_edit_leaves_what_does_not_depend_on_it(project: Project) -> None:
    with project.open(warm_first_party=True, learn=True) as environment:
        wait_until_warm(project, environment, "main", "lowest", "stable")
        project.write("lowest.py", MARKED + "VALUE = 2\n")
        assert environment.run(value, project.name) == 2
        once = wait_until_warm(project, environment, "main", "lowest", "stable")
        project.write("lowest.py", MARKED + "VALUE = 3\n")
        assert environment.run(value, project.name) == 3
        twice = wait_until_warm(project, environment, "main", "lowest", "stable")
        assert once["stable"] == twice["stable"], "it lies below what is edited"
        assert once["main"] != twice["main"]


def test_the_update_after_an_edit_says_that_something_has_changed(project: Project) -> None:
    with project.open(warm_first_party=True, learn=True) as environment:
        wait_until_warm(project, environment, "lowest")
        project.write("lowest.py", MARKED + "VALUE = 2\n")
        assert environment.update_environment() is True
        assert environment.run(value, project.name) == 2


def test_the_third_party_template_stays_free_of_it(project: Project) -> None:
    project.dependency("dep_a.py", MARKED)
    project.dependency("dep_b.py", "import sys\nSAW = [name for name in sys.modules if name.startswith('project')]\n")
    project.write("stable.py", MARKED + "import dep_a\n")
    with project.open(warm_first_party=True, learn=True) as environment:
        wait_until_warm(project, environment, "main", "stable")
        third = environment.run(lambda: sys.modules["dep_a"].IMPORTED_BY)
        project.write("stable.py", MARKED + "import dep_a\nimport dep_b\n")
        assert environment.update_environment() is True
        assert environment.run(lambda: sys.modules["dep_b"].SAW) == []
        assert environment.run(lambda: sys.modules["dep_a"].IMPORTED_BY) == third
        wait_until_warm(project, environment, "main", "stable")


def test_a_module_that_fails_is_left_to_the_runs(project: Project) -> None:
    project.write("middle.py", "raise ValueError('not here')\n")
    project.write("main.py", MARKED + "from . import stable\ntry:\n    from . import middle\nexcept ValueError: pass\n")
    with project.open(warm_first_party=True, learn=True) as environment:
        found = wait_until_warm(project, environment, "main", "stable")
        assert found


def test_a_module_that_listens_is_left_to_the_runs(project: Project) -> None:
    text = "import socket\nHELD = socket.socket()\nHELD.bind(('127.0.0.1', 0))\nHELD.listen()\n"
    project.write("middle.py", MARKED + text)
    with project.open(warm_first_party=True, learn=True) as environment:
        wait_until_warm(project, environment, "stable")
        for _ in range(3):
            assert ask(project, environment, "middle") == {"middle": 0}


def native_file() -> Path | None:
    spec = importlib.util.find_spec("_queue")
    origin = spec.origin if spec is not None else None
    return Path(origin) if origin is not None and origin.endswith(".so") else None


@pytest.mark.skipif(native_file() is None, reason="this interpreter has no shared object to copy (_queue is built in)")
def test_a_native_module_of_the_project_is_never_in_a_template(project: Project) -> None:
    file = native_file()
    assert file is not None
    project.write(f"_queue{''.join(file.suffixes)}", file.read_bytes())
    project.write("middle.py", MARKED + "from . import lowest, _queue\n")
    with project.open(warm_first_party=True, learn=True) as environment:
        wait_until_warm(project, environment, "stable", "lowest")
        for _ in range(3):
            assert ask(project, environment, "middle") == {"middle": 0}
        name = project.name
        assert not environment.run(lambda: f"{name}._queue" in sys.modules)


def test_a_variable_that_the_project_has_read_is_the_calls_own(project: Project) -> None:
    project.write("lowest.py", MARKED + "VALUE = os.environ.get('OF_THE_CALL')\n")
    with project.open(warm_first_party=True, learn=True) as environment:
        wait_until_warm(project, environment, "lowest", "stable")
        assert environment.run(value, project.name) is None
        process = environment.exec(value, project.name, env={"OF_THE_CALL": "1"})
        assert process.result() == "1"
        assert environment.run(value, project.name) is None
