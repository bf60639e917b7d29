"""The test suite of a real package, from its sdist: each test has the same outcome in a fork as without."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

PACKAGE = "itsdangerous==2.2.0"
# Those that need nothing but the package and pytest.
FILES = ("test_encoding.py", "test_signer.py", "test_serializer.py")


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    options = ("--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(folder))
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, PACKAGE], capture_output=True, text=True, timeout=100
    )
    if done.returncode:
        pytest.skip(f"{PACKAGE} could not be downloaded; with a network it is: {done.stderr[-200:]}")
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        # 3.12 and 3.13 warn when there is none; it came with 3.10.12 and 3.11.4.
        filters = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        file.extractall(folder, **filters)
    return Path(str(archive)[: -len(".tar.gz")])


def outcomes(suite: Path, *words: str) -> dict[tuple[str | None, str | None], list[str]]:
    """What became of each test."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environ |= {"PYTHONPATH": str(suite / "src"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    files = [f"tests/test_itsdangerous/{name}" for name in FILES]
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "firehot._pytest_plugin", "--junitxml=report.xml")
    subprocess.run(
        [sys.executable, *command, *files, *words], cwd=suite, env=environ, capture_output=True, timeout=100, check=True
    )
    cases = ElementTree.parse(suite / "report.xml").iter("testcase")
    return {(case.get("classname"), case.get("name")): [child.tag for child in case] for case in cases}


@pytest.mark.parametrize("words", [("--firehot-isolate",), ("--firehot-jobs=2",), ("--firehot-isolate=module",)])
def test_each_test_of_a_real_suite_has_the_same_outcome(suite: Path, words: tuple[str, ...]) -> None:
    expected = outcomes(suite)
    assert len(expected) > 50
    assert outcomes(suite, *words) == expected
