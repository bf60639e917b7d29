"""A project whose tests meet whatever a run in forks could change, and pytest beside pytest on it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

from support import DEADLINE

FILES = {
    "pytest.ini": "[pytest]\naddopts = -p no:cacheprovider\n",
    "conftest.py": """
        import logging
        import os
        import warnings

        import pytest

        LOG = os.environ["SETUPS"]

        def note(text):
            with open(LOG, "a") as file:
                file.write(text + "\\n")

        @pytest.fixture(scope="session", autouse=True)
        def whole(tmp_path_factory):
            note("whole up")
            print("whole up")
            logging.getLogger("whole").warning("whole logs")
            warnings.warn("whole warns", stacklevel=1)
            yield os.getpid()
            note("whole down")

        @pytest.fixture(scope="module")
        def file(request, whole):
            note(f"{request.module.__name__} up")
            print("file up")
            yield request.module.__name__
            print("file down")
            note(f"{request.module.__name__} down")

        @pytest.fixture(scope="session", params=["one", "two"])
        def each(request, whole):
            note(f"{request.param} up")
            yield request.param
            note(f"{request.param} down")

        def pytest_runtest_setup(item):
            if item.get_closest_marker("early"):
                pytest.skip("left out by a hook")

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            report.sections.append(("By a hook", f"{call.when}"))
            return report
    """,
    "test_kinds.py": """
        import logging
        import os
        import unittest
        import warnings

        import pytest

        @pytest.fixture
        def loud():
            os.write(1, b"written by a fixture\\n")
            os.write(2, b"and an error\\n")

        def test_after_a_loud_setup(loud):
            assert False

        def test_passes(file, tmp_path):
            (tmp_path / "made").write_text("")
            print("to stdout")

        def test_fails(file, record_property, record_testsuite_property, record_xml_attribute):
            record_property("key", ("a", 1))
            record_testsuite_property("suite", "value")
            record_xml_attribute("assertions", "3")
            print("to stdout")
            os.system("echo from a shell >&2")
            logging.getLogger("test").warning("logged")
            assert {"a": 1, "b": [1, 2]} == {"a": 1, "b": [1, 3]}

        def test_raises_from_another():
            try:
                {}["missing"]
            except KeyError as error:
                raise ValueError("with a cause") from error

        def test_warns():
            warnings.warn("look here", stacklevel=1)
            warnings.warn(DeprecationWarning("old"), stacklevel=1)

        @pytest.mark.skip(reason="not now")
        def test_skipped(file):
            pass

        @pytest.mark.early
        def test_left_out(file):
            pass

        def test_skips_itself():
            pytest.skip("inside")

        @pytest.mark.xfail(reason="known")
        def test_expected():
            assert False

        @pytest.mark.xfail
        def test_unexpected():
            pass

        @pytest.mark.xfail(strict=True)
        def test_strict():
            pass

        @pytest.mark.parametrize("number", [1, 2, pytest.param(3, marks=pytest.mark.xfail)])
        def test_numbers(number, each):
            assert number < 3

        @pytest.fixture
        def broken():
            print("before")
            raise RuntimeError("in a fixture")

        def test_broken_fixture(file, broken):
            pass

        @pytest.fixture
        def broken_end():
            yield
            print("at the end")
            raise RuntimeError("in a teardown")

        def test_broken_end(file, broken_end):
            pass

        def test_both(broken_end):
            assert False, "and the teardown"

        def test_no_such_fixture(absent):
            pass

        def test_subtests(subtests):
            for number in range(3):
                with subtests.test("each", number=number):
                    assert number != 1

    """,
    "test_scopes.py": """
        import os
        import unittest

        import pytest
        from conftest import note

        @pytest.fixture(scope="module")
        def spoilt(file):
            note("spoilt up")
            raise RuntimeError("wide")

        @pytest.fixture(scope="module")
        def refuses():
            pytest.skip("wide skip")

        @pytest.fixture(scope="class")
        def shared():
            note("shared up")
            yield []
            note("shared down")

        def setup_module():
            note("setup_module")

        def teardown_module():
            note("teardown_module")
            print("module ends")

        def setup_function():
            pass

        class TestShared:
            @classmethod
            def setup_class(cls):
                note("setup_class")
                cls.value = 1

            @classmethod
            def teardown_class(cls):
                note("teardown_class")

            def setup_method(self):
                self.own = 2

            def test_first(self, shared):
                assert (self.value, self.own, shared) == (1, 2, [])

            def test_second(self, shared):
                assert shared == []

        class TestOuter:
            class TestInner:
                def test_inner(self, file, shared):
                    assert file == "test_scopes"

            def test_outer(self, shared):
                assert shared == []

        class TestUnit(unittest.TestCase):
            @classmethod
            def setUpClass(cls):
                note("setUpClass")
                cls.value = 1

            @classmethod
            def tearDownClass(cls):
                note("tearDownClass")

            def setUp(self):
                self.addCleanup(print, "cleaned")

            def test_value(self):
                self.assertEqual(self.value, 1)

            def test_fails(self):
                self.assertEqual(self.value, 2)

            @unittest.skip("by unittest")
            def test_skipped(self):
                pass

            @unittest.expectedFailure
            def test_expected(self):
                self.fail()

        def test_spoilt(spoilt):
            pass

        def test_spoilt_again(spoilt):
            pass

        def test_refused(refuses):
            pass

        def test_after(file, shared):
            assert file == "test_scopes"
    """,
    "test_wide_end.py": """
        import logging
        import warnings

        import pytest

        @pytest.fixture(scope="module")
        def ends_badly():
            yield
            print("printed at the end")
            logging.getLogger("end").warning("logged at the end")
            warnings.warn("warned at the end", stacklevel=1)
            raise RuntimeError("wide teardown")

        def test_first(ends_badly):
            pass

        def test_last(ends_badly):
            print("the last")
    """,
    "test_words.py": '''
        def double(number):
            """
            >>> double(2)
            4
            >>> double(3)
            7
            """
            return 2 * number

        def test_double():
            assert double(2) == 4
    ''',
}


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(textwrap.dedent(text))


def run(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """pytest in this folder; the fixtures that were set up and torn down are in `setups`."""
    with started(folder, *words, env=env) as process:
        try:
            out, err = process.communicate(timeout=DEADLINE)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def started(folder: Path, *words: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The same, while it runs."""
    setups = folder / "setups"
    setups.unlink(missing_ok=True)
    setups.touch()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    variables |= {"SETUPS": str(setups), "COLUMNS": "100", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **(env or {})}
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "firehot._pytest_plugin", *words],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def setups(folder: Path) -> list[str]:
    """What was set up and torn down in wider fixtures, in order."""
    return (folder / "setups").read_text().splitlines()


def plain(text: str) -> str:
    """Without what no two runs have in common."""
    text = re.sub(r"\d+\.\d+s", "TIME", text)
    text = re.sub(r"0x[0-9a-f]+", "ADDRESS", text)
    text = re.sub(r"pytest-of-\w+/pytest-\d+", "BASE", text)
    return re.sub(r"={2,}|-{2,}|_{2,}", "--", text)
