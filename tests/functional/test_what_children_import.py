"""What a child tells of its own imports: all that a later template may have, and nothing that only this run had."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support import Project, Scripts
from templates import Preloaded, preloaded

from firehot import ChildError, ChildExited

CALLS = """
    import importlib
    import sys
    import threading

    def call(text):
        exec(text, {})
"""


def call(project: Project, template: Preloaded, text: str) -> list[dict[str, Any]]:
    """What a child says that executes this; the module it runs in is a part of it."""
    project.write("calls.py", CALLS)
    return template.run(import_module(f"{project.name}.calls").call, text)


def told(said: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """File, own time and total of each module, in the order in which they were told."""
    return {name: rest for message in said if message["type"] == "imported" for name, *rest in message["modules"]}


def imported(project: Project, text: str) -> dict[str, list[Any]]:
    """What a child of an empty template tells of, but for the module that its call lives in."""
    with preloaded(project, learn=True) as template:
        found = told(call(project, template, text))
    for own in (project.name, f"{project.name}.calls"):
        found.pop(own, None)
    return found


def test_lazy_imports_of_the_standard_library_are_told(project: Project) -> None:
    found = imported(project, "import datetime; datetime.datetime.strptime('2020', '%Y'); b'x'.decode('idna')")
    assert {"_strptime", "encodings.idna"} <= set(found)
    file, own, total = found["_strptime"]
    assert file == import_module("_strptime").__file__
    assert 0 < own <= total


def test_plugins_and_lazy_imports_inside_packages_are_told(project: Project) -> None:
    project.dependency("driver.py")
    project.dependency("database/__init__.py", "def connect():\n    from . import backend\n    import driver\n")
    project.dependency("database/backend.py")
    project.write("plugin.py", "import json.tool\n")
    with preloaded(project, "database", learn=True) as template:
        said = call(
            project,
            template,
            f"import database, importlib; database.connect(); importlib.import_module('{project.name}.plugin')",
        )
    assert [message["type"] for message in said] == ["returned", "imported"]
    found = told(said)
    own = [name for name in found if name.startswith((project.name, "database", "driver"))]
    name = project.name
    # `project.calls` is asked for first; its package is imported on the way.
    assert own == [f"{name}.calls", name, "database.backend", "driver", f"{name}.plugin"]
    assert found["driver"][0] == str(project.site / "driver.py")
    assert found[f"{name}.plugin"][0] == str(project.package / "plugin.py")
    assert "json.tool" in found


def test_a_builtin_module_has_no_file(project: Project) -> None:
    name = next(name for name in ("_symtable", "_lsprof", "xxsubtype") if name in sys.builtin_module_names)
    assert imported(project, f"import {name}")[name][0] is None


def test_times_are_with_and_without_what_was_imported_first(project: Project) -> None:
    project.dependency("outer.py", "import time\nimport inner_one\nimport inner_two\n")
    project.dependency("inner_one.py", "import time\ntime.sleep(0.05)\n")
    project.dependency("inner_two.py", "import time\ntime.sleep(0.03)\n")
    found = imported(project, "import outer")
    assert [name for name in found if name.startswith(("outer", "inner"))] == ["outer", "inner_one", "inner_two"]
    (_, own, total), (_, one, _), (_, two, _) = found["outer"], found["inner_one"], found["inner_two"]
    assert one >= 50_000 and two >= 30_000 and total >= one + two
    assert own <= total - one - two + 2


def test_the_time_of_an_import_that_failed_is_not_that_of_the_one_that_succeeds(project: Project) -> None:
    project.dependency(
        "flaky.py", "import sys, time\nif sys.argv[-1] != 'again':\n    time.sleep(0.3)\n    raise OSError\n"
    )
    text = "import sys\ntry:\n    import flaky\nexcept OSError:\n    sys.argv.append('again')\n    import flaky\n"
    _, _, total = imported(project, text)["flaky"]
    assert total < 300_000


def test_imports_in_threads_and_exit_functions_are_told(project: Project) -> None:
    for name in ("in_thread", "after_return", "at_exit"):
        project.dependency(f"{name}.py")
    text = """
import atexit, threading
start = threading.Event()
def late():
    threading.main_thread().join()
    import after_return
def at_end():
    import at_exit
thread = threading.Thread(target=lambda: __import__("in_thread"))
thread.start()
thread.join()
threading.Thread(target=late).start()
atexit.register(at_end)
"""
    with preloaded(project, learn=True) as template:
        said = call(project, template, text)
    assert [message["type"] for message in said] == ["returned", "imported", "imported"]
    first, second = ([name for name, *_ in message["modules"]] for message in said[1:])
    assert "in_thread" in first
    assert second == ["after_return", "at_exit"]


def test_a_failing_run_and_one_that_exits_tell_too(project: Project) -> None:
    project.dependency("wanted.py")
    with preloaded(project, learn=True) as template:
        raised = call(project, template, "import wanted; raise ValueError")
        exited = call(project, template, "import wanted; raise SystemExit(3)")
    assert [message["type"] for message in raised] == ["raised", "imported"]
    assert [message["type"] for message in exited] == ["imported"]
    assert "wanted" in told(raised) and "wanted" in told(exited)


def test_nothing_is_sent_when_nothing_was_imported_or_nobody_wants_to_know(project: Project) -> None:
    project.dependency("wanted.py")
    with preloaded(project, learn=True) as template:
        assert [message["type"] for message in template.run(max, 1, 2)] == ["returned"]
    with preloaded(project) as template:
        said = call(project, template, "import wanted")
        assert [message["type"] for message in said] == ["returned"]


def test_what_no_other_process_would_find_is_not_told(project: Project, tmp_path: Path) -> None:
    project.dependency("failing.py", "raise ValueError\n")
    project.dependency("gone.py", "import sys\n")
    project.dependency("replaced.py", "import sys\nsys.modules[__name__] = object()\n")
    project.dependency("another.py", "import json, sys\nsys.modules[__name__] = json\n")
    project.dependency("namespace_only/inside.py")
    project.dependency("good.py")
    added = tmp_path / "added"
    (added / "below").mkdir(parents=True)
    (added / "from_added_path.py").touch()
    text = f"""
import importlib.util, os, shutil, sys, tempfile, types
for name in ("failing", "no_such_module"):
    try:
        __import__(name)
    except (ImportError, ValueError):
        pass
import gone
del sys.modules["gone"]
import replaced, another
sys.modules["by_hand"] = types.ModuleType("by_hand")
import by_hand
import namespace_only.inside
spec = importlib.util.spec_from_file_location("by_path", {str(project.site / "good.py")!r})
sys.modules["by_path"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
sys.path.insert(0, {str(added)!r})
import from_added_path
os.environ["TMPDIR"] = made = tempfile.mkdtemp()
open(made + "/made_up.py", "w").close()
class Finder:
    def find_spec(self, name, path, target=None):
        if name == "made_up":
            return importlib.util.spec_from_file_location(name, made + "/made_up.py")
sys.meta_path.append(Finder())
import made_up
shutil.rmtree(made)
import good
"""
    found = imported(project, text)
    mine = {
        *("failing", "no_such_module", "gone", "replaced", "another", "by_hand", "by_path"),
        *("from_added_path", "made_up", "namespace_only", "namespace_only.inside", "good"),
    }
    assert mine & set(found) == {"namespace_only.inside", "good"}
    assert not [name for name in found if name.startswith(("firehot", "__"))]


def test_a_module_that_the_project_hides_is_told_with_the_file_of_the_project(project: Project) -> None:
    project.dependency("utils.py")
    with preloaded(project, "utils", learn=True) as template:
        hiding = project.root / "utils.py"
        hiding.touch()
        found = told(call(project, template, "import utils"))
    assert found["utils"][0] == str(hiding)


def test_a_killed_child_tells_nothing(project: Project) -> None:
    project.dependency("wanted.py")
    with preloaded(project, learn=True) as template:
        for end in ("os._exit(0)", "os.kill(os.getpid(), 9)"):
            assert call(project, template, f"import os, wanted; {end}") == []


def test_a_fork_of_the_child_tells_nothing(project: Project) -> None:
    project.dependency("wanted.py")
    project.dependency("forked.py")
    text = """
import os, wanted
pid = os.fork()
if pid == 0:
    import forked
else:
    os.waitpid(pid, 0)
"""
    with preloaded(project, learn=True) as template:
        said = call(project, template, text)
    assert [message["type"] for message in said] == ["returned", "imported"]
    assert "wanted" in told(said) and "forked" not in told(said)


def test_a_file_that_the_call_has_put_in_the_place_of_the_socket_is_not_written_to(
    project: Project, tmp_path: Path
) -> None:
    project.dependency("wanted.py")
    file = tmp_path / "file"
    text = f"""
import atexit, os, stat
def swap():
    fd = os.open({str(file)!r}, os.O_CREAT | os.O_WRONLY)
    for each in range(3, 400):
        try:
            if each != fd and stat.S_ISSOCK(os.fstat(each).st_mode):
                os.dup2(fd, each)
        except OSError:
            pass
    import wanted
atexit.register(swap)
"""
    with preloaded(project, learn=True) as template:
        assert "wanted" not in told(call(project, template, text))
    assert file.read_bytes() == b""


# -- nobody can tell that imports are watched ----------------------------------------------------

BROKEN = {
    "missing": "import no_such_module\n",
    "missing_name": "from json import no_such_name\n",
    "missing_below": "import json.no_such_module\n",
    "syntax": "def f(:\n",
    "null": "x = 1\n\0\n",
    "encoding": "# coding: no-such-coding\n",
    "raising": "def f():\n    raise ValueError('broken')\nf()\n",
    "circular": "from circular import nothing_yet\n",
    "nested": "import raising\n",
    "dynamic": "import importlib\nimportlib.import_module('raising')\n",
    "exiting": "try:\n    import raising\nexcept ValueError as error:\n    raise KeyError('x') from error\n",
    "finder": """
        import sys
        class Finder:
            def find_spec(self, name, path, target=None):
                if name == "unfindable":
                    raise OSError("no way")
        sys.meta_path.insert(0, Finder())
        import unfindable
    """,
    "loader": """
        import sys, importlib.machinery
        class Loader:
            def find_spec(self, name, path, target=None):
                if name == "unloadable":
                    return importlib.machinery.ModuleSpec(name, self)
            def create_module(self, spec):
                raise OSError("no way")
            def exec_module(self, module):
                pass
        sys.meta_path.insert(0, Loader())
        import unloadable
    """,
    "exec": """
        import sys, importlib.machinery
        class Loader:
            def find_spec(self, name, path, target=None):
                if name == "unloadable":
                    return importlib.machinery.ModuleSpec(name, self)
            def create_module(self, spec):
                return None
            def exec_module(self, module):
                raise OSError("no way")
        sys.meta_path.insert(0, Loader())
        import unloadable
    """,
}
SHOW = """
    import traceback

    def show(name):
        try:
            __import__(name)
        except BaseException:
            return traceback.format_exc()
"""


def test_tracebacks_of_imports_are_those_of_a_cold_start(project: Project, scripts: Scripts) -> None:
    for name, text in BROKEN.items():
        project.dependency(f"{name}.py", text)
    project.write("shows.py", SHOW)
    show = import_module(f"{project.name}.shows").show
    environment = {**os.environ, "PYTHONPATH": project.path}
    with project.open(output="capture", learn=True) as env:
        for name in BROKEN:
            code = f"from {project.name}.shows import show; print(show({name!r}))"
            cold = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            )
            assert env.run(show, name).strip() == cold.stdout.strip(), name


def test_python_tells_of_the_same_imports_with_and_without(scripts: Scripts, script_package: str) -> None:
    scripts.save("import wave\n", "my_package/lazy.py")
    text = """
        from firehot import isolate_imports
        from my_package.work import work

        if __name__ == "__main__":
            with isolate_imports("my_package", output="capture", learn={learn}) as env:
                process = env.exec(work)
                process.wait()
                print(process.output)
    """
    scripts.save("def work():\n    import my_package.lazy\n", "my_package/work.py")
    shown = []
    for learn in ("True", "False"):
        script = scripts.save(text.format(learn=learn), "main.py")
        done = scripts.run_command([sys.executable, "-X", "importtime", str(script)])
        assert done.returncode == 0, done.stderr
        shown.append([line.rpartition("|")[2] for line in done.stdout.splitlines()])
    assert any(line.strip() == "my_package.lazy" for line in shown[0])
    assert shown[0] == shown[1]


@pytest.mark.parametrize("learn", [True, False])
def test_outcomes_are_the_same(project: Project, learn: bool) -> None:
    project.dependency("broken.py", "raise ValueError('broken')\n")
    project.write("calls.py", CALLS)
    run = import_module(f"{project.name}.calls").call
    with project.open(learn=learn) as env:
        with pytest.raises(ChildError, match="broken"):
            env.run(run, "import broken")
        with pytest.raises(ChildExited, match="3"):
            env.run(run, "import wave; raise SystemExit(3)")
        process = env.exec(run, "import wave")
        process.wait()
        assert process.exitcode == 0
