"""Texts that no frame holds, packages that replace what firehot stands on, processes that outlive their parent."""

from __future__ import annotations

import gc
import os
import sys
import weakref
from pathlib import Path

import childwork
import pytest
from support import Project, Scripts, catch, wait_until

from firehot import ChildError, ChildExited, ResultNotLoadable, ResultNotPicklable
from firehot.environment import Environment


def test_an_exception_with_a_huge_text_arrives(env: Environment) -> None:
    error = catch(lambda: env.exec(childwork.raise_it, ValueError("x" * (20 << 20))).result(30))
    assert type(error) is ChildError
    assert len(str(error.__cause__)) == 20 << 20


def test_an_exception_with_text_that_is_no_unicode_arrives(env: Environment) -> None:
    error = catch(lambda: env.run(childwork.raise_it, ValueError("name: \udcff")))
    assert type(error) is ChildError and "\\udcff" in str(error)
    assert str(error.__cause__) == "name: \udcff"


def test_an_import_that_fails_with_text_that_is_no_unicode_is_left_out(project: Project) -> None:
    project.dependency("dep_text.py", "raise ValueError('name: \\udcff')\n")
    project.write("app.py", "import dep_text, colorsys\n")
    with project.open() as environment:
        assert "\\udcff" in environment.skipped["dep_text"].reason
        assert "colorsys" in environment.modules


def test_a_package_that_replaces_signal_and_select_changes_nothing(project: Project) -> None:
    project.dependency(
        "dep_patch.py",
        """
import os, select, signal

def refuse(*arguments, **options):
    raise AssertionError("replaced")

signal.signal = signal.getsignal = signal.set_wakeup_fd = signal.pthread_sigmask = refuse
select.poll = os.fork = os.waitpid = os.read = os.write = refuse
""",
    )
    project.write("app.py", "import dep_patch\n")
    with project.open() as environment:
        assert "dep_patch" in environment.modules
        process = environment.exec(childwork.double, 4)
        assert process.result(20) == 8
        assert process.wait(20) == 0
        error = catch(lambda: environment.exec(os._exit, 7).result(20))
        assert isinstance(error, ChildExited) and error.exitcode == 7


def test_a_package_that_replaces_json_changes_nothing(project: Project) -> None:
    project.dependency("dep_patch.py", "import json\njson.loads = json.dumps = lambda *args, **options: 'replaced'\n")
    project.write("app.py", "import dep_patch\n")
    with project.open() as environment:
        assert environment.run(childwork.double, 4) == 8
        project.dependency("dep_above.py", "VALUE = 1\n")
        project.write("app.py", "import dep_patch\nimport dep_above\n")
        assert environment.update_environment() is True
        assert environment.run(lambda: __import__("dep_above").VALUE) == 1
        assert environment.run(lambda: __import__("json").loads("1")) == "replaced", "as after a cold start"


class Result:
    """Something that can be watched."""


def test_results_are_kept_by_nobody_but_the_caller(env: Environment) -> None:
    result = env.run(Result)
    watched = weakref.ref(result)
    env.run(childwork.double, 1)
    del result
    gc.collect()
    assert watched() is None


def test_whether_a_lambda_can_be_returned_does_not_depend_on_earlier_calls(env: Environment) -> None:
    for _ in range(2):
        assert isinstance(catch(lambda: env.run(childwork.give_a_lambda)), ResultNotPicklable)
        assert env.run(lambda: lambda: 3)() == 3


def test_cloudpickle_loads_no_module_of_the_project_in_the_template(
    scripts: Scripts, script_package: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    library = Path(os.__file__).parent / "platform.py"
    scripts.save(
        f"""
        import os
        with open({str(log)!r}, "a") as log:
            log.write(f"{{os.getpid()}} ")
        exec(open({str(library)!r}, encoding="utf-8").read())
        """,
        "platform.py",
    )
    finished = scripts.run(
        """
        import os
        from firehot import isolate_imports

        with isolate_imports("my_package", ignored_modules=["platform"]) as environment:
            print(os.getpid(), environment.run(lambda: os.getppid()))
        """
    )
    host, template = finished.ok().split()
    loaded_in = log.read_text().split()
    assert host in loaded_in  # cloudpickle imports it.
    assert template not in loaded_in


def test_a_result_that_cannot_be_rebuilt_is_shown(project: Project, env: Environment) -> None:
    project.write("model.py", "def make():\n    pass\n")
    make = __import__(f"{project.name}.model", fromlist=["make"]).make
    project.write(
        "model.py",
        "from dataclasses import dataclass\n\n@dataclass\nclass New:\n    colour: str\n\n"
        "def make():\n    return [New('green'), 42]\n",
    )
    error = catch(lambda: env.run(make))
    assert isinstance(error, ResultNotLoadable)
    assert f"{project.name}.model.New({{'colour': 'green'}}), 42]" in str(error)


def test_what_a_grandchild_writes_after_its_parents_end_is_shown(
    env: Environment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = env.exec(childwork.leave_a_writer, str(tmp_path / "go"), str(tmp_path / "done"), name="p")
    assert process.wait(20) == 0
    (tmp_path / "go").touch()
    assert wait_until((tmp_path / "done").exists)
    shown = ""

    def seen() -> bool:
        nonlocal shown
        shown += capsys.readouterr().out
        return "[p] still here\n" in shown

    assert wait_until(seen, 10)


def test_an_exception_in_a_process_that_the_function_forked_is_shown(project: Project) -> None:
    with project.open(output="capture") as environment:
        process = environment.exec(childwork.fork_and_fail)
        assert process.result(20) == 1
        process.wait(20)
        assert "ValueError: in the forked one" in process.output


def test_a_returned_process_with_a_time_limit_may_finish_its_exit_functions_during_close(
    project: Project, tmp_path: Path
) -> None:
    path = tmp_path / "written"
    with project.open() as environment:
        environment.exec(childwork.leave_a_file_at_exit, str(path), timeout=60).result()
    assert path.exists()


def test_a_namespace_package_inside_another_opens(project: Project) -> None:
    folder = project.root / "outer_space" / "inner_space"
    folder.mkdir(parents=True)
    (folder / "app.py").write_text("import colorsys\n")
    project.name = "outer_space.inner_space"
    with project.open() as environment:
        assert "colorsys" in environment.modules
    assert "outer_space" not in sys.modules
