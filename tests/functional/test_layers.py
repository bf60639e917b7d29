"""Layers: a template that is forked from a template, with more modules."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from support import Project, is_alive, wait_until

from firehot import Environment

# What the runs of a test import is no matter here: `learn=False` throughout.
COUNTS = "import builtins\nbuiltins.made = getattr(builtins, 'made', []) + [__name__]\n"


@pytest.fixture(autouse=True)
def dependencies(project: Project) -> None:
    for name in ("dep_a", "dep_b", "dep_c"):
        project.dependency(f"{name}.py", COUNTS)


def template_of(environment: Environment) -> int:
    return environment.run(os.getppid)


def made() -> list[str]:
    import builtins

    return list(getattr(builtins, "made", []))


def parent_of(pid: int) -> int | None:
    """`None` when it has ended: a template is replaced at any moment."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return int(stat.read().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; the parent of a process is asked there")


def imports(project: Project, *names: str) -> None:
    project.write("app.py", "".join(f"import {name}\n" for name in names))


@linux_only
def test_an_added_import_is_all_that_is_imported(project: Project) -> None:
    imports(project, "dep_a")
    with project.open(learn=False) as environment:
        base = template_of(environment)
        imports(project, "dep_a", "dep_b")
        assert environment.update_environment() is True
        assert parent_of(template_of(environment)) == base
        assert environment.run(made) == ["dep_a", "dep_b"]
        assert set(environment.modules) >= {"dep_a", "dep_b"}


def test_an_import_that_goes_takes_only_its_layer(project: Project) -> None:
    imports(project, "dep_a")
    with project.open(learn=False) as environment:
        base = template_of(environment)
        imports(project, "dep_a", "dep_b")
        environment.update_environment()
        layer = template_of(environment)
        imports(project, "dep_a")
        assert environment.update_environment() is True
        assert template_of(environment) == base
        assert environment.run(made) == ["dep_a"]
        assert "dep_b" not in environment.modules
        assert wait_until(lambda: not is_alive(layer)), "the layer has left"


def test_a_file_of_a_layer_that_changes_takes_only_that_layer(project: Project) -> None:
    imports(project, "dep_a")
    with project.open(learn=False) as environment:
        base = template_of(environment)
        imports(project, "dep_a", "dep_b")
        environment.update_environment()
        layer = template_of(environment)
        project.dependency("dep_b.py", COUNTS + "NEW = True\n")
        assert environment.run(lambda: sys.modules["dep_b"].NEW) is True
        new = template_of(environment)
        assert new not in (base, layer)
        assert is_alive(base)
        assert wait_until(lambda: not is_alive(layer))
        assert environment.last_rebuild is not None
        assert "dep_b.py" in environment.last_rebuild


def test_a_file_of_the_base_that_changes_takes_all(project: Project) -> None:
    imports(project, "dep_a")
    with project.open(learn=False) as environment:
        base = template_of(environment)
        imports(project, "dep_a", "dep_b")
        environment.update_environment()
        layer = template_of(environment)
        project.dependency("dep_a.py", COUNTS + "NEW = True\n")
        assert environment.run(lambda: sys.modules["dep_a"].NEW) is True
        assert environment.run(made) == ["dep_a", "dep_b"]
        assert wait_until(lambda: not is_alive(base) and not is_alive(layer))


def test_a_module_that_comes_counts_below_the_layer_that_missed_it(project: Project) -> None:
    project.dependency("dep_a.py", "try:\n    import dep_late\nexcept ImportError:\n    dep_late = None\n")
    imports(project, "dep_a")
    with project.open(learn=False) as environment:
        imports(project, "dep_a", "dep_late")
        environment.update_environment()
        assert "dep_late" in environment.skipped
        project.dependency("dep_late.py")
        assert environment.run(lambda: sys.modules["dep_a"].dep_late is not None)


def test_a_layer_sees_the_host_as_it_is_when_it_is_made(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.dependency("asks.py", "import os, sys\nSAW = os.environ.get('SET_LATER'), os.getcwd(), list(sys.argv)\n")
    imports(project, "dep_a")
    folder = project.root / "elsewhere"
    folder.mkdir()
    with project.open(learn=False) as environment:
        base = template_of(environment)
        monkeypatch.setenv("SET_LATER", "here")
        monkeypatch.chdir(folder)
        imports(project, "dep_a", "asks")
        environment.update_environment()
        assert environment.run(lambda: sys.modules["asks"].SAW[:2]) == ("here", str(folder))
        assert is_alive(base)
        monkeypatch.setenv("SET_LATER", "again")
        assert environment.run(lambda: sys.modules["asks"].SAW[0]) == "again"
        assert is_alive(base), "only the layer has read it"


def test_what_imports_of_a_layer_set_counts_in_children(project: Project) -> None:
    project.dependency("sets.py", "import os, sys\nos.environ['BY_LAYER'] = '1'\nsys.path.append('/by/layer')\n")
    project.dependency("dep_a.py", "import os\nos.environ['BY_BASE'] = '1'\n")
    imports(project, "dep_a")
    with project.open(learn=False) as environment:
        imports(project, "dep_a", "sets")
        environment.update_environment()
        seen = environment.run(lambda: (os.environ.get("BY_BASE"), os.environ.get("BY_LAYER"), "/by/layer" in sys.path))
        assert seen == ("1", "1", True)


def test_a_layer_that_ends_the_interpreter_is_told_and_the_base_goes_on(project: Project) -> None:
    project.dependency("ends.py", "import os\nos._exit(3)\n")
    imports(project, "dep_a")
    with project.open(learn=False) as environment:
        base = template_of(environment)
        imports(project, "dep_a", "ends", "dep_b")
        assert environment.update_environment() is True
        assert "exited with code 3" in environment.skipped["ends"].reason
        assert environment.run(made) == ["dep_a", "dep_b"]
        assert is_alive(base)


@linux_only
def test_a_killed_layer_is_made_again_on_the_same_base(project: Project) -> None:
    imports(project, "dep_a")
    with project.open(learn=False) as environment:
        base = template_of(environment)
        imports(project, "dep_a", "dep_b")
        environment.update_environment()
        layer = template_of(environment)
        os.kill(layer, signal.SIGKILL)
        assert wait_until(lambda: not is_alive(layer))
        assert environment.run(made) == ["dep_a", "dep_b"]
        assert parent_of(template_of(environment)) == base


def test_a_killed_base_takes_its_layers_and_their_children(project: Project) -> None:
    imports(project, "dep_a")
    with project.open(learn=False) as environment:
        base = template_of(environment)
        imports(project, "dep_a", "dep_b")
        environment.update_environment()
        layer = template_of(environment)
        child = environment.exec(signal.pause)
        assert child.pid is not None
        os.kill(base, signal.SIGKILL)
        assert wait_until(lambda: not is_alive(base) and not is_alive(layer))
        assert child.wait() == -signal.SIGKILL
        assert environment.run(made) == ["dep_a", "dep_b"]


def test_an_import_that_patches_what_lies_below_is_done_in_order(project: Project) -> None:
    project.dependency("gevent/__init__.py", "")
    project.dependency(
        "gevent/monkey.py", "import builtins\nsaved = {'os': 1}\nbuiltins.early = list(getattr(builtins, 'made', []))\n"
    )
    imports(project, "dep_a")
    with project.open(learn=False) as environment:
        imports(project, "gevent.monkey", "dep_a")
        environment.update_environment()

        def early() -> list[str]:
            import builtins

            return builtins.early  # type: ignore[attr-defined, no-any-return]

        assert environment.run(early) == [], "as a cold start would, it came first"


@linux_only
def test_what_is_edited_stands_above_what_is_installed(project: Project) -> None:
    imports(project, "dep_a", "pluggy")
    with project.open(learn=False) as environment:
        loaded = environment.run(lambda: list(sys.modules))
        assert loaded.index("pluggy") < loaded.index("dep_a")
        base = parent_of(template_of(environment))
        project.dependency("dep_a.py", COUNTS + "NEW = True\n")
        assert environment.run(lambda: sys.modules["dep_a"].NEW) is True
        assert base == parent_of(template_of(environment)), "what is installed was not imported again"


@linux_only
def test_many_layers_are_joined_in_the_background(project: Project) -> None:
    names = [f"dep_{number}" for number in range(5)]
    for name in names:
        project.dependency(f"{name}.py", COUNTS)
    with project.open(learn=False) as environment:
        base = template_of(environment)
        for count in range(1, 5):
            imports(project, *names[:count])
            environment.update_environment()
            assert environment.run(made) == names[:count]
        assert wait_until(lambda: parent_of(template_of(environment)) == os.getpid()), "a flat one serves"
        assert environment.run(made) == names[:4]
        assert wait_until(lambda: not is_alive(base))
        imports(project, *names)
        environment.update_environment()
        assert environment.run(made) == names


@linux_only
def test_layers_that_are_joined_are_in_the_order_of_a_cold_start(project: Project) -> None:
    names = [f"dep_{number}" for number in range(4)]
    for name in names:
        project.dependency(f"{name}.py", COUNTS)
    with project.open(learn=False) as environment:
        for count in range(1, 5):
            imports(project, *reversed(names[:count]))
            environment.update_environment()
        assert wait_until(lambda: parent_of(template_of(environment)) == os.getpid())
        assert environment.run(made) == names[::-1]


@linux_only
def test_layers_that_are_joined_in_order_are_not_joined_again(project: Project) -> None:
    names = [f"dep_{number}" for number in range(4)]
    for name in names:
        project.dependency(f"{name}.py", COUNTS)
    with project.open(learn=False) as environment:
        for count in range(1, 5):
            imports(project, *reversed(names[:count]))
            environment.update_environment()
        assert wait_until(lambda: parent_of(template_of(environment)) == os.getpid())
        flat = template_of(environment)
        # Longer than the layers wait for a quiet moment.
        assert not wait_until(lambda: template_of(environment) != flat, 12.0)
