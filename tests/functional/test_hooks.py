"""`before_fork` and `after_fork_in_child`: in packages, in entry points, in programs."""

from __future__ import annotations

import importlib
import os

import pytest
from support import Project, Scripts, catch
from templates import preloaded

from firehot import ChildError, FirehotError, after_fork_in_child, before_fork, hooks

pytestmark = pytest.mark.usefixtures("fresh_hooks")


def function(project: Project, text: str, name: str) -> object:
    """A function of the project's `app` module."""
    project.write("app.py", text)
    return getattr(importlib.import_module(f"{project.name}.app"), name)


# -- in packages ---------------------------------------------------------------------------------


PACKAGE = """
import os
import firehot

seen = []

@firehot.before_fork
def first():
    seen.append(("first", os.getpid()))

@firehot.before_fork
def second():
    seen.append(("second", os.getpid()))

@firehot.after_fork_in_child
def in_child():
    import sys
    seen.append(("child", os.getpid(), os.getcwd(), sys.argv[-1], "PROJECT.late" in sys.modules))
"""


def test_hooks_of_a_preloaded_package_run_around_each_fork(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.dependency("hooked.py", PACKAGE.replace("PROJECT", project.name))
    project.write("app.py", "import hooked\n")
    project.write("late.py", "import os, hooked\ndef seen():\n    return hooked.seen, os.getpid(), os.getppid()\n")
    seen = importlib.import_module(f"{project.name}.late").seen
    monkeypatch.chdir(project.root)
    monkeypatch.setattr("sys.argv", ["program", "argument"])
    with project.open() as environment:
        environment.run(abs, 1)
        told, pid, template = environment.run(seen)
        # In order, in the template, before this fork and those that were before it.
        before = [entry for entry in told if entry[0] != "child"]
        assert before == [("first", template), ("second", template)] * (len(before) // 2)
        assert len(before) >= 4
        # In the child, with the program's state, before the call's module is imported.
        assert told[-1] == ("child", pid, str(project.root), "argument", False)
        assert [entry[0] for entry in told].count("child") == 1


def test_a_failing_hook_before_a_fork_is_told_once_and_the_fork_goes_on(project: Project, scripts: Scripts) -> None:
    project.dependency(
        "broken.py", "import firehot\n@firehot.before_fork\ndef fails():\n    raise ValueError('no luck')\n"
    )
    project.write("app.py", "import broken\n")
    finished = scripts.run(
        f"""
        from firehot import isolate_imports
        with isolate_imports({project.name!r}) as environment:
            print([environment.run(abs, -value) for value in range(3)])
        """,
        env={"PYTHONPATH": project.path},
    )
    assert finished.ok() == "[0, 1, 2]\n"
    (line,) = finished.stderr.splitlines()
    assert "broken.fails" in line and "ValueError: no luck" in line


def test_a_failing_hook_in_a_child_is_raised_like_an_exception_of_the_call(project: Project) -> None:
    text = "import firehot\n@firehot.after_fork_in_child\ndef fails():\n    raise LookupError('no luck')\n"
    project.dependency("broken.py", text)
    project.write("app.py", "import broken\n")
    with project.open() as environment:
        error = catch(lambda: environment.run(abs, -1))
        assert isinstance(error, ChildError) and isinstance(error.__cause__, LookupError)
        assert "fails" in str(error.__cause__.__cause__)


def test_a_thread_that_hooks_stop_and_start_is_quiesced(project: Project) -> None:
    text = """
    import threading
    import firehot

    @firehot.after_fork_in_child
    def start():
        global stop, thread
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait, name="flusher", daemon=True)
        thread.start()

    start()

    @firehot.before_fork
    def end():
        stop.set()
        thread.join()
    """
    project.dependency("flushing.py", text)
    alive = function(
        project, "import threading, flushing\ndef alive():\n    return flushing.thread.is_alive()\n", "alive"
    )
    with preloaded(project, "flushing") as template:
        assert template.census["threads"] == []
        assert template.census["quiesced"] == {"flushing": "thread flusher (python) ends at a fork"}
    with project.open() as environment:
        assert environment.run(alive) is True  # type: ignore[arg-type]


# -- entry points --------------------------------------------------------------------------------


def entry_point(project: Project, text: str, distribution: str = "plug_in") -> None:
    project.dependency(
        f"{distribution}-1.0.dist-info/entry_points.txt", f"[console_scripts]\nx = y:z\n\n[firehot.fork]\n{text}\n"
    )


def test_an_entry_point_is_called_when_its_package_is_loaded(project: Project) -> None:
    project.dependency("target.py", "started = []\n")
    project.dependency("absent.py", "started = []\n")
    project.dependency(
        "plug_in.py",
        """
        import firehot, target
        def setup():
            firehot.after_fork_in_child(lambda: target.started.append("child"))
            target.started.append("template")
        def never():
            target.started.append("never")
        """,
    )
    entry_point(project, "target = plug_in:setup\nabsent = plug_in:never")
    started = function(project, "import target\ndef started():\n    return target.started\n", "started")
    with project.open() as environment:
        assert environment.run(started) == ["template", "child"]  # type: ignore[arg-type]


def test_a_failing_entry_point_is_told_with_its_distribution_and_is_not_fatal(project: Project) -> None:
    project.dependency("target.py")
    project.dependency("plug_in.py", "def setup():\n    raise OSError('no luck')\n")
    entry_point(project, "target = plug_in:setup\njson = plug_in:gone")
    with preloaded(project, "target", "json") as template:
        assert template.census["exit"] == "ok"
        errors = template.census["hook_errors"]
        assert set(errors) == {"target", "json"}
        assert "plug_in" in errors["target"] and "OSError: no luck" in errors["target"]
        assert template.warnings == list(errors.values())


def test_an_entry_point_that_was_installed_later_is_found(project: Project) -> None:
    project.dependency("target.py", "started = []\n")
    project.dependency("plug_in.py", "def setup():\n    import target\n    target.started.append(1)\n")
    started = function(project, "import target\ndef started():\n    return target.started\n", "started")
    with project.open() as environment:
        assert environment.run(started) == []  # type: ignore[arg-type]
        entry_point(project, "target = plug_in:setup")
    with project.open() as environment:
        assert environment.run(started) == [1]  # type: ignore[arg-type]


# -- in programs ---------------------------------------------------------------------------------


def test_a_hook_of_the_program_travels_with_later_calls(project: Project) -> None:
    with project.open() as environment:
        assert environment.run(lambda: os.environ.get("HOOKED")) is None
        value = "by value"
        after_fork_in_child(lambda: os.environ.update(HOOKED=value))
        assert environment.run(lambda: os.environ.get("HOOKED")) == "by value"
    assert "HOOKED" not in os.environ


def test_a_hook_of_the_program_is_run_before_the_calls_modules_are_imported(project: Project) -> None:
    hook = function(project, "import os\ndef hook():\n    os.environ['HOOKED'] = 'yes'\n", "hook")
    project.write("late.py", "import os\nat_import = os.environ.get('HOOKED')\ndef told():\n    return at_import\n")
    told = importlib.import_module(f"{project.name}.late").told
    assert after_fork_in_child(hook) is hook  # type: ignore[arg-type, type-var]
    after_fork_in_child(hook)  # type: ignore[arg-type, type-var]
    with project.open() as environment:
        assert environment.run(told) == "yes"


def test_a_failing_hook_of_the_program_fails_the_call(project: Project) -> None:
    def fails() -> None:
        raise KeyError("no luck")

    after_fork_in_child(fails)
    with project.open() as environment:
        error = catch(lambda: environment.run(abs, -1))
        assert isinstance(error, ChildError) and isinstance(error.__cause__, KeyError)


def test_a_hook_that_program_and_template_have_runs_once(project: Project) -> None:
    text = "import firehot\ncount = []\n@firehot.after_fork_in_child\ndef hook():\n    count.append(1)\n"
    project.dependency("hooked.py", text)
    count = function(project, "import hooked\ndef count():\n    return len(hooked.count)\n", "count")
    assert [fn.__name__ for fn in hooks.REGISTRY.after_functions()] == ["hook"]
    with project.open() as environment:
        assert environment.run(count) == 1  # type: ignore[arg-type]


def test_a_program_can_name_a_function_of_an_installed_module_for_templates(project: Project) -> None:
    project.dependency("installed.py", "ran = []\ndef hook():\n    ran.append(1)\n")
    hook = importlib.import_module("installed").hook
    ran = function(project, "import installed\ndef ran():\n    return len(installed.ran)\n", "ran")
    assert before_fork(hook) is hook
    with project.open() as environment:
        assert environment.run(ran) > 0  # type: ignore[arg-type]


def test_what_templates_can_not_import_is_refused_with_the_reason(project: Project) -> None:
    def nested() -> None: ...

    for fn, why in (
        (nested, "another function"),
        (lambda: None, "lambda"),
        ([].clear, "belongs to an object"),
        (int, "no function"),
        (print, None),
    ):
        if why is None:
            before_fork(fn)
            continue
        error = catch(lambda fn=fn: before_fork(fn))  # type: ignore[misc]
        assert isinstance(error, FirehotError) and why in str(error)


def test_a_function_of_the_running_script_is_refused(scripts: Scripts) -> None:
    finished = scripts.run(
        """
        import firehot
        def mine(): ...
        try:
            firehot.before_fork(mine)
        except firehot.FirehotError as error:
            print(error)
        """
    )
    assert "lives in the running script" in finished.ok()


def test_a_function_of_the_project_is_refused_when_the_project_is_opened(project: Project) -> None:
    hook = function(project, "def hook(): ...\n", "hook")
    before_fork(hook)  # type: ignore[arg-type, type-var]

    def open_it() -> None:
        with project.open():
            pass

    error = catch(open_it)
    assert isinstance(error, FirehotError)
    assert f"{project.name}.app.hook" in str(error) and "after_fork_in_child" in str(error)


# -- [tool.firehot.fork] -------------------------------------------------------------------------


def test_a_package_that_the_user_leaves_out_is_not_preloaded(project: Project) -> None:
    project.dependency("strange/__init__.py", "import os\npid = os.getpid()\n")
    project.dependency("other.py", "import os\npid = os.getpid()\n")
    project.settings('fork = { strange = "leave-out", other = "safe" }\n')
    pids = function(
        project, "import os, strange, other\ndef pids():\n    return os.getpid(), strange.pid, other.pid\n", "pids"
    )
    with project.open() as environment:
        assert "strange" not in environment.modules and "other" in environment.modules
        own, strange, other = environment.run(pids)  # type: ignore[arg-type, misc]
        assert own == strange != other
