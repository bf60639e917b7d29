"""No moment is a bad one for an edit: while a template is built, while runs go on, at full speed."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import childwork
import pytest
from packages import Index, keeps, template_of, value_of
from support import DEADLINE, Project, is_alive, wait_until

ROUNDS = 300


class Pause:
    """An import that waits in the middle: it makes one file, and goes on when there is another."""

    def __init__(self, folder: Path) -> None:
        self._started, self._go = folder / "started", folder / "go"
        # By `os.access`: what it waits for is not something that the import has read.
        self.source = f"""
import os, time
open({str(self._started)!r}, "w").close()
while not os.access({str(self._go)!r}, os.F_OK):
    time.sleep(0.005)
"""

    @contextmanager
    def during(self, edit: Callable[[], object]) -> Iterator[None]:
        """The block imports it; the edit happens meanwhile."""

        def act() -> None:
            try:
                # The block may also end before the import begins.
                wait_until(lambda: self._started.exists() or self._go.exists())
                if self._started.exists():
                    edit()
            finally:
                self._go.touch()

        thread = threading.Thread(target=act)
        thread.start()
        try:
            yield
        finally:
            self._go.touch()
            thread.join(DEADLINE)


@pytest.fixture
def pause(tmp_path: Path) -> Pause:
    return Pause(tmp_path)


@pytest.mark.parametrize("same_size", [False, True], ids=["another size", "same size"])
def test_an_edit_of_what_is_imported_already_is_seen(project: Project, pause: Pause, same_size: bool) -> None:
    file = project.dependency("dep_a.py", "VALUE = 'old'\n")
    project.dependency("dep_slow.py", pause.source)
    project.write("app.py", "import dep_a\nimport dep_slow\n")
    new = "new" if same_size else "another one"
    with pause.during(lambda: file.write_text(f"VALUE = {new!r}\n")), project.open() as environment:
        assert value_of(environment) == new
        with keeps(environment):
            assert "dep_a" in environment.modules


def test_an_edit_of_the_module_that_is_being_imported_is_seen(project: Project, pause: Pause) -> None:
    file = project.dependency("dep_a.py", pause.source + "VALUE = 'old'\n")
    project.write("app.py", "import dep_a\n")
    with pause.during(lambda: file.write_text("VALUE = 'new'\n")), project.open() as environment:
        assert value_of(environment) == "new"


def test_an_edit_of_a_data_file_that_was_read_already_is_seen(project: Project, pause: Pause) -> None:
    data = project.dependency("data.txt", "old")
    text = f"with open({str(data)!r}) as file:\n    VALUE = file.read()\n"
    project.dependency("dep_a.py", text + pause.source)
    project.write("app.py", "import dep_a\n")
    with pause.during(lambda: data.write_text("new")), project.open() as environment:
        assert value_of(environment) == "new"


def test_an_upgrade_while_the_template_is_built_is_seen(project: Project, pause: Pause, tmp_path: Path) -> None:
    index = Index(tmp_path / "wheels", project.site)
    index.install("gadget", "1.0")
    project.dependency("dep_slow.py", pause.source)
    project.write("app.py", "import gadget\nimport dep_slow\n")
    with pause.during(lambda: index.install("gadget", "2.0")), project.open() as environment:
        assert value_of(environment, "gadget") == "2.0"


def test_a_variable_that_changes_while_the_template_is_built_is_seen(
    project: Project, pause: Pause, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEP_MODE", "old")
    project.dependency("dep_a.py", "import os\nVALUE = os.environ['DEP_MODE']\n")
    project.dependency("dep_slow.py", pause.source)
    project.write("app.py", "import dep_a\nimport dep_slow\n")
    with pause.during(lambda: monkeypatch.setenv("DEP_MODE", "new")), project.open() as environment:
        assert value_of(environment) == "new"


def test_an_edit_while_a_stale_template_is_replaced_is_seen(project: Project, pause: Pause) -> None:
    file = project.dependency("dep_a.py", "VALUE = 1\n")
    project.dependency("dep_z.py")
    project.write("app.py", "import dep_a\nimport dep_z\n")
    with project.open() as environment:
        file.write_text("VALUE = 2\n")
        project.dependency("dep_z.py", pause.source)
        with pause.during(lambda: file.write_text("VALUE = 3\n")):
            environment.run(abs, -1)
        assert value_of(environment) == 3


def test_runs_from_several_threads_share_one_rebuild(project: Project, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log_it = f"import os\nwith open({str(log)!r}, 'a') as file:\n    file.write(f'{{os.getpid()}}\\n')\n"
    project.dependency("dep_a.py", log_it + "VALUE = 'old'\n")
    project.write("app.py", "import dep_a\n")
    threads = 4
    with project.open() as environment, ThreadPoolExecutor(threads) as pool:
        assert value_of(environment) == "old"
        project.dependency("dep_a.py", log_it + "VALUE = 'new'\n")
        together = threading.Barrier(threads)

        def look() -> tuple[str, int]:
            return str(importlib.import_module("dep_a").VALUE), os.getppid()

        def run() -> tuple[str, int]:
            together.wait(DEADLINE)
            found: tuple[str, int] = environment.run(look)
            return found

        seen = {call.result() for call in [pool.submit(run) for _ in range(threads)]}
        assert seen == {("new", template_of(environment))}
        assert len(log.read_text().split()) == 2, "one build at first, and one for all of them"


def test_runs_that_go_on_in_a_stale_template_finish_undisturbed(project: Project, tmp_path: Path) -> None:
    project.dependency("dep_a.py", "VALUE = 'old'\n")
    project.write("app.py", "import dep_a\n")

    def look_when(path: str) -> str:
        dependency = importlib.import_module("dep_a")
        childwork.wait_for(path)
        return str(dependency.VALUE)

    with project.open() as environment:
        old = template_of(environment)
        processes = [environment.exec(look_when, str(tmp_path / f"go{number}")) for number in range(2)]
        project.dependency("dep_a.py", "VALUE = 'the new one'\n")
        assert value_of(environment) == "the new one"
        for number, process in enumerate(processes):
            assert process.is_running() and is_alive(old), "it stays for those that it has forked"
            (tmp_path / f"go{number}").touch()
            assert process.result() == "old"
            assert process.wait() == 0
        assert wait_until(lambda: not is_alive(old)), "it leaves after the last one"


def test_a_dependency_that_breaks_and_is_mended_comes_back(project: Project) -> None:
    file = project.dependency("dep_a.py", "VALUE = 1\n")
    project.dependency("dep_b.py")
    project.write("app.py", "import dep_a, dep_b\n")
    with project.open() as environment:
        file.write_text("VALUE = (\n")
        assert environment.run(lambda: "dep_b" in sys.modules), "the others stay preloaded"
        assert "SyntaxError" in environment.skipped["dep_a"].reason
        file.write_text("VALUE = 2\n")
        assert value_of(environment) == 2
        assert "dep_a" in environment.modules


def test_bytecode_that_an_edit_has_left_behind_is_not_preloaded(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CPython compares whole seconds and sizes, and would take it for fresh."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    file = project.dependency("dep_a.py", "VALUE = 0\n")
    project.write("app.py", "import dep_a\n")
    seen = []
    with project.open() as environment:
        for number in range(5):
            file.write_text(f"VALUE = {number}\n")
            os.utime(file, ns=(10**18, 10**18 + number))
            seen.append(value_of(environment))
            # Written by another interpreter, in the same second as the source.
            subprocess.run([sys.executable, "-c", "import dep_a"], env={"PYTHONPATH": str(project.site)}, check=True)
            for bytecode in (project.site / "__pycache__").glob("dep_a.*.pyc"):
                os.utime(bytecode, ns=(10**18, 10**18))
    assert list((project.site / "__pycache__").glob("dep_a.*.pyc")), "no bytecode was written: nothing was tested"
    assert seen == list(range(5))


def test_each_of_many_edits_at_full_speed_is_seen(project: Project) -> None:
    file = project.dependency("dep_a.py", "VALUE = 1000\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        missed = []
        for number in range(1001, 1001 + ROUNDS):
            file.write_text(f"VALUE = {number}\n")
            if value_of(environment) != number:
                missed.append(number)
        assert not missed


def test_each_of_many_edits_that_keep_size_and_date_is_seen(project: Project) -> None:
    file = project.dependency("dep_a.py", "VALUE = 1000\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        for number in range(1001, 1021):
            fresh = file.with_suffix(".new")
            fresh.write_text(f"VALUE = {number}\n")
            os.utime(fresh, (10**9, 10**9))
            os.replace(fresh, file)
            assert value_of(environment) == number
