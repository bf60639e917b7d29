"""What runs had to import themselves is there for the next ones."""

from __future__ import annotations

import os
import sys

import pytest
from childwork import use
from support import Project, is_alive, wait_until

from firehot import ChildExited, Environment

MARKED = "import os\nIMPORTED_BY = os.getpid()\n"


def is_there(environment: Environment, *names: str) -> bool:
    return bool(environment.run(lambda: all(name in sys.modules for name in names)))


@pytest.fixture(autouse=True)
def dependencies(project: Project) -> None:
    slow = "import time\nend = time.perf_counter() + 0.005\nwhile time.perf_counter() < end: pass\n"
    for name in ("plugin_a", "plugin_b", "plugin_c"):
        project.dependency(f"{name}.py", MARKED + slow)
    project.dependency("dep_a.py", MARKED)
    project.write("__init__.py", "import dep_a\n")


def test_what_a_run_has_imported_is_in_a_layer_for_the_next(project: Project) -> None:
    with project.open(learn=True) as environment:
        assert environment.run(use, "plugin_a") == {"plugin_a": False}
        assert wait_until(lambda: is_there(environment, "plugin_a"))
        assert environment.modules["plugin_a"].learned
        assert not environment.modules["dep_a"].learned


def test_it_is_remembered_for_the_next_program(project: Project) -> None:
    with project.open(learn=True) as environment:
        environment.run(use, "plugin_a", "plugin_b")
    with project.open(learn=True) as environment:
        assert wait_until(lambda: is_there(environment, "plugin_a", "plugin_b")), "nobody has asked for it here"


def test_it_can_be_turned_off(project: Project) -> None:
    with project.open(learn=True) as environment:
        environment.run(use, "plugin_a")
        assert wait_until(lambda: is_there(environment, "plugin_a"))
    with project.open(learn=False) as environment:
        for _ in range(3):
            assert environment.run(use, "plugin_a") == {"plugin_a": False}
        assert not environment.modules.keys() & {"plugin_a"}


def test_what_is_unsafe_to_fork_is_not_learned_and_the_rest_is(project: Project) -> None:
    text = "import socket\nHELD = socket.socket()\nHELD.bind(('127.0.0.1', 0))\nHELD.listen()\n"
    project.dependency("listens.py", MARKED + text)
    with project.open(learn=True) as environment:
        environment.run(use, "plugin_a", "listens", "plugin_b")
        assert wait_until(lambda: is_there(environment, "plugin_a", "plugin_b"))
        assert not is_there(environment, "listens")


def test_what_ends_a_template_is_not_learned_and_the_rest_is(project: Project) -> None:
    project.dependency("ends.py", "import os\nif os.environ.get('IN_RUN') != '1': os._exit(3)\n")
    with project.open(learn=True) as environment:
        environment.exec(use, "plugin_a", "ends", "plugin_b", env={"IN_RUN": "1"}).result()
        assert wait_until(lambda: is_there(environment, "plugin_a", "plugin_b"))
        assert environment.run(lambda: "ends" in sys.modules) is False


def test_what_ends_its_template_later_is_learned_no_more_and_the_rest_is(project: Project) -> None:
    text = "import os, signal\nif os.environ.get('IN_RUN') != '1': signal.setitimer(signal.ITIMER_REAL, 0.1)\n"
    project.dependency("ends_later.py", MARKED + text)

    def only_the_rest() -> bool:
        try:
            return bool(environment.run(lambda: "plugin_a" in sys.modules and "ends_later" not in sys.modules))
        except ChildExited:
            return False  # It was a child of the template that has ended.

    with project.open(learn=True) as environment:
        environment.exec(use, "ends_later", "plugin_a", env={"IN_RUN": "1"}).result()
        assert wait_until(only_the_rest)


def test_what_was_being_built_when_the_environment_closed_is_learned_by_the_next(project: Project) -> None:
    begun = project.root / "begun.txt"
    waits = f"import os, time\nif os.environ.get('IN_RUN') != '1':\n    open({str(begun)!r}, 'w').close()\n"
    project.dependency("waits.py", MARKED + waits + "    time.sleep(0 if os.environ.get('GO_ON') else 60)\n")
    with project.open(learn=True) as environment:
        environment.exec(use, "waits", "plugin_a", env={"IN_RUN": "1"}).result()
        assert wait_until(begun.exists), "it is being imported"
    os.environ["GO_ON"] = "1"
    try:
        with project.open(learn=True) as environment:
            assert wait_until(lambda: is_there(environment, "waits"))
    finally:
        del os.environ["GO_ON"]


def test_what_is_learned_is_stale_like_everything_else(project: Project) -> None:
    with project.open(learn=True) as environment:
        environment.run(use, "plugin_a")
        assert wait_until(lambda: is_there(environment, "plugin_a"))
        base = environment.run(lambda: sys.modules["dep_a"].IMPORTED_BY)
        project.dependency("plugin_a.py", MARKED + "NEW = 1\n")
        assert environment.run(lambda: __import__("plugin_a").NEW) == 1
        assert environment.run(lambda: sys.modules["dep_a"].IMPORTED_BY) == base
        assert is_alive(base)


def test_what_is_learned_from_another_place_than_the_templates_is_not_taken(project: Project) -> None:
    other = project.root / "other"
    other.mkdir()
    (other / "plugin_c.py").write_text(MARKED + "OTHER = True\n" + "x = list(range(100000))\n")

    def use_other(folder: str) -> bool:
        sys.path.insert(0, folder)
        import plugin_c  # type: ignore[import-not-found]

        return bool(plugin_c.OTHER)

    with project.open(learn=True) as environment:
        assert environment.run(use_other, str(other))
        environment.run(use, "plugin_a")
        assert wait_until(lambda: is_there(environment, "plugin_a"))
        assert not is_there(environment, "plugin_c")
        assert environment.run(use_other, str(other))


def test_a_run_that_learns_nothing_leaves_the_template_alone(project: Project) -> None:
    with project.open(learn=True) as environment:
        before = environment.run(os.getppid)
        for _ in range(5):
            # By a function of this file the run would import pytest, and that would be learned.
            assert environment.run(eval, "bool(__import__('dep_a'))")
        assert environment.run(os.getppid) == before
