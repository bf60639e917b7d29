"""What firehot reads of a project's configuration of pytest."""

from __future__ import annotations

from pathlib import Path

import pytest

from firehot import _pytest_config

INI = "testpaths = a .\n  sub/*\npythonpath = .\naddopts = -q -p 'some plugin'\n"
TABLE = "testpaths = ['a', '.', 'sub/*']\npythonpath = ['.']\naddopts = ['-q', '-p', 'some plugin']\n"
FILES = {
    "pytest.ini": f"[pytest]\n{INI}",
    ".pytest.ini": f"[pytest]\n{INI}",
    "tox.ini": f"[pytest]\n{INI}",
    "setup.cfg": f"[tool:pytest]\n{INI}",
    "pytest.toml": f"[pytest]\n{TABLE}",
}
PYPROJECTS = (f"[tool.pytest]\n{TABLE}", f"[tool.pytest.ini_options]\n{TABLE}")


@pytest.mark.parametrize(("name", "text"), [*FILES.items(), *(("pyproject.toml", text) for text in PYPROJECTS)])
def test_each_kind_of_file_is_read(name: str, text: str, tmp_path: Path) -> None:
    for folder in ("below/deep", "sub/one", "sub/two"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / name).write_text(text)
    found = _pytest_config.find(str(tmp_path / "below/deep"), str(tmp_path))
    assert found == str(tmp_path / name)
    read = _pytest_config.read(found, "/elsewhere")
    assert read.testpaths == tuple(str(tmp_path / place) for place in ("a", "", "sub/one", "sub/two"))
    assert read.pythonpath == (str(tmp_path),)
    assert read.addopts == ("-q", "-p", "some plugin")


@pytest.mark.parametrize(
    "text", ["", "[tool.other]\n", "[tool]\npytest = 3\n", "tool = 1\n", "not toml", "[tool.pytest]\nini_options = 1\n"]
)
def test_a_file_that_configures_nothing_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert _pytest_config.find(str(tmp_path), str(tmp_path)) is None
    read = _pytest_config.read(None, str(tmp_path))
    assert read.places() == (str(tmp_path),)


def test_the_search_ends_at_the_project(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").touch()
    root = tmp_path / "project"
    root.mkdir()
    assert _pytest_config.find(str(root), str(root)) is None
    assert _pytest_config.find(str(root), str(tmp_path)) == str(tmp_path / "pytest.ini")
