"""`warm_first_party`: what the background thread does to calls, to running children and to itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from support import Project, is_alive, wait_until

from firehot import Environment

LISTENS = "import socket\nHELD = socket.socket()\nHELD.bind(('127.0.0.1', 0))\nHELD.listen()\n"


def is_warm(project: Project, environment: Environment, *names: str) -> bool:
    wanted = [f"{project.name}.{name}" for name in names]
    return bool(environment.run(lambda: all(name in sys.modules for name in wanted)))


def value(name: str) -> Any:
    import importlib

    return importlib.import_module(name).VALUE


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where modules say that they are imported: see `says`."""
    file = tmp_path / "imported"
    file.write_text("")
    return file


def says(log: Path) -> str:
    """A line of a module that says so each time that it is imported."""
    return f"with open({str(log)!r}, 'a') as file: file.write('.')\n"


def is_still(log: Path, most: int) -> bool:
    """Whether no more than `most` imports are said, in a time in which a loop would make many times as many."""
    return not wait_until(lambda: len(log.read_text()) > most, 2.0)


def test_a_call_of_its_own_environment_finds_a_stale_dependency_replaced(project: Project) -> None:
    project.dependency("dep_a.py", "VALUE = 1\n")
    project.write("asks.py", "import os, dep_a\nMODE = os.environ.get('OF_THE_CALL')\nVALUE = MODE, dep_a.VALUE\n")
    project.write("main.py", "from . import asks\n")
    with project.open(warm_first_party=True, learn=True) as environment:
        assert wait_until(lambda: is_warm(project, environment, "asks"))
        project.dependency("dep_a.py", "VALUE = 22\n")
        own = {"OF_THE_CALL": "1"}
        child = environment.exec(value, f"{project.name}.asks", env=own, timeout=20)
        assert child.result() == ("1", 22)
        assert environment.run(value, f"{project.name}.asks") == (None, 22)


def test_a_variable_of_the_host_that_has_changed_leaves_the_project_warm(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write("asks.py", "import os\nVALUE = os.environ.get('OF_THE_HOST')\n")
    project.write("main.py", "from . import asks\n")
    with project.open(warm_first_party=True, learn=True) as environment:
        assert wait_until(lambda: is_warm(project, environment, "asks"))
        monkeypatch.setenv("OF_THE_HOST", "1")
        assert environment.run(value, f"{project.name}.asks") == "1"
        assert wait_until(lambda: is_warm(project, environment, "asks"))
        assert environment.run(value, f"{project.name}.asks") == "1"


def test_a_child_outlives_work_that_is_given_up(project: Project) -> None:
    project.write("low.py", "VALUE = 1\n")
    project.write("high.py", "VALUE = 1\n")
    project.write("main.py", "from . import low, high\n")
    low = f"{project.name}.low"
    with project.open(warm_first_party=True, learn=True) as environment:
        assert wait_until(lambda: is_warm(project, environment, "low", "high"))
        for name in ("low", "high"):
            project.write(f"{name}.py", "VALUE = 2\n")
            assert environment.run(value, low) == 2 or name == "low"
            assert wait_until(lambda: is_warm(project, environment, "low", "high"))
        # `low` is in a level of its own now, below that of `high`; what is built next stands on it.
        begun, end = project.root / "begun.txt", project.root / "end.txt"
        waits = f"import os, time\nopen({str(begun)!r}, 'w').close()\nwhile not os.path.exists({str(end)!r}):\n"
        project.write("high.py", waits + "    time.sleep(0.01)\n")
        child = environment.exec(_stay, low, str(end))
        assert wait_until(begun.exists), "it is being built"
        project.write("low.py", "VALUE = 3\n")
        assert environment.run(value, low) == 3
        assert not wait_until(lambda: not is_alive(child.pid or 0), 1.0), "the work is given up within 0.1 s"
        end.touch()
        assert child.result() == 2


def _stay(name: str, end: str) -> Any:
    import time

    found = value(name)
    while not os.path.exists(end):
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("new", ["added.py", "added/__init__.py", "also/__init__.py"])
def test_a_module_that_was_not_there_counts_in_the_very_next_run(project: Project, new: str) -> None:
    project.write("also.py", "VALUE = 'module'\n")
    project.write("asks.py", "try:\n    from .added import VALUE\nexcept ImportError:\n    from .also import VALUE\n")
    project.write("main.py", "from . import asks\n")
    with project.open(warm_first_party=True, learn=True) as environment:
        assert wait_until(lambda: is_warm(project, environment, "asks"))
        project.write(new, "VALUE = 'new'\n")
        assert environment.run(value, f"{project.name}.asks") == "new"
        assert wait_until(lambda: is_warm(project, environment, "asks"))
        project.write("data.txt", "no module\n")
        project.write("__pycache__/asks.cpython-311.pyc", "")
        assert is_warm(project, environment, "asks"), "only what an import would find counts"


def test_nothing_is_built_on_a_template_that_is_stale(project: Project, log: Path) -> None:
    project.dependency("dep_a.py", "VALUE = 1\n")
    project.write("low.py", "import dep_a\n" + says(log))
    project.write("main.py", "from . import low\n")
    with project.open(warm_first_party=True, learn=True) as environment:
        assert wait_until(lambda: is_warm(project, environment, "low"))
        before = len(log.read_text())
        project.dependency("dep_a.py", "VALUE = 22\n")
        project.write("other.py", "")
        assert is_still(log, before + 2)
        assert environment.run(value, "dep_a") == 22


def test_what_is_refused_is_not_tried_again_before_an_edit(project: Project, log: Path) -> None:
    project.write("__init__.py", "")
    project.write("low.py", "")
    project.write("main.py", "from . import low\n")
    with project.open(warm_first_party=True, learn=True) as environment:
        assert wait_until(lambda: is_warm(project, environment, "low"))
        project.write("__init__.py", says(log) + LISTENS)
        assert wait_until(log.read_text), "it is tried"
        assert is_still(log, 3)
        project.write("__init__.py", "")
        assert wait_until(lambda: is_warm(project, environment, "low"))


def test_a_module_that_changes_what_it_has_read_is_not_built_for_ever(project: Project, log: Path) -> None:
    count = project.write("count.txt", "0")
    counts = f"import os\nFILE = {str(count)!r}\nwith open(FILE) as file: VALUE = int(file.read())\n"
    # By another process: a template's own writing does not count.
    counts += "import subprocess, sys\n"
    # Whole, since another one may be reading it.
    counts += 'write = f\'open({FILE + ".new"!r}, "w").write(str({VALUE + 1}))\'\n'
    counts += "rename = f'import os; os.replace({FILE + \".new\"!r}, {FILE!r})'\n"
    counts += "subprocess.run([sys.executable, '-c', f'{write}; {rename}'], check=True)\n"
    project.write("low.py", counts + says(log))
    project.write("main.py", "from . import low\n")
    with project.open(warm_first_party=True, learn=True) as environment:
        assert wait_until(lambda: len(log.read_text()) >= 20)
        assert is_still(log, 22)
        assert environment.run(value, f"{project.name}.low") >= 20
        assert wait_until(lambda: len(log.read_text()) > 22), "a call has come"


def test_a_save_leaves_the_templates_of_calls(project: Project) -> None:
    project.dependency("dep_a.py", "import os\nVALUE = os.environ.get('OF_THE_CALL')\n")
    project.write("low.py", "import dep_a\n")
    project.write("main.py", "from . import low\n")
    own = {"OF_THE_CALL": "1"}
    with project.open(warm_first_party=True, learn=True) as environment:
        assert wait_until(lambda: is_warm(project, environment, "low"))
        before = environment.exec(os.getppid, env=own).result()
        project.write("low.py", "import dep_a\nNEW = 1\n")
        assert environment.run(value, "dep_a") is None
        assert wait_until(lambda: is_warm(project, environment, "low"))
        assert environment.exec(os.getppid, env=own).result() == before
