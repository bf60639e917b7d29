"""A run sees what its imports would read now: variables, the working directory, the path."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from packages import keeps, rebuilds, template_of, value_of
from support import Project

# -- variables -------------------------------------------------------------------------------------

READS = {
    "by key": "VALUE = os.environ['DEP_MODE']",
    "get": "VALUE = os.environ.get('DEP_MODE')",
    "getenv": "VALUE = os.getenv('DEP_MODE')",
    "in": "VALUE = 'two' if 'DEP_MODE' in os.environ and os.environ.copy()['DEP_MODE'] == 'two' else 'one'",
    "bytes": "VALUE = os.environb[b'DEP_MODE'].decode()",
    "getenvb": "VALUE = os.getenvb(b'DEP_MODE').decode()",
    "setdefault": "VALUE = os.environ.setdefault('DEP_MODE', 'default')",
    "pop": "VALUE = os.environ.pop('DEP_MODE')",
    "a name of its own": "from os import environ\nVALUE = environ['DEP_MODE']",
    "expandvars": "VALUE = os.path.expandvars('$DEP_MODE')",
    "after a copy": "COPY = dict(os.environ)\nVALUE = os.environ['DEP_MODE']",
    "after all names": "NAMES = list(os.environ)\nVALUE = os.environ['DEP_MODE']",
    "those of a prefix": "(VALUE,) = (os.environ[name] for name in os.environ if name.startswith('DEP_M'))",
}


@pytest.mark.parametrize("how", READS)
def test_a_variable_that_an_import_read_counts(project: Project, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("DEP_MODE", "one")
    project.dependency("dep_a.py", f"import os\n{READS[how]}\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert value_of(environment) == "one"
        with rebuilds(environment, "DEP_MODE differs"):
            monkeypatch.setenv("DEP_MODE", "two")
        assert value_of(environment) == "two"


@pytest.mark.parametrize("at_first", [True, False], ids=["taken away", "set"])
def test_a_variable_that_comes_or_goes_counts(
    project: Project, monkeypatch: pytest.MonkeyPatch, at_first: bool
) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    project.dependency("dep_a.py", "import os\nVALUE = 'DJANGO_SETTINGS_MODULE' in os.environ\n")
    project.write("app.py", "import dep_a\n")

    def put(present: bool) -> None:
        if present:
            monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "settings")
        else:
            monkeypatch.delenv("DJANGO_SETTINGS_MODULE")

    if at_first:
        put(True)
    with project.open() as environment:
        assert value_of(environment) is at_first
        with rebuilds(environment, "DJANGO_SETTINGS_MODULE differs"):
            put(not at_first)
        assert value_of(environment) is not at_first


BULK_COPIES = {
    "dict": "COPY = dict(os.environ)",
    "copy": "COPY = os.environ.copy()",
    "stars": "COPY = {**os.environ}",
    "items": "COPY = {name: value for name, value in os.environ.items()}",
    "values": "COPY = sorted(os.environ.values())",
    "names": "COPY = sorted(os.environ)",
    "or": "COPY = os.environ | {}",
    "bytes": "COPY = dict(os.environb)",
    "update": "COPY = {}\nCOPY.update(os.environ)",
    "a command": "import subprocess\nsubprocess.run(['true'], check=True, env={**os.environ, 'DEP_ADDED': '1'})",
}


@pytest.mark.parametrize("how", BULK_COPIES)
def test_a_copy_of_all_variables_names_none(project: Project, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setenv("DEP_MODE", "one")
    project.dependency("dep_a.py", f"import os\n{BULK_COPIES[how]}\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert "dep_a" in environment.modules
        with keeps(environment):
            monkeypatch.setenv("DEP_MODE", "two")
            monkeypatch.setenv("DEP_NEW", "new")
        assert environment.run(os.getenv, "DEP_MODE") == "two"


def test_a_variable_that_no_import_read_does_not_count(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.dependency("dep_a.py", "import os\nVALUE = os.environ.get('DEP_MODE')\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment, keeps(environment):
        monkeypatch.setenv("DEP_OTHER", "set")


@pytest.mark.parametrize(
    "name",
    ["_", "SHLVL", "PWD", "OLDPWD", "WINDOWID", "TERM_SESSION_ID", "SSH_CONNECTION", "SSH_TTY", "COLUMNS", "LINES"],
)
def test_a_variable_of_the_terminal_never_counts(project: Project, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    project.dependency("dep_a.py", f"import os\nVALUE = os.environ.get({name!r})\n")
    project.write("app.py", "import dep_a\n")
    monkeypatch.setenv(name, "1")
    with project.open() as environment, keeps(environment):
        monkeypatch.setenv(name, "2")


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"])
def test_a_variable_that_native_code_reads_counts_by_its_name(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name, raising=False)
    with project.open() as environment, rebuilds(environment, f"{name} differs"):
        monkeypatch.setenv(name, "1")


def test_the_reader_of_a_variable_sees_what_a_call_sets(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEP_MODE", "host")
    project.dependency("dep_a.py", "import os\nVALUE = os.environ.get('DEP_MODE')\n")
    project.write("app.py", "import dep_a\n")

    def look() -> tuple[Any, int]:
        return importlib.import_module("dep_a").VALUE, os.getppid()

    with project.open() as environment:
        main = template_of(environment)
        for value in ("call", None, "another"):
            seen, template = environment.exec(look, env={"DEP_MODE": value}).result()
            assert seen == value and template != main
            assert environment.run(look) == ("host", main), "the main template stays"
        assert environment.exec(look, env={"DEP_MODE": "host"}).result() == ("host", main)
        assert environment.exec(look, env={"DEP_UNREAD": "set"}).result() == ("host", main)
        assert environment.last_rebuild is None


def test_runs_with_different_variables_do_not_get_into_each_other(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEP_MODE", "host")
    project.dependency("dep_a.py", "import os\nVALUE = os.environ['DEP_MODE']\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        modes = [str(number % 4) for number in range(12)]
        calls = [environment.exec(resolve_name, "dep_a:VALUE", env={"DEP_MODE": mode}) for mode in modes]
        assert [call.result() for call in calls] == modes
        assert value_of(environment) == "host"


def test_an_edit_is_seen_by_runs_with_other_variables_too(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEP_MODE", "host")
    file = project.dependency("dep_a.py", "import os\nVALUE = os.environ['DEP_MODE'] + ' 1'\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:

        def seen() -> tuple[str, str]:
            call = environment.exec(resolve_name, "dep_a:VALUE", env={"DEP_MODE": "call"})
            return call.result(), value_of(environment)

        assert seen() == ("call 1", "host 1")
        file.write_text(file.read_text().replace("1", "22"))
        assert seen() == ("call 22", "host 22")
        monkeypatch.setenv("DEP_MODE", "HOST")
        assert seen() == ("call 22", "HOST 22")


def test_a_call_that_sets_what_native_code_reads_has_a_template_of_its_own(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with project.open() as environment:
        main = template_of(environment)
        assert environment.exec(os.getppid, env={"OMP_NUM_THREADS": "1"}).result() != main
        assert template_of(environment) == main


# -- working directory and path --------------------------------------------------------------------

ASKS = {
    "getcwd": "VALUE = os.getcwd()",
    "a relative file": "VALUE = os.path.dirname(os.path.realpath(open('settings.cfg').name))",
    "a relative file that is not there": "try:\n    open('missing.cfg')\nexcept OSError:\n    VALUE = os.getcwd()",
    "pathlib": "from pathlib import Path\nVALUE = str(Path.cwd())",
    "abspath": "VALUE = os.path.dirname(os.path.abspath('settings.cfg'))",
}


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Two folders; the first one is where the host works."""
    made = (tmp_path / "here", tmp_path / "there")
    for folder in made:
        folder.mkdir()
        (folder / "settings.cfg").write_text(f"in {folder.name}")
    monkeypatch.chdir(made[0])
    return os.path.realpath(made[0]), os.path.realpath(made[1])


@pytest.mark.parametrize("how", ASKS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_directory_counts_when_an_import_asked_for_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, folders: tuple[str, str], how: str
) -> None:
    here, there = folders
    project.dependency("dep_a.py", f"import os\n{ASKS[how]}\n")
    project.write("app.py", "import dep_a\n")
    with project.open(learn=False) as environment:
        assert value_of(environment) == here
        main = template_of(environment)

        def look() -> tuple[Any, int]:
            return importlib.import_module("dep_a").VALUE, os.getppid()

        seen, template = environment.exec(look, cwd=there).result()
        assert seen == there and template != main
        assert environment.run(look) == (here, main), "the main template stays"
        with rebuilds(environment, "the working directory differs"):
            monkeypatch.chdir(there)
        assert value_of(environment) == there


def test_the_directory_does_not_count_when_no_import_asked_for_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, folders: tuple[str, str]
) -> None:
    project.dependency("dep_a.py", "from pathlib import Path\nVALUE = Path(__file__).parent.name\n")
    project.write("app.py", "import dep_a, json, tempfile, requests\n")
    with project.open() as environment, keeps(environment):
        assert environment.exec(os.getppid, cwd=folders[1]).result() == template_of(environment)
        monkeypatch.chdir(folders[1])
        assert environment.run(os.getcwd) == folders[1]


@pytest.mark.parametrize("entry", ["", ".", "lib"])
def test_the_directory_counts_when_the_path_depends_on_it(
    project: Project, monkeypatch: pytest.MonkeyPatch, folders: tuple[str, str], entry: str
) -> None:
    """As in `python -c` and in notebooks, whose path begins with an empty entry."""
    for folder in map(Path, folders):
        (folder / "lib").mkdir()
        (folder / entry / "dep_a.py").write_text(f"VALUE = {folder.name!r}\n")
    monkeypatch.setattr(sys, "path", [*sys.path, entry])
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert value_of(environment) == "here"
        assert "dep_a" in environment.modules
        assert environment.exec(resolve_name, "dep_a:VALUE", cwd=folders[1]).result() == "there"
        with rebuilds(environment, "the working directory differs"):
            monkeypatch.chdir(folders[1])
        assert value_of(environment) == "there"


def test_another_path_of_the_host_counts(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project.dependency("dep_a.py", "VALUE = 'old'\n")
    project.write("app.py", "import dep_a\n")
    (tmp_path / "in_front").mkdir()
    (tmp_path / "in_front" / "dep_a.py").write_text("VALUE = 'in front'\n")
    with project.open() as environment:
        with rebuilds(environment, "sys.path differs"):
            monkeypatch.syspath_prepend(str(tmp_path / "in_front"))
        assert value_of(environment) == "in front"
        with keeps(environment):
            assert "dep_a" in environment.modules


# -- how a package asks, and what it sees of being watched ---------------------------------------

ASKING = {
    "in keys()": "VALUE = 'FH_ASKED' in os.environ.keys()",
    "keys() & names": "VALUE = bool(os.environ.keys() & {'FH_ASKED'})",
    "in items()": "VALUE = ('FH_ASKED', 'yes') in os.environ.items()",
    "after a copy": "copy = dict(os.environ)\nVALUE = os.environ.get('FH_ASKED') is not None",
    "after keys()": "keys = os.environ.keys()\nVALUE = os.environ.get('FH_ASKED') is not None",
}


@pytest.mark.parametrize("asking", ASKING)
def test_each_way_to_ask_for_a_variable_counts(project: Project, monkeypatch: pytest.MonkeyPatch, asking: str) -> None:
    project.dependency("dep_a.py", f"import os\n{ASKING[asking]}\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert value_of(environment) is False
        with rebuilds(environment, "FH_ASKED differs"):
            monkeypatch.setenv("FH_ASKED", "yes")
        assert value_of(environment) is True


def test_the_first_variable_counts_when_it_is_asked_for_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the one that a copy of all would begin with."""
    monkeypatch.setenv("FH_FIRST", "old")
    for name in list(os.environ):
        # Taken away and put back, they stand behind it.
        if name != "FH_FIRST":
            value = os.environ.pop(name)
            os.environ[name] = value
    first = next(iter(os.environ))
    assert first == "FH_FIRST"
    project.dependency("dep_a.py", f"import os\nkeys = os.environ.keys()\nVALUE = os.environ[{first!r}]\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        before = value_of(environment)
        with rebuilds(environment, f"{first} differs"):
            monkeypatch.setenv(first, before + "x")


@pytest.mark.parametrize("asking", ["os.getcwdb()", "os.path.abspath(b'x')"])
def test_the_directory_counts_in_bytes_as_well(
    project: Project, folders: tuple[str, str], monkeypatch: pytest.MonkeyPatch, asking: str
) -> None:
    project.dependency("dep_a.py", f"import os\nVALUE = {asking}\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment, rebuilds(environment, "the working directory differs"):
        monkeypatch.chdir(folders[1])


def test_packages_can_not_tell_that_they_are_watched(project: Project) -> None:
    text = """
    import copy, os
    KIND = type(os.environ)
    COPIED = copy.copy(os.environ)
    class Holder:
        cwd = os.getcwd
    from os import getcwd, environ
    """
    project.dependency("dep_a.py", text)
    project.write("app.py", "import dep_a\n")

    def look() -> tuple[object, ...]:
        import dep_a

        plain = vars(dep_a.KIND)
        return (
            dep_a.KIND.__name__,
            type(dep_a.COPIED) is dep_a.KIND,
            dep_a.environ is os.environ,
            dep_a.getcwd is os.getcwd,
            "keys" in plain,
            plain["__getitem__"].__module__,
        )

    with project.open() as environment:
        assert environment.run(look) == ("_Environ", True, True, True, False, "os")


def test_what_a_package_puts_in_place_of_getcwd_stays(project: Project) -> None:
    project.dependency("dep_a.py", "import os\nos.getcwd = lambda: '/patched'\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert environment.run(lambda: os.getcwd()) == "/patched"


def test_a_call_finds_one_state_of_a_host_that_changes_it_all_the_time(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.dependency("dep_a.py", "import os\nVALUE = os.environ['FH_FLIPS']\n")
    project.write("app.py", "import dep_a\n")
    monkeypatch.setenv("FH_FLIPS", "0")

    def same() -> bool:
        import dep_a

        return bool(os.environ["FH_FLIPS"] == dep_a.VALUE)

    over = threading.Event()

    def flip() -> None:
        value = 0
        while not over.is_set():
            value = 1 - value
            os.environ["FH_FLIPS"] = str(value)

    with project.open() as environment:
        flipping = threading.Thread(target=flip)
        flipping.start()
        try:
            assert all(environment.run(same) for _ in range(20))
        finally:
            over.set()
            flipping.join()
