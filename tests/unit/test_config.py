"""`[tool.firehot]` of pyproject.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from firehot import FirehotError
from firehot._config import Settings, read


def project(folder: Path, text: str | bytes) -> Path:
    file = folder / "pyproject.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    package = folder / "src" / "package"
    package.mkdir(parents=True)
    return package


def test_all_settings_are_read(tmp_path: Path) -> None:
    package = project(
        tmp_path,
        """
        [tool.firehot]
        preload = ["a", "b.c"]
        ignored_modules = ["d"]
        first_party = []
        import_timeout = 5
        idle_timeout = 600.5
        spares = 2
        learn = false
        warm_first_party = true

        [tool.firehot.fork]
        e = "leave-out"
        "f.g" = "safe"
        h.i = "leave-out"
        """,
    )
    words = (("e", "leave-out"), ("f.g", "safe"), ("h.i", "leave-out"))
    numbers = {"import_timeout": 5.0, "idle_timeout": 600.5, "spares": 2}
    expected = Settings(("a", "b.c"), ("d",), (), **numbers, fork=words, learn=False, warm_first_party=True)
    assert read(package) == expected


def test_no_file_and_no_table_are_the_defaults(tmp_path: Path) -> None:
    assert read(project(tmp_path, "[tool.other]\nx = 1\n")) == Settings()
    assert Settings() == Settings((), (), (), 60.0, 3600.0, 1, (), learn=True, warm_first_party=False)


def test_the_nearest_file_counts(tmp_path: Path) -> None:
    package = project(tmp_path, '[tool.firehot]\npreload = ["outer"]\n')
    (tmp_path / "src" / "pyproject.toml").write_text('[tool.firehot]\npreload = ["inner"]\n')
    assert read(package).preload == ("inner",)


def test_the_file_of_a_package_that_is_its_own_project_counts(tmp_path: Path) -> None:
    package = project(tmp_path, '[tool.firehot]\npreload = ["outer"]\n')
    file = package / "module.py"
    assert read(file).preload == ("outer",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[tool.firehot]\npreload = "a"\n', "preload is a list of names"),
        ("[tool.firehot]\nfirst_party = [1]\n", "first_party is a list of names"),
        ("[tool.firehot]\nimport_timeout = 0\n", "import_timeout is a number of seconds"),
        ("[tool.firehot]\nimport_timeout = true\n", "import_timeout is a number of seconds"),
        ("[tool.firehot]\nidle_timeout = -1\n", "idle_timeout is a number of seconds"),
        ('[tool.firehot]\nimport_timeout = "5"\n', "import_timeout is a number of seconds"),
        ("[tool.firehot]\nimport_timeout = nan\n", "import_timeout is a number of seconds"),
        ("[tool.firehot]\npreloads = []\n", "preloads is unknown; known are preload, "),
        ("[tool.firehot]\nlearn = 1\n", "learn is true or false, not 1"),
        ('[tool.firehot]\nwarm_first_party = "no"\n', "warm_first_party is true or false"),
        ("[tool.firehot]\nfork = 3\n", "fork is a table"),
        ('[tool.firehot.fork]\na = "maybe"\n', 'fork."a" is "leave-out" or "safe", not \'maybe\''),
        ("[tool.firehot.fork]\na.b = [1]\n", 'fork."a.b" is "leave-out" or "safe", not [1]'),
        ('[tool.firehot.fork]\n"a-b" = "safe"\n', "'a-b', which is no name of a package"),
        ("[tool.firehot\n", "no valid TOML"),
        ("[tool]\nfirehot = 3\n", "tool.firehot"),
        (b"\xff", "can't be read"),
    ],
)
def test_what_is_wrong_is_refused_with_the_file(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(FirehotError) as caught:
        read(project(tmp_path, text))
    assert message in str(caught.value)
    assert str(tmp_path / "pyproject.toml") in str(caught.value)
