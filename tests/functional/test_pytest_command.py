"""`firehot pytest`: each run beside the same run of `pytest`, and what its template holds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from daemons import Desk
from support import at_terminal, wait_until

PYTEST = Path(sys.executable).with_name("pytest")

FILES = {
    "pyproject.toml": "[tool.pytest.ini_options]\ntestpaths = ['tests']\npythonpath = ['.', 'helpers']\n",
    "helpers/on_path.py": "import dep_deep\n",
    "tests/conftest.py": """
        import os
        import dep_both
        import pytest

        pytest.register_assert_rewrite("dep_checks")
        os.getlogin = lambda: "patched"

        @pytest.fixture
        def seven():
            yield 7
    """,
    "tests/test_good.py": """
        import multiprocessing
        import os
        import sys
        import warnings

        import dep_both
        import dep_checks
        import dep_slow
        import on_path
        import pytest

        def square(number):
            return number * number

        def test_fixture(seven, capfd):
            os.write(1, b"by descriptor")
            assert capfd.readouterr().out == "by descriptor"
            assert os.getlogin() == "patched"
            assert dep_slow.value == seven

        def test_fork():
            pid = os.fork()
            if not pid:
                os._exit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3

        @pytest.mark.parametrize("method", ["spawn", "fork"])
        def test_processes(method):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with multiprocessing.get_context(method).Pool(1) as pool:
                    assert pool.map(square, [3]) == [9]

        @pytest.mark.skip(reason="not now")
        def test_skipped():
            pass
    """,
    "tests/test_place.py": """
        import inspect
        import json
        import os
        import sys

        def test_place(request):
            main = sys.modules["__main__"]
            print(json.dumps({
                "argv": sys.argv,
                "orig_argv": sys.orig_argv,
                "path": sys.path,
                "flags": list(sys.flags),
                "main": sorted(vars(main)),
                "file": main.__file__,
                "cwd": os.getcwd(),
                "stack": [frame.filename for frame in inspect.stack()][-3:],
                "plugins": sorted(name for name, _ in request.config.pluginmanager.list_name_plugin()
                                  if not name.isdecimal()),
                "tty": [os.isatty(fd) for fd in range(3)],
            }))
    """,
    "tests/unit/__init__.py": "",
    "tests/unit/aid.py": "import dep_relative\n",
    "tests/unit/test_bad.py": """
        import warnings

        import dep_both
        import dep_checks
        import dep_plug

        from . import aid

        def test_values():
            assert {"a": 1, "b": [1, 2]} == {"a": 1, "b": [1, 3]}

        def test_plugin():
            dep_plug.check(3)

        def test_registered():
            dep_checks.check(3)

        def test_library():
            try:
                dep_both.check(3)
            except AssertionError:
                return
            raise RuntimeError

        def test_warns():
            print("to stdout")
            warnings.warn("look here", stacklevel=1)
    """,
    "tests/interrupted.py": "def test_interrupted():\n    raise KeyboardInterrupt\n",
    "tests/broken.py": "import dep_that_is_not_there\n",
    "other/test_warns.py": "import warnings\n\ndef test_warns():\n    warnings.warn('once', stacklevel=1)\n",
}
DEPENDENCIES = {
    "dep_slow.py": "value = 7\n",
    "dep_deep.py": "",
    "dep_relative.py": "",
    "dep_for_plugin.py": "",
    "dep_checks.py": "def check(value):\n    assert value == 4\n",
    "dep_crash.py": "def pytest_sessionstart(session):\n    raise RuntimeError('by a plug-in')\n",
    # For pytest alone; tests import it, too.
    "dep_plug/__init__.py": "from .checks import check\n",
    "dep_plug/checks.py": "import dep_for_plugin\n\ndef check(value):\n    assert value == 4\n",
    "dep_plug/plugin.py": """
        import dep_for_plugin

        def pytest_report_header(config):
            return "dep_plug is here"
    """,
    # More than a plug-in.
    "dep_both/__init__.py": "def check(value):\n    assert value == 4\n",
    "dep_both/plugin.py": "import dep_both\n\ndef pytest_addoption(parser):\n    parser.addoption('--both')\n",
}
CASES = {
    "what fails": "",
    "one file": "-q tests/test_good.py",
    "a sub-folder's": "tests/unit -v",
    "the first failure only": "-x tests/unit",
    "one test by name": "tests/unit/test_bad.py::test_plugin --tb=short",
    "where it runs": "-s tests/test_place.py",
    "where it runs, by importlib": "-s tests/test_place.py --import-mode=importlib",
    "only collected": "--collect-only -q",
    "interrupted": "tests/interrupted.py",
    "wrong usage": "--no-such-option",
    "no such file": "tests/absent.py",
    "a file that can't be imported": "tests/broken.py",
    "nothing selected": "-k nothing",
    "an error in a plug-in": "-p dep_crash",
    "a plug-in that is named": "-p dep_both -p dep_checks tests/test_good.py",
    "a plug-in that is missing": "-p dep_no_plugin",
    "without a plug-in": "-p no:dep_plug tests/unit",
    "plain asserts": "--assert=plain tests/unit",
    "warnings as errors": "-W error tests",
    "warnings of the configuration as errors": "-W error::pytest.PytestAssertRewriteWarning tests/unit",
    "captured by sys": "--capture=sys tests/unit",
    "captured by tee": "--capture=tee-sys tests/unit",
    "another folder": "other",
    "the version": "--version --version",
    "doctests": "--doctest-modules helpers",
    "the last failures": "--lf -rA",
    "no cache": "-p no:cacheprovider -q",
}


def _distribution(desk: Desk, name: str, *requires: str) -> None:
    folder = f"{name}-1.0.dist-info"
    required = "".join(f"Requires-Dist: {one}\n" for one in requires)
    desk.dependency(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{required}")
    desk.dependency(f"{folder}/entry_points.txt", f"[pytest11]\n{name} = {name}.plugin\n")
    files = (path.relative_to(desk.site) for path in (desk.site / name).rglob("*.py"))
    desk.dependency(f"{folder}/RECORD", "".join(f"{file},,\n" for file in files))


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    """A project with tests, two plug-ins, and modules that only some of the tests import."""
    made = Desk(tmp_path)
    for name, text in FILES.items():
        made.write(name, text)
    for name, text in DEPENDENCIES.items():
        made.dependency(name, text)
    _distribution(made, "dep_plug", "pytest>=7")
    _distribution(made, "dep_both", 'pytest; extra == "test"')
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        made.variables[name] = None
    yield made
    made.close()


def template(desk: Desk) -> dict[str, Any] | None:
    """The one of the tests, when it is there."""
    code = "import json; from firehot import _daemons; print(json.dumps(_daemons.ask('imports')))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=desk.root, env=desk.environment, capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    ready = [slot for slot in (told or {}).get("templates", ()) if slot["state"] == "ready"]
    return ready[0] if ready else None


def begin(desk: Desk, *words: str) -> dict[str, Any]:
    """Has the template built, by a first run."""
    desk.run("pytest", *words)
    found: list[dict[str, Any]] = []

    def is_ready() -> bool:
        found[:] = [one for one in [template(desk)] if one is not None]
        return bool(found)

    assert wait_until(is_ready), desk.logs()
    return found[0]


def plain(text: str) -> str:
    """Without what no two runs have in common."""
    text = re.sub(r"\d+\.\d+s", "TIME", text)
    text = re.sub(r"0x[0-9a-f]+", "ADDRESS", text)
    return re.sub(r"={3,}|-{3,}|_{3,}", "---", text)


def outcome(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, plain(done.stdout), plain(done.stderr)


def cold(desk: Desk, *words: str) -> subprocess.CompletedProcess[str]:
    """What `pytest WORDS` does."""
    command = [sys.executable, str(PYTEST), *words]
    return subprocess.run(
        command, cwd=desk.root, env=desk.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


def numbers(desk: Desk) -> tuple[int, int]:
    """Runs that have reached the daemon, and how many of them were warm."""
    [daemon] = desk.daemons()
    return daemon["runs"], daemon["warm"]


def test_each_run_is_that_of_pytest(desk: Desk) -> None:
    begin(desk, "tests/test_good.py")
    different = {}
    for what, line in CASES.items():
        words = line.split()
        expected, found = outcome(cold(desk, *words)), outcome(desk.run("pytest", *words))
        if found != expected:
            different[what] = (expected, found)
    assert not different
    assert numbers(desk) == (len(CASES), len(CASES))


def test_the_cases_have_each_exit_status(desk: Desk) -> None:
    statuses = {
        "one file": 0,
        "what fails": 1,
        "interrupted": 2,
        "an error in a plug-in": 3,
        "wrong usage": 4,
        "nothing selected": 5,
    }
    assert {what: cold(desk, *CASES[what].split()).returncode for what in statuses} == statuses


def test_one_template_has_what_all_tests_and_plug_ins_import_but_no_plug_in(desk: Desk) -> None:
    told = begin(desk, "tests/test_good.py")
    names = {part["name"] for each in told["imports"] for part in [each, *each["parts"], *each["modules"]]}
    assert {"pytest", "_pytest.terminal", "dep_slow", "dep_deep", "dep_relative", "dep_for_plugin", "dep_both"} <= names
    own = ("dep_plug", "dep_both.plugin", "dep_checks", "conftest", "on_path", "tests", "unit")
    assert not [name for name in names if name in own or name.startswith("dep_plug.")]
    assert [one["target"] for one in desk.daemons()[0]["templates"]] == ["pytest"]


def test_reports_are_written_as_pytest_writes_them(desk: Desk) -> None:
    def report(done: subprocess.CompletedProcess[str]) -> str:
        assert done.returncode == 1
        text = (desk.root / "report.xml").read_text()
        (desk.root / "report.xml").unlink()
        return re.sub(r'(time|timestamp)="[^"]*"', "", text)

    begin(desk)
    words = ("--junitxml=report.xml", "tests/unit")
    assert report(desk.run("pytest", *words)) == report(cold(desk, *words))


def test_it_stops_in_the_debugger_at_a_terminal(desk: Desk) -> None:
    begin(desk)
    with spawn(desk, "--pdb", "tests/unit", "-k", "values") as terminal:
        terminal.expect(r"\(Pdb\)")
        terminal.sendline("p 6 * 7")
        terminal.expect("42")
        terminal.expect(r"\(Pdb\)")
        terminal.sendline("q")
        terminal.expect("1 failed")
        terminal.expect(pexpect.EOF)
        terminal.wait()
    assert terminal.exitstatus == 2
    assert numbers(desk)[1] == 1


def test_an_interrupt_ends_it_with_a_summary(desk: Desk) -> None:
    desk.write("tests/test_long.py", "import time\n\ndef test_long():\n    print('sleeps')\n    time.sleep(60)\n")
    begin(desk, "tests/test_good.py")
    with spawn(desk, "-s", "tests/test_long.py") as terminal:
        terminal.expect("sleeps")
        terminal.sendintr()
        terminal.expect("KeyboardInterrupt")
        terminal.expect("no tests ran")
        terminal.expect(pexpect.EOF)
        terminal.wait()
    assert terminal.exitstatus == 2
    assert numbers(desk)[1] == 1


def spawn(desk: Desk, *words: str) -> Any:
    return at_terminal(sys.executable, "-m", "firehot", "pytest", *words, cwd=str(desk.root), env=desk.environment)
