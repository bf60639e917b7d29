"""What is left out of the template for the sake of children, and what is said about each package."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from natives import thread_package
from support import Project, needs_proc, skipped


def in_child(project: Project, modules: str, expression: str) -> Callable[[], Any]:
    """Has the project import these modules; the value of an expression over them, for a child to find out.

    The host must not import them: their side effects are what this is about.
    """
    project.write("app.py", f"import {modules}\n")

    def work() -> Any:
        return eval(expression, {"os": os, **{name: importlib.import_module(name) for name in modules.split(", ")}})

    return work


def test_a_package_that_listens_is_left_out_with_address_and_importer(project: Project) -> None:
    text = "import os, socket\npid = os.getpid()\nserver = socket.create_server(('127.0.0.1', 0))\n"
    project.dependency("serving/__init__.py", "from serving import deep\n")
    project.dependency("serving/deep.py", text)
    work = in_child(project, "serving", "os.getpid() == serving.deep.pid, serving.deep.server.getsockname()[1]")
    with project.open() as environment:
        reason = skipped(environment)["serving"]
        assert "listening socket" in reason and "127.0.0.1:" in reason and "serving.deep" in reason
        assert environment.verdicts["serving"].startswith("left out: ")
        results = [environment.run(work) for _ in range(2)]
        # Each run has a server of its own.
        assert [own for own, _ in results] == [True, True]


def test_what_imports_a_package_that_is_left_out_is_preloaded_without_it(project: Project) -> None:
    project.dependency("serving.py", "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n")
    project.dependency("lazy.py", "def late():\n    import serving\n    return serving\n")
    work = in_child(project, "lazy, serving", "lazy.late() is serving")
    with project.open() as environment:
        assert "lazy" in environment.modules and "serving" not in environment.modules
        assert environment.verdicts["lazy"] == "safe"
        assert environment.run(work) is True


def test_a_changed_directory_is_each_runs_own(project: Project, tmp_path: Path) -> None:
    project.dependency("moves.py", f"import os\nos.chdir({str(tmp_path)!r})\n")
    work = in_child(project, "moves", "os.getcwd()")
    with project.open() as environment:
        reason = skipped(environment)["moves"]
        assert "working directory" in reason and str(tmp_path) in reason
        assert environment.run(work) == str(tmp_path)
        assert environment.run(os.getcwd) == os.getcwd()


def test_a_python_thread_leaves_its_package_out_by_name(project: Project) -> None:
    text = """
    import threading
    threading.Thread(target=threading.Event().wait, name="watcher", daemon=True).start()
    """
    project.dependency("watching.py", text)
    work = in_child(project, "watching", "len(watching.threading.enumerate())")
    with project.open() as environment:
        said = "its thread watcher does not survive a fork; each run imports it itself"
        assert environment.verdicts["watching"] == f"left out: {said}"
        assert environment.run(work) == 2


@needs_proc
def test_a_native_thread_leaves_its_package_out_with_the_library(project: Project) -> None:
    thread_package(project, "worker", ends_at_forks=False)
    in_child(project, "worker", "1")
    with project.open() as environment:
        verdict = environment.verdicts["worker"]
        assert verdict.startswith("left out: ") and "busy_worker" in verdict and "native.so" in verdict


@needs_proc
def test_a_thread_that_ends_at_a_fork_is_no_reason(project: Project) -> None:
    thread_package(project, "polite", ends_at_forks=True)
    in_child(project, "polite", "1")
    with project.open() as environment:
        assert "polite" in environment.modules
        assert environment.verdicts["polite"] == "safe, quiesced by its own fork handlers"


def test_a_remedy_is_told(project: Project) -> None:
    project.dependency("pyarrow.py")
    in_child(project, "pyarrow", "1")
    with project.open() as environment:
        assert environment.verdicts["pyarrow"].startswith("safe with JE_ARROW_MALLOC_CONF=background_thread:false")


def test_a_package_whose_exit_aborts_is_found_and_left_out(project: Project) -> None:
    text = "import atexit, os\ntemplate = os.getpid()\natexit.register(lambda: os.getpid() == template or os.abort())\n"
    project.dependency("aborts.py", text)
    project.write("app.py", "import json\nimport aborts\nimport email\n")
    with project.open() as environment:
        assert "aborts" not in environment.modules and "email" in environment.modules
        verdict = environment.verdicts["aborts"]
        assert verdict.startswith("left out: ") and "SIGABRT" in verdict
        process = environment.exec(abs, -1)
        assert process.result() == 1
        process.wait()
        assert process.exitcode == 0


def test_the_users_word_counts(project: Project) -> None:
    project.dependency("strange.py", "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n")
    project.dependency("innocent.py")
    project.settings('fork = { strange = "safe", innocent = "leave-out" }\n')
    in_child(project, "strange, innocent", "1")
    with project.open() as environment:
        assert "strange" in environment.modules and "innocent" not in environment.modules
        assert skipped(environment)["innocent"] == "[tool.firehot.fork] says so"
        assert environment.verdicts["innocent"] == "left out: [tool.firehot.fork] says so"
        assert environment.verdicts["strange"] == "safe"


def test_what_is_left_out_is_told_once_however_its_details_change(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    project.dependency("serving.py", "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n")
    project.dependency("beside.py", "VALUE = 0\n")
    project.write("app.py", "import serving\nimport beside\n")
    with project.open() as environment:
        for number in range(3):
            project.dependency("beside.py", f"VALUE = {number + 1}\n")
            environment.run(abs, -1)
            assert environment.last_rebuild is not None
    assert capfd.readouterr().err.count("serving is not preloaded") == 1
