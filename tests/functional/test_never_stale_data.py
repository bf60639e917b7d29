"""A run sees the data that its imports would read now; what an import writes, replaces or removes itself is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from packages import keeps, rebuilds, value_of
from support import Project

READERS = {
    "open": "with open(PATH) as file:\n    VALUE = file.read()",
    "open bytes": "with open(os.fsencode(PATH), 'rb') as file:\n    VALUE = file.read().decode()",
    "os.open": "FD = os.open(PATH, os.O_RDONLY)\nVALUE = os.read(FD, 99).decode()\nos.close(FD)",
    "pathlib": "from pathlib import Path\nVALUE = Path(PATH).read_text()",
    "json": "import json\nwith open(PATH) as file:\n    VALUE = json.load(file)['key']",
    "configparser": "import configparser\nPARSER = configparser.ConfigParser()\nPARSER.read(PATH)\n"
    "VALUE = PARSER['tool']['key']",
    "importlib.resources": "from importlib.resources import files\nVALUE = (files('dep_a') / 'data.txt').read_text()",
    "pkgutil": "import pkgutil\nVALUE = pkgutil.get_data('dep_a', 'data.txt').decode()",
    "a thread": "import threading\ndef read():\n    global VALUE\n    VALUE = open(PATH).read()\n"
    "thread = threading.Thread(target=read)\nthread.start()\nthread.join()",
}
CONTENTS = {"json": '{{"key": "{}"}}', "configparser": "[tool]\nkey = {}\n"}


@pytest.mark.parametrize("how", READERS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_data_file_that_an_import_read_counts(project: Project, how: str) -> None:
    content = CONTENTS.get(how, "{}")
    project.dependency("dep_a/__init__.py", f"import os\nPATH = __file__[:-11] + 'data.txt'\n{READERS[how]}\n")
    data = project.dependency("dep_a/data.txt", content.format("old"))
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert value_of(environment) == "old"
        with rebuilds(environment, "data.txt changed"):
            data.write_text(content.format("new"))
        assert value_of(environment) == "new"


def test_a_data_file_that_goes_and_comes_counts(project: Project) -> None:
    project.dependency(
        "dep_a.py",
        """
        try:
            with open(__file__[:-8] + "settings.toml") as file:
                VALUE = file.read()
        except FileNotFoundError:
            VALUE = "default"
        """,
    )
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert value_of(environment) == "default"
        with rebuilds(environment, "settings.toml appeared"):
            data = project.dependency("settings.toml", "own")
        assert value_of(environment) == "own"
        with rebuilds(environment, "settings.toml removed"):
            data.unlink()
        assert value_of(environment) == "default"


LISTINGS = {
    "listdir": "import os\nVALUE = sorted(os.listdir(FOLDER))",
    "scandir": "import os\nVALUE = sorted(entry.name for entry in os.scandir(FOLDER))",
    "glob": "from pathlib import Path\nVALUE = sorted(path.name for path in Path(FOLDER).glob('*.py'))",
    "pkgutil": "import pkgutil\nVALUE = sorted(found.name + '.py' for found in pkgutil.iter_modules([FOLDER]))",
}


@pytest.mark.parametrize("how", LISTINGS)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_folder_of_plugins_that_an_import_listed_counts(project: Project, how: str) -> None:
    project.dependency("dep_a.py", f"FOLDER = __file__[:-8] + 'plugins'\n{LISTINGS[how]}\n")
    project.dependency("plugins/one.py")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert value_of(environment) == ["one.py"]
        with rebuilds(environment, "plugins"):
            project.dependency("plugins/two.py")
        assert value_of(environment) == ["one.py", "two.py"]


def test_settings_of_the_project_that_an_import_read_count(project: Project) -> None:
    settings = project.settings("")
    project.dependency("dep_a.py", f"with open({str(settings)!r}) as file:\n    VALUE = 'fast' in file.read()\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert value_of(environment) is False
        with rebuilds(environment, "pyproject.toml changed"):
            project.settings("[tool.dep_a]\nmode = 'fast'\n")
        assert value_of(environment) is True


@pytest.mark.parametrize("mode", ["w", "a", "w+"])
def test_a_file_that_the_import_only_writes_does_not_count(project: Project, tmp_path: Path, mode: str) -> None:
    log = tmp_path / "log"
    project.dependency("dep_a.py", f"with open({str(log)!r}, {mode!r}) as file:\n    file.write('imported')\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment, keeps(environment):
        log.write_text("written by somebody else")


@pytest.mark.parametrize("mode", ["w", "a", "w+"])
def test_a_file_that_the_import_writes_and_reads_counts_as_it_left_it(
    project: Project, tmp_path: Path, mode: str
) -> None:
    state = tmp_path / "state"
    text = (
        f"with open({str(state)!r}, {mode!r}) as file:\n    file.write('imported')\n"
        f"VALUE = open({str(state)!r}).read()\n"
    )
    project.dependency("dep_a.py", text)
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        with keeps(environment):
            assert value_of(environment) == "imported"
        with rebuilds(environment, "state changed"):
            state.write_text("written by somebody else")


def test_a_file_that_the_import_opens_for_both_and_reads_counts(project: Project, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("old")
    project.dependency("dep_a.py", f"with open({str(state)!r}, 'r+') as file:\n    VALUE = file.read()\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        with rebuilds(environment, "state changed"):
            state.write_text("new")
        assert value_of(environment) == "new"


def test_a_module_that_the_import_generates_counts(project: Project) -> None:
    generated = project.site / "dep_generated.py"
    text = f"""
    import os
    if not os.path.exists({str(generated)!r}):
        with open({str(generated)!r}, "w") as file:
            file.write("VALUE = 'generated'")
    from dep_generated import VALUE
    """
    project.dependency("dep_a.py", text)
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        with keeps(environment):
            assert value_of(environment) == "generated"
        with rebuilds(environment, "dep_generated.py changed"):
            generated.write_text("VALUE = 'edited'\n")
        assert value_of(environment) == "edited"


def test_a_lock_that_an_import_leaves_where_it_looked_does_not_count(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    folder.mkdir()
    text = f"""
    import os
    NAMES = os.listdir({str(folder)!r})
    with open({str(folder)!r} + f"/{{os.getpid()}}.lock", "w") as file:
        file.write("x")
    """
    project.dependency("dep_a.py", text)
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        with keeps(environment):
            assert environment.run(abs, -1) == 1
        with rebuilds(environment, "job appeared"):
            (folder / "job").touch()


def test_what_is_another_file_for_each_process_does_not_count(project: Project, tmp_path: Path) -> None:
    """As `/etc/mtab`, which leads to `/proc/self/mounts`."""
    link = tmp_path / "mounts"
    link.symlink_to("/proc/self/mounts" if Path("/proc/self/mounts").exists() else "/dev/null")
    project.dependency("dep_a.py", f"with open({str(link)!r}) as file:\n    VALUE = len(file.read())\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment, keeps(environment):
        assert environment.run(abs, -1) == 1


def test_a_file_that_the_import_replaces_does_not_count(project: Project, tmp_path: Path) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    project.dependency(
        "dep_a.py",
        f"""
        import os
        with open({str(counter)!r}) as file:
            count = int(file.read())
        with open({str(counter) + ".new"!r}, "w") as file:
            file.write(str(count + 1))
        os.replace({str(counter) + ".new"!r}, {str(counter)!r})
        """,
    )
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert "dep_a" in environment.modules
        with keeps(environment):
            environment.run(abs, -1)


def test_a_file_that_the_import_has_made_and_removes_does_not_count(project: Project, tmp_path: Path) -> None:
    """By a command, as `ctypes.util.find_library` and its like do it: nobody sees the file being written."""
    project.dependency(
        "dep_a.py",
        f"""
        import os, subprocess
        name = {str(tmp_path / "answer-")!r} + str(os.getpid())
        subprocess.run(["cp", __file__, name], check=True)
        with open(name) as file:
            file.read()
        os.remove(name)
        """,
    )
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert "dep_a" in environment.modules
        with keeps(environment):
            environment.run(abs, -1)


def test_devices_and_the_kernels_files_do_not_count(project: Project) -> None:
    paths = [path for path in ("/proc/self/stat", "/proc/uptime", "/dev/urandom") if Path(path).exists()]
    project.dependency("dep_a.py", f"for path in {paths}:\n    with open(path, 'rb') as file:\n        file.read(9)\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        assert "dep_a" in environment.modules
        with keeps(environment):
            environment.run(abs, -1)
