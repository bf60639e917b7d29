"""The example of the README, word for word, started in every way that people start scripts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from support import Finished, Project, Scripts, wait_until

EXAMPLE = Path(__file__).parent.parent / "fixtures" / "example.py"
LINE = re.compile(r"\[(\w+-\w+)\] Running with value: (\d) \(pid: (\d+), parent_pid: (\d+)\)")


def assert_it_worked(finished: Finished) -> None:
    lines = [LINE.fullmatch(line) for line in finished.ok().splitlines()]
    assert len(lines) == 3 and all(lines), finished.stdout
    found = {match[2]: match for match in lines if match}
    assert set(found) == {"1", "2", "3"}
    assert len({match[1] for match in found.values()}) == 3, "each process has a name of its own"
    assert len({match[3] for match in found.values()}) == 3, "each runs in a process of its own"
    assert len({match[4] for match in found.values()}) == 1, "an unchanged template is kept"
    assert not finished.stderr


def test_runs_as_a_script(scripts: Scripts, script_package: str) -> None:
    path = scripts.save(EXAMPLE.read_text())
    assert_it_worked(scripts.run_command([sys.executable, str(path)]))


def test_runs_with_warnings_as_errors(scripts: Scripts, script_package: str) -> None:
    path = scripts.save(EXAMPLE.read_text())
    assert_it_worked(scripts.run_command([sys.executable, "-W", "error", str(path)]))


def test_runs_with_minus_c(scripts: Scripts, script_package: str) -> None:
    assert_it_worked(scripts.run_command([sys.executable, "-c", EXAMPLE.read_text()]))


def test_runs_from_stdin(scripts: Scripts, script_package: str) -> None:
    assert_it_worked(scripts.run_command([sys.executable, "-"], text=EXAMPLE.read_text()))


def test_runs_with_minus_m(scripts: Scripts, script_package: str) -> None:
    # By its real name it would be imported again, and would open an environment in the child: the functions of a
    # module that has no guard have to stand in a module of their own, or under the guard.
    scripts.save(
        """
        from firehot import isolate_imports
        from os import getpid, getppid

        def run_under_environment(value: int):
            print(f"Running with value: {value} (pid: {getpid()}, parent_pid: {getppid()})")

        if __name__ == "__main__":
            with isolate_imports("my_package") as environment:
                contexts = [environment.exec(run_under_environment, n) for n in (1, 2, 3)]
                for context in contexts:
                    environment.communicate_isolated(context)
        """,
        "starters/__init__.py",
    )
    shutil.copy(scripts.folder / "starters" / "__init__.py", scripts.folder / "starters" / "run.py")
    assert_it_worked(scripts.run_command([sys.executable, "-m", "starters.run"]))


def test_without_a_guard_minus_m_says_what_to_do(scripts: Scripts, script_package: str) -> None:
    scripts.save("", "starters/__init__.py")
    scripts.save(EXAMPLE.read_text(), "starters/run.py")
    finished = scripts.run_command([sys.executable, "-m", "starters.run"])
    assert finished.returncode == 1
    assert "__main__" in finished.stderr and "isolate_imports was reached" in finished.stderr


def test_a_function_of_minus_m_runs_what_is_on_disk_now(scripts: Scripts, script_package: str) -> None:
    scripts.save("", "starters/__init__.py")
    path = scripts.save(
        """
        from pathlib import Path
        from firehot import isolate_imports

        def answer():
            return "old"

        if __name__ == "__main__":
            with isolate_imports("my_package") as environment:
                print(environment.run(answer))
                file = Path(__file__)
                file.write_text(file.read_text().replace("old", "newer"))
                print(environment.run(answer))
        """,
        "starters/run.py",
    )
    finished = scripts.run_command([sys.executable, "-m", "starters.run"])
    assert finished.ok().split() == ["old", "newer"]
    assert "newer" in path.read_text()


def test_a_class_of_minus_m_keeps_its_identity(scripts: Scripts, script_package: str) -> None:
    scripts.save("", "starters/__init__.py")
    scripts.save(
        """
        from dataclasses import dataclass
        from firehot import isolate_imports

        @dataclass
        class Point:
            x: int

        def moved(point):
            assert type(point) is Point
            return Point(point.x + 1)

        if __name__ == "__main__":
            with isolate_imports("my_package") as environment:
                result = environment.run(moved, Point(1))
                print(type(result) is Point, result == Point(2))
        """,
        "starters/run.py",
    )
    finished = scripts.run_command([sys.executable, "-m", "starters.run"])
    assert finished.ok().split() == ["True", "True"]


def test_runs_in_a_virtual_environment_that_was_never_activated(scripts: Scripts, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    (site,) = home.glob("lib/python*/site-packages")
    # What the tests run with (firehot among it), and a package that only this environment has.
    own = [entry for entry in sys.path if Path(entry).name == "site-packages"]
    firehot = Path(__import__("firehot").__file__).parent.parent
    (site / "tests.pth").write_text("\n".join([*own, str(firehot)]), "utf-8")
    (site / "my_package").mkdir()
    (site / "my_package" / "__init__.py").write_text("import only_here\n", "utf-8")
    (site / "only_here.py").write_text("", "utf-8")
    path = scripts.save(EXAMPLE.read_text())
    bare = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    with subprocess.Popen(
        [str(home / "bin" / "python"), str(path)],
        cwd=scripts.folder,
        env={**bare, "PATH": os.defpath},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        stdout, stderr = process.communicate(timeout=60)
    assert_it_worked(Finished(process.returncode, stdout, stderr))


def test_children_have_the_interpreter_flags_of_the_host(scripts: Scripts, script_package: str) -> None:
    path = scripts.save(
        """
        import sys
        from firehot import isolate_imports

        def flags():
            return tuple(sys.flags), dict(sys._xoptions), sys.warnoptions, __debug__

        with isolate_imports("my_package") as environment:
            assert environment.run(flags) == flags(), (environment.run(flags), flags())
        """
    )
    for options in (["-O"], ["-X", "dev"], ["-X", "utf8"], ["-W", "error", "-B"], ["-bb", "-s"]):
        finished = scripts.run_command([sys.executable, *options, str(path)])
        assert finished.returncode == 0, (options, finished.stderr)


def test_a_notebook_like_main_without_a_file_works(scripts: Scripts, script_package: str) -> None:
    code = """
from firehot import isolate_imports
class Point:
    def __init__(self, x): self.x = x
def moved(point): return Point(point.x + 1)
with isolate_imports("my_package") as environment:
    result = environment.run(moved, Point(1))
    print(type(result) is Point, result.x)
"""
    assert scripts.run_command([sys.executable, "-c", code]).ok().split() == ["True", "2"]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_without_a_guard_multiprocessing_gets_a_clear_error(scripts: Scripts, script_package: str, method: str) -> None:
    finished = scripts.run(
        f"""
        import multiprocessing
        from firehot import isolate_imports

        def work():
            pass

        environment = isolate_imports("my_package")
        with environment:
            process = multiprocessing.get_context({method!r}).Process(target=work)
            try:
                process.start()
            except ConnectionError:
                print(1)  # From 3.14 on a forkserver that can't import the main module tells in this way.
            else:
                process.join()
                print(process.exitcode)
        """
    )
    assert finished.ok().split() == ["1"]
    assert "FirehotError" in finished.stderr
    assert '`if __name__ == "__main__":`' in " ".join(finished.stderr.split())
    # The children are daemons of multiprocessing's own making: what they print is printed once.
    assert finished.stderr.count("FirehotError: ") == 1


def test_a_program_with_an_environment_may_end_without_closing_it(
    scripts: Scripts, script_package: str, nothing_is_left: str
) -> None:
    finished = scripts.run(
        """
        import childwork
        from firehot import isolate_imports

        manager = isolate_imports("my_package")
        environment = manager.__enter__()
        environment.exec(childwork.block)
        print(environment.run(abs, -4), flush=True)
        """,
        env={"PYTHONPATH": str(Path(__file__).parent)},
    )
    assert finished.ok().strip() == "4"
    assert not finished.stderr
    # The autouse fixture sees to it that no process is left.


def test_the_project_fixture_is_importable_under_its_own_name(project: Project) -> None:
    project.write("answer.py", "VALUE = 42")
    module = __import__(f"{project.name}.answer", fromlist=["VALUE"])
    assert module.VALUE == 42
    assert wait_until(lambda: True, 0)
