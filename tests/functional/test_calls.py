"""What travels to a child, and how: functions by name or by value, arguments, keyword arguments, cwd, env."""

from __future__ import annotations

import atexit
import functools
import importlib
import operator
import os
import sys
import threading
from pathlib import Path
from uuid import UUID

import childwork
import pytest
from childwork import Point
from support import Project, Scripts, open_descriptors, wait_until

import firehot
from firehot import CallNotPicklable, EnvironmentClosedError
from firehot.environment import Environment


def test_a_function_of_an_importable_module_runs(env: Environment) -> None:
    assert env.run(childwork.double, 4) == 8


def test_a_builtin_function_runs(env: Environment) -> None:
    assert env.run(operator.add, 1, 2) == 3


def test_a_lambda_runs(env: Environment) -> None:
    assert env.run(lambda value: value + 1, 1) == 2


def test_a_closure_brings_what_it_closes_over(env: Environment) -> None:
    base = 40

    def add(value: int) -> int:
        return base + value

    assert env.run(add, 2) == 42


def test_a_nested_function_runs(env: Environment) -> None:
    def outer(value: int) -> int:
        def inner() -> int:
            return value * 3

        return inner()

    assert env.run(outer, 3) == 9


def test_a_bound_method_brings_its_object(env: Environment) -> None:
    assert env.run(Point(1, 2).moved, 10) == Point(11, 12)


def test_a_partial_runs(env: Environment) -> None:
    assert env.run(functools.partial(childwork.double, 21)) == 42


def test_a_partial_of_a_lambda_runs(env: Environment) -> None:
    assert env.run(functools.partial(lambda a, b: a - b, 5), 3) == 2


def test_a_static_method_runs(env: Environment) -> None:
    assert env.run(Point.origin) == Point(0, 0)


def test_a_class_method_runs(env: Environment) -> None:
    assert env.run(Point.diagonal, 5) == Point(5, 5)


def test_a_class_is_a_function_too(env: Environment) -> None:
    result = env.run(Point, 1, 2)
    assert type(result) is Point and result == Point(1, 2)


def test_keyword_arguments_travel(env: Environment) -> None:
    assert env.exec(sorted, [1, 3, 2], kwargs={"reverse": True}).result() == [3, 2, 1]
    assert env.run(sorted, [1, 3, 2], reverse=True) == [3, 2, 1]


def test_keyword_arguments_may_have_the_names_of_options(env: Environment) -> None:
    def takes(**kwargs: object) -> object:
        return kwargs

    named = {"name": 1, "timeout": 2, "env": 3, "fn": 4, "self": 5}
    assert env.run(takes, **named) == named


def test_a_function_runs_what_is_on_disk_now(env: Environment, project: Project) -> None:
    project.write("answer.py", "def answer():\n    return 'old'\n")
    answer = importlib.import_module(f"{project.name}.answer").answer
    assert env.run(answer) == "old"
    project.write("answer.py", "def answer():\n    return 'the new one'\n")
    assert env.run(answer) == "the new one"
    assert answer() == "old", "nothing is patched in the host"


def test_a_module_that_a_function_imports_is_read_from_disk_each_time(env: Environment, project: Project) -> None:
    project.write("part.py", "VALUE = 'old'\n")
    project.write("whole.py", "from . import part\ndef whole():\n    return part.VALUE\n")
    whole = importlib.import_module(f"{project.name}.whole").whole
    assert env.run(whole) == "old"
    project.write("part.py", "VALUE = 'rather newer'\n")
    assert env.run(whole) == "rather newer"


def test_a_module_written_after_the_start_is_found(env: Environment, project: Project) -> None:
    def import_it(name: str) -> object:
        return importlib.import_module(name).VALUE

    project.write("late.py", "VALUE = 7\n")
    assert env.run(import_it, f"{project.name}.late") == 7


def test_a_broken_edit_is_an_error_of_that_run_only(env: Environment, project: Project) -> None:
    project.write("answer.py", "def answer():\n    return 'old'\n")
    answer = importlib.import_module(f"{project.name}.answer").answer
    project.write("answer.py", "def answer(:\n")
    with pytest.raises(firehot.ChildError) as caught:
        env.run(answer)
    assert isinstance(caught.value.__cause__, SyntaxError)
    project.write("answer.py", "def answer():\n    return 'mended'\n")
    assert env.run(answer) == "mended"


def test_a_dataclass_of_the_script_keeps_its_identity(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        from dataclasses import dataclass
        from firehot import ChildError, isolate_imports

        @dataclass
        class Point:
            x: int

        class Wrong(Exception):
            pass

        def moved(point):
            assert type(point) is Point
            return Point(point.x + 1)

        def fail():
            raise Wrong("no")

        with isolate_imports("my_package") as environment:
            result = environment.run(moved, Point(1))
            print(type(result) is Point, isinstance(result, Point), result == Point(2))
            error = environment.exec(fail).exception()
            print(type(error.__cause__) is Wrong)
        """
    )
    assert finished.ok().split() == ["True", "True", "True", "True"]


def test_what_can_not_be_sent_is_refused_by_name(env: Environment) -> None:
    with pytest.raises(CallNotPicklable, match="double"):
        env.run(childwork.double, threading.Lock())
    assert issubclass(CallNotPicklable, TypeError)
    assert env.run(childwork.double, 2) == 4


def test_cwd_is_the_hosts_unless_given(env: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, given = tmp_path / "other", tmp_path / "given"
    other.mkdir()
    given.mkdir()
    assert env.run(os.getcwd) == os.getcwd()
    monkeypatch.chdir(other)
    assert env.run(os.getcwd) == str(other)
    assert env.exec(os.getcwd, cwd=given).result() == str(given)
    assert env.exec(os.getcwd, cwd="../given").result() == str(given)


def test_a_cwd_that_is_not_there_is_refused(env: Environment, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        env.exec(os.getcwd, cwd=tmp_path / "missing")


def test_an_env_that_is_no_text_is_refused(env: Environment) -> None:
    with pytest.raises(TypeError, match="'FIREHOT_A' to 1"):
        env.exec(os.getcwd, env={"FIREHOT_A": 1})  # type: ignore[dict-item]


def test_a_variable_that_only_looks_like_pythons_own_is_set(env: Environment) -> None:
    assert env.exec(os.getenv, "PYTHON_ENV", env={"PYTHON_ENV": "test"}).result() == "test"


def test_env_adds_changes_and_takes_away(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREHOT_A", "host")
    monkeypatch.setenv("FIREHOT_B", "host")
    changes = {"FIREHOT_A": "given", "FIREHOT_B": None, "FIREHOT_C": "new"}
    found = env.exec(lambda: dict(os.environ), env=changes).result()
    assert found["FIREHOT_A"] == "given"
    assert "FIREHOT_B" not in found
    assert found["FIREHOT_C"] == "new"
    assert env.run(os.getenv, "FIREHOT_C") is None, "it counts for that process alone"


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONOPTIMIZE"])
def test_a_variable_that_counts_at_interpreter_start_is_refused_by_name(env: Environment, name: str) -> None:
    with pytest.raises(ValueError, match=name):
        env.exec(os.getcwd, env={name: "1"})


def test_a_name_is_random_unless_given(env: Environment) -> None:
    given, one, other = (
        env.exec(os.getpid, name="my-name"),
        env.exec(os.getpid),
        env.exec(os.getpid),
    )
    assert given.process_name == "my-name"
    assert one.process_name != other.process_name
    assert all(process.process_name.count("-") == 1 for process in (one, other))
    assert isinstance(one.process_uuid, UUID) and one.process_uuid != other.process_uuid
    for process in (given, one, other):
        assert process.result() == process.pid


def test_a_wrong_output_mode_is_refused(env: Environment, project: Project) -> None:
    with pytest.raises(ValueError, match="'loud'"):
        env.exec(os.getpid, output="loud")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'loud'"), project.open(output="loud"):
        pass


def test_names_of_modules_are_a_list_not_a_text(project: Project) -> None:
    with pytest.raises(TypeError, match="preload"), project.open(preload="json"):
        pass


def test_two_environments_work_at_once(project: Project) -> None:
    with project.open() as one, project.open() as two:
        assert one.runner_id != two.runner_id
        assert one.run(os.getppid) != two.run(os.getppid), "each has a template of its own"


def test_after_close_exec_and_update_are_refused(project: Project) -> None:
    with project.open() as environment:
        process = environment.exec(childwork.double, 1)
        assert process.result() == 2
    for attempt in (environment.update_environment, lambda: environment.exec(os.getpid)):
        with pytest.raises(EnvironmentClosedError):
            attempt()
    assert process.result() == 2, "a result stays"


def test_a_process_that_has_returned_may_finish_its_exit_functions_during_close(
    project: Project, tmp_path: Path
) -> None:
    def leave(folder: str) -> str:
        atexit.register((Path(folder) / "left").touch)
        atexit.register(childwork.wait_for, str(Path(folder) / "go"))
        return "returned"

    with project.open() as environment:
        process = environment.exec(leave, str(tmp_path))
        assert process.result() == "returned"

        def let_it_go() -> None:
            wait_until(lambda: repr(environment).endswith("closed>"))
            (tmp_path / "go").touch()

        thread = threading.Thread(target=let_it_go)
        thread.start()
    thread.join()
    assert process.exitcode == 0
    assert (tmp_path / "left").exists()


def test_a_closed_environment_holds_no_descriptor(project: Project) -> None:
    before = open_descriptors()
    with project.open() as environment:
        environment.run(abs, -1)
    assert set(open_descriptors().items()) <= set(before.items())


def test_closing_twice_is_nothing_special(project: Project) -> None:
    with project.open() as environment:
        environment.close()
        environment.close()
    assert repr(environment).endswith("closed>")


def test_an_environment_can_be_closed_from_another_thread(project: Project) -> None:
    with project.open() as environment:
        process = environment.exec(childwork.block)
        closer = threading.Thread(target=environment.close)
        closer.start()
        assert isinstance(process.exception(), firehot.ChildExited)
        closer.join()


def test_the_state_of_a_process_can_be_read(env: Environment, tmp_path: Path) -> None:
    go = tmp_path / "go"
    process = env.exec(childwork.wait_for, str(go), "done", name="reader")
    assert process.is_running()
    assert process.exitcode is None
    assert list(env.processes) == [process]
    assert repr(process) == f"<IsolatedProcess 'reader' pid={process.pid} running>"
    go.touch()
    assert process.result() == "done"
    assert process.exception() is None
    assert process.wait() == 0
    assert process.exitcode == 0
    assert not process.is_running()
    assert repr(process) == f"<IsolatedProcess 'reader' pid={process.pid} ended with 0>"
    assert not list(env.processes)
    assert repr(env) == f"<Environment {env.runner_id} open>"


def test_bytes_that_are_no_text_travel_in_environment_arguments_and_paths(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    odd = os.fsdecode(b"caf\xe9")
    folder = tmp_path / odd
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FIREHOT_ODD", odd)
    monkeypatch.setattr(sys, "argv", ["program", odd])
    with project.open() as environment:
        found = environment.run(lambda: (os.environ["FIREHOT_ODD"], os.getcwd(), sys.argv[1]))
    assert found == (odd, str(folder), odd)


def test_a_project_in_a_folder_with_an_odd_name_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path / "with space, ż and 'quotes'")
    monkeypatch.syspath_prepend(str(project.root))
    monkeypatch.syspath_prepend(str(project.site))
    project.dependency("dep_a.py")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert "dep_a" in environment.modules
        assert environment.run(abs, -1) == 1


def test_a_search_path_with_other_things_than_text_is_survived(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, tmp_path, "", str(tmp_path / "missing"), str(tmp_path / "a.zip")])
    with project.open() as environment:
        assert environment.run(abs, -1) == 1


def test_a_working_directory_that_was_deleted_is_told(
    env: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(firehot.TemplateError, match="working directory was deleted"):
        env.run(os.getcwd)
    assert env.exec(os.getcwd, cwd=tmp_path).result() == str(tmp_path)
