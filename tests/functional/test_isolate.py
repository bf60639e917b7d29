"""`pytest --firehot-isolate`: each run beside the same run of plain pytest."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from isolating import FILES, plain, run, setups, started, write
from support import is_alive, wait_until

ISOLATED = "--firehot-isolate"
CASES = {
    "everything": "-v -rA --doctest-modules",
    "short": "-q --tb=short",
    "captured by sys": "--capture=sys -rA test_kinds.py test_wide_end.py",
    "the first failure only": "-x -v",
    "two failures": "--maxfail=2 -v",
    "warnings as errors": "-W error::DeprecationWarning test_kinds.py",
    "nothing selected": "-k nothing",
    "only collected": "--collect-only -q",
    "one test": "-v test_scopes.py::TestShared::test_second",
    "without the plug-in that captures": "-p no:capture test_scopes.py::TestShared::test_second",
    "setups shown": "--setup-plan test_scopes.py",
}
OTHERS = ("--firehot-isolate=class", "--firehot-isolate=module", "--firehot-jobs=3")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("isolated")
    write(folder, FILES)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, {"pytest.ini": "[pytest]\naddopts = -p no:cacheprovider\n"})
    return tmp_path


def outcome(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, plain(done.stdout), plain(done.stderr)


def outcomes(done: subprocess.CompletedProcess[str]) -> str:
    """The last line, without the time."""
    return plain(done.stdout.strip().splitlines()[-1]).strip("- ").replace(" in TIME", "")


def test_what_is_printed_is_what_pytest_prints(project: Path) -> None:
    different = {}
    for what, line in CASES.items():
        expected, expected_setups = outcome(run(project, *line.split())), setups(project)
        found, found_setups = outcome(run(project, *line.split(), ISOLATED)), setups(project)
        if (found, found_setups) != (expected, expected_setups):
            different[what] = (expected, found)
    assert not different


def test_other_units_print_the_same(project: Path) -> None:
    words = ("-v", "-rA", "--doctest-modules")
    expected = outcome(run(project, *words))
    different = {other: found for other in OTHERS if (found := outcome(run(project, *words, other))) != expected}
    assert not different


def test_reports_are_written_as_pytest_writes_them(project: Path) -> None:
    def report(*words: str) -> str:
        run(project, "--junitxml=report.xml", "-o", "junit_family=xunit1", *words)
        text = (project / "report.xml").read_text()
        return plain(re.sub(r'(time|timestamp|hostname)="[^"]*"', "", text))

    expected = report()
    assert 'assertions="3"' in expected and '<property name="suite"' in expected
    assert report(ISOLATED) == expected
    assert report("--firehot-jobs=3") == expected


def test_a_test_does_not_see_what_another_has_done(folder: Path) -> None:
    test = """
        import os, pytest, sys

        STATE = []

        @pytest.mark.parametrize("number", range(3))
        def test_state(number):
            assert STATE == [] and "GIVEN" not in os.environ and not hasattr(sys, "given")
            STATE.append(number)
            os.environ["GIVEN"] = "yes"
            sys.given = True

        class TestClass:
            def test_first(self):
                STATE.append("first")

            def test_second(self):
                assert STATE == EXPECTED
    """
    write(folder, {"test_state.py": test + "\n        EXPECTED = []\n"})
    assert outcomes(run(folder)) == "3 failed, 2 passed"
    assert outcomes(run(folder, ISOLATED)) == "5 passed"
    write(folder, {"test_state.py": test + "\n        EXPECTED = ['first']\n"})
    assert outcomes(run(folder, "--firehot-isolate=class")) == "5 passed"


def test_a_process_that_dies_is_one_failed_test(folder: Path) -> None:
    test = """
        import faulthandler, os, signal, pytest

        @pytest.fixture
        def dies():
            os._exit(0)

        def test_before():
            pass

        def test_exits():
            os.write(1, b"its last words")
            os._exit(3)

        def test_crashes():
            faulthandler._sigsegv()

        def test_is_killed():
            os.kill(os.getpid(), signal.SIGKILL)

        def test_in_setup(dies):
            pass

        def test_after():
            pass
    """
    write(folder, {"test_dies.py": test})
    for words in ((ISOLATED,), ("--firehot-jobs=2",), ("--firehot-isolate=module",)):
        done = run(folder, "-v", *words)
        assert outcomes(done) == "3 failed, 2 passed, 1 error", done.stdout
        assert "test_exits - the process of this test exited with status 3" in done.stdout
        assert "test_crashes - the process of this test was killed by signal 11 (SIGSEGV)" in done.stdout
        assert "test_is_killed - the process of this test was killed by signal 9 (SIGKILL)" in done.stdout
        assert "ERROR test_dies.py::test_in_setup - the process of this test exited with status 0" in done.stdout
        assert "-- Captured stdout call --\nits last words" in plain(done.stdout)
        assert re.search(r"Captured stderr call -+\nFatal Python error: Segmentation fault", done.stdout)
        assert done.returncode == 1


def test_what_a_test_leaves_behind_ends_with_it(folder: Path) -> None:
    test = """
        import os, subprocess, sys, threading, time

        def test_leaves():
            threading.Thread(target=time.sleep, args=(600,)).start()
            code = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)"
            left = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
            left.stdout.readline()
            if not os.fork():
                time.sleep(600)

        def test_after():
            pass
    """
    write(folder, {"test_leaves.py": test})
    # Nothing of it outlives this: the fixture `nothing_is_left` looks.
    assert outcomes(run(folder, ISOLATED, "-W", "ignore")) == "2 passed"
    assert outcomes(run(folder, "--firehot-jobs=2", "-W", "ignore")) == "2 passed"


@pytest.mark.skipif(sys.platform != "linux", reason="no other kernel ends the children of what was killed")
def test_a_fork_ends_when_pytest_is_killed(folder: Path) -> None:
    test = """
        import os, time
        from pathlib import Path

        def test_long():
            Path("new").write_text(str(os.getpid()))
            os.rename("new", "pid")
            time.sleep(600)
    """
    write(folder, {"test_long.py": test})
    with started(folder, ISOLATED) as process:
        assert wait_until((folder / "pid").exists)
        process.kill()
    pid = int((folder / "pid").read_text())
    assert wait_until(lambda: not is_alive(pid))


def test_the_first_failure_is_the_last_that_is_told(folder: Path) -> None:
    tests = """
        import os, time
        from pathlib import Path

        def test_fails():
            # The other one is over, and told to pytest, when its process is gone.
            while not Path("pid").exists() or os.path.exists(f"/proc/{Path('pid').read_text()}"):
                time.sleep(0.01)
            assert False

        def test_passes():
            Path("new").write_text(str(os.getpid()))
            os.rename("new", "pid")
    """
    write(folder, {"test_two.py": tests})
    assert outcomes(run(folder, "-q", "-x", "--firehot-jobs=2")) == "1 failed"
    assert (folder / "pid").exists()


def test_the_first_failure_ends_a_module_that_shares_a_fork(folder: Path) -> None:
    tests = """
        from pathlib import Path

        def test_fails():
            assert False

        def test_after():
            Path("was here").touch()
    """
    write(folder, {"test_two.py": tests})
    assert outcomes(run(folder, "-q", "-x", "--firehot-isolate=module")) == "1 failed"
    assert not (folder / "was here").exists()


def test_what_a_teardown_takes_in_fork_and_parent_is_one_duration(folder: Path) -> None:
    tests = """
        import pytest, time

        @pytest.fixture(scope="session")
        def wide():
            yield
            time.sleep(0.3)

        @pytest.fixture
        def own(wide):
            yield
            time.sleep(0.3)

        def test_it(own):
            pass
    """
    write(folder, {"test_durations.py": tests})
    done = run(folder, "--durations=0", ISOLATED)
    found = re.search(r"(\d+\.\d+)s teardown test_durations.py::test_it", done.stdout)
    assert found and float(found[1]) >= 0.6, done.stdout


def test_what_is_done_at_exit_is_done_by_the_one_that_registered_it(folder: Path) -> None:
    begin = """
        import atexit, os
        from pathlib import Path

        def at_exit(text):
            with Path(__file__).with_name("exits").open("a") as file:
                file.write(f"{text}\\n")
    """
    conftest = f"{begin}\n        atexit.register(at_exit, 'of pytest')\n"
    tests = """
        def test_first():
            atexit.register(at_exit, "of the first")

        def test_second():
            atexit.register(at_exit, "of the second")
    """
    write(folder, {"conftest.py": conftest, "test_exits.py": begin + tests})
    assert outcomes(run(folder, "-q", ISOLATED)) == "2 passed"
    assert (folder / "exits").read_text() == "of the first\nof the second\nof pytest\n"


def test_jobs_run_at_the_same_time_and_share_what_is_set_up(folder: Path) -> None:
    conftest = """
        import os, pytest

        @pytest.fixture(scope="session")
        def pipes():
            with open(os.environ["SETUPS"], "a") as file:
                print("pipes", file=file)
            return os.pipe(), os.pipe()
    """
    # Each waits for the other.
    test = """
        import os

        def test_first(pipes):
            os.write(pipes[0][1], b"1")
            assert os.read(pipes[1][0], 1) == b"2"

        def test_second(pipes):
            os.write(pipes[1][1], b"2")
            assert os.read(pipes[0][0], 1) == b"1"
    """
    write(folder, {"conftest.py": conftest, "test_meet.py": test})
    done = run(folder, "-v", "--firehot-jobs=2")
    assert outcomes(done) == "2 passed"
    assert setups(folder) == ["pipes"]
    assert done.stdout.index("test_first PASSED") < done.stdout.index("test_second PASSED")


def test_a_wider_fixture_outlives_every_test_that_uses_it(folder: Path) -> None:
    test = """
        import os, pytest

        @pytest.fixture(scope="module")
        def folder(tmp_path_factory):
            made = tmp_path_factory.mktemp("shared")
            (made / "here").touch()
            yield made
            (made / "here").unlink()

        @pytest.fixture(scope="module")
        def gate():
            return os.pipe()

        def test_late(folder, gate):
            os.read(gate[0], 1)
            assert (folder / "here").exists()

        def test_early(folder, gate):
            os.write(gate[1], b"1")
            assert (folder / "here").exists()
    """
    write(folder, {"test_one.py": test, "test_two.py": "def test_other():\n    pass\n"})
    assert outcomes(run(folder, "--firehot-jobs=2")) == "3 passed"


def test_the_last_failures_run_again(tmp_path: Path) -> None:
    write(
        tmp_path, {"pytest.ini": "[pytest]\n", "test_it.py": "def test_a():\n    assert 0\ndef test_b():\n    pass\n"}
    )
    assert outcomes(run(tmp_path, ISOLATED)) == "1 failed, 1 passed"
    assert outcomes(run(tmp_path, ISOLATED, "--lf")) == "1 failed"


def test_what_fails_runs_again_as_under_pytest(folder: Path) -> None:
    test = """
        import os, pytest

        def tries(name):
            with open(os.environ["SETUPS"], "a+") as file:
                file.write(f"{name}\\n")
                file.seek(0)
                return file.read().split().count(name)

        @pytest.fixture(scope="module")
        def wide():
            assert tries("wide-up") > 1
            yield
            tries("wide-down")

        @pytest.fixture
        def narrow():
            yield
            assert tries("narrow-down") > 1

        def test_second(wide):
            print("a try")
            assert tries("second") == 2

        def test_never(wide):
            assert tries("never") == 0

        def test_torn_down(narrow):
            pass

        @pytest.mark.flaky(reruns=3)
        def test_by_a_mark(wide):
            assert tries("mark") == 3

        class TestClass:
            def test_in_a_class(self, wide):
                assert tries("class") == 2
    """
    write(folder, {"test_again.py": test})
    words = ("-v", "-rA", "-p", "pytest_rerunfailures", "--reruns", "2")
    expected, expected_tries = outcome(run(folder, *words)), sorted(setups(folder))
    assert "1 failed, 5 passed, 8 rerun" in expected[1]
    for other in (ISOLATED, *OTHERS):
        assert (outcome(run(folder, *words, other)), sorted(setups(folder))) == (expected, expected_tries), other


def test_a_process_that_dies_is_not_run_again(folder: Path) -> None:
    test = "import os\n\ndef test_dies():\n    os._exit(3)\n\ndef test_after():\n    pass\n"
    write(folder, {"test_dies.py": test})
    done = run(folder, "-p", "pytest_rerunfailures", "--reruns", "2", ISOLATED)
    assert outcomes(done) == "1 passed, 1 error", done.stdout
    assert "test_dies - the process of this test exited with status 3" in done.stdout


def test_coverage_is_that_of_pytest(folder: Path) -> None:
    code = """
        def sign(number):
            if number > 0:
                return 1
            elif number < 0:
                return -1
            return 0

        def unused():
            return None
    """
    test = """
        import pytest, code_of_it as code

        @pytest.fixture(scope="module")
        def zero():
            return code.sign(0)

        def test_positive(zero):
            assert code.sign(1) == 1

        def test_negative(zero):
            assert code.sign(-1) == -1
    """
    write(folder, {"code_of_it.py": code, "test_code.py": test})
    words = ("-p", "pytest_cov", "--cov=.", "--cov-branch", "--cov-report=term-missing", "--cov-context=test")
    expected = outcome(run(folder, *words))
    assert "code_of_it.py" in expected[1] and "0%" in expected[1]
    assert outcome(run(folder, *words, ISOLATED)) == expected
    assert outcome(run(folder, *words, "--firehot-jobs=2")) == expected


def test_a_test_that_takes_too_long_is_told_where(folder: Path) -> None:
    write(
        folder, {"test_slow.py": "import time\n\ndef test_slow():\n    time.sleep(60)\n\ndef test_after():\n    pass\n"}
    )
    words = ("-p", "pytest_timeout", "--timeout=0.5", "-v")
    expected, found = run(folder, *words), run(folder, *words, ISOLATED)
    assert outcome(found) == outcome(expected)
    assert "time.sleep(60)\nE       Failed: Timeout" in found.stdout


@pytest.mark.parametrize(
    ("test", "status"),
    [
        ("import pytest\n\ndef test_it():\n    pytest.exit('enough', 7)\n\ndef test_after():\n    pass\n", 7),
        ("def test_it():\n    raise KeyboardInterrupt\n\ndef test_after():\n    pass\n", 2),
    ],
)
def test_what_ends_pytest_ends_it_in_a_fork(folder: Path, test: str, status: int) -> None:
    write(folder, {"test_ends.py": test})
    expected, found = run(folder, "-v"), run(folder, "-v", ISOLATED)
    assert outcome(found) == outcome(expected)
    assert found.returncode == status


def test_an_interrupt_between_two_lines_ends_it_as_any_other(folder: Path) -> None:
    # As one that comes in what a compiler has added; pytest itself stumbles over it.
    test = """
        import sys

        def test_it():
            raise KeyboardInterrupt

        no_lines = b"\\xff" if sys.version_info >= (3, 11) else b"\\xfe\\x80"
        test_it.__code__ = test_it.__code__.replace(co_linetable=no_lines * 20)
    """
    write(folder, {"test_ends.py": test})
    found = run(folder, ISOLATED)
    assert found.returncode == 2 and "KeyboardInterrupt" in found.stdout, found.stdout + found.stderr


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("-p", "xdist", "-n2"), "can't be combined with -n of pytest-xdist: use --firehot-jobs"),
        (("--pdb", "--firehot-jobs=2"), "--pdb and --trace need the terminal for one test at a time"),
        (("--firehot-jobs=0",), "argument --firehot-jobs: '0' is neither a number from 1 on nor auto"),
        (("--firehot-isolate=file",), "argument --firehot-isolate"),
    ],
)
def test_what_does_not_go_together_is_refused(folder: Path, words: tuple[str, ...], line: str) -> None:
    write(folder, {"test_it.py": "def test_it():\n    pass\n"})
    isolated = () if any(word.startswith("--firehot") for word in words) else (ISOLATED,)
    done = run(folder, *words, *isolated)
    assert done.returncode == 4
    assert line in done.stderr


def test_without_its_options_the_plug_in_loads_nothing(folder: Path) -> None:
    test = """
        import sys

        def test_it():
            assert [name for name in sys.modules if name.startswith("firehot.")] == ["firehot._pytest_plugin"]
    """
    write(folder, {"test_it.py": test})
    assert outcomes(run(folder)) == "1 passed"


def test_what_asks_every_module_for_all_its_names_loads_firehot_once(folder: Path) -> None:
    # As freezegun does it when it begins, once in each process.
    test = """
    import sys
    import freezegun, firehot
    import pytest

    @pytest.mark.parametrize("number", range(2))
    def test_it(number):
        before = {name for name in sys.modules if name.startswith("firehot.")}
        freezegun.begin(firehot)
        assert "firehot.executor" in before
        assert {name for name in sys.modules if name.startswith("firehot.")} == before
    """
    freezegun = "def begin(module):\n    for name in dir(module):\n        getattr(module, name)\n"
    write(folder, {"test_it.py": test, "freezegun.py": freezegun})
    assert outcomes(run(folder, ISOLATED)) == "2 passed"


def test_pytest_loads_it_without_a_word_where_firehot_is_loaded_already(folder: Path) -> None:
    write(folder, {"test_it.py": "def test_it(request):\n    assert request.config.option.firehot_jobs is None\n"})
    code = "import firehot, pytest, sys; sys.exit(pytest.main(['-Werror', '-q']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "1 passed" in done.stdout and "warning" not in done.stdout
