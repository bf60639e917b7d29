"""`update_environment`: what changes the template and what does not, and that nothing is disturbed by it."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path

import childwork
import pytest
from support import Project, is_alive, wait_until

from firehot import TemplateError
from firehot.environment import Environment


@pytest.fixture(autouse=True)
def dependencies(project: Project) -> None:
    for name in ("dep_a", "dep_b"):
        project.dependency(f"{name}.py", "class Thing: pass\nclass Other: pass\n")


def template_of(environment: Environment) -> int:
    return environment.run(os.getppid)


def test_an_import_added_in_an_edit_is_preloaded_after_the_update(project: Project) -> None:
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        before = template_of(environment)
        assert "dep_b" not in environment.modules
        project.write("app.py", "import dep_a\nimport dep_b\n")
        assert environment.update_environment() is True
        assert "dep_b" in environment.modules
        assert environment.run(lambda: "dep_b" in sys.modules)
        assert template_of(environment) != before
        assert is_alive(before), "the new one stands on it"


def test_an_import_taken_away_is_preloaded_no_more(project: Project) -> None:
    project.write("app.py", "import dep_a\nimport dep_b\n")
    with project.open() as environment:
        project.write("app.py", "import dep_a\n")
        assert environment.update_environment() is True
        assert "dep_b" not in environment.modules


def test_without_a_change_the_template_stays(project: Project) -> None:
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        before = template_of(environment)
        assert environment.update_environment() is False
        assert environment.update_environment() is False
        assert template_of(environment) == before


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("import dep_a\n\n\ndef function():\n    return 1\n", id="code"),
        pytest.param("\n\n# A comment.\nimport dep_a\n", id="another line"),
        pytest.param("from dep_a import Thing\n", id="a class by name"),
        pytest.param("from dep_a import Thing, Other\n", id="two classes by name"),
        pytest.param("import dep_a as other\n", id="another name"),
        pytest.param("import dep_a\nif typing.TYPE_CHECKING:\n    import dep_b\n", id="a type"),
        pytest.param("import dep_a\nfrom . import part\n", id="an own module"),
    ],
)  # fmt: skip
def test_an_edit_that_changes_no_import_keeps_the_template(project: Project, text: str) -> None:
    project.write("part.py", "")
    project.write("app.py", "import dep_a\nimport typing\n")
    with project.open() as environment:
        before = template_of(environment)
        project.write("app.py", "import typing\n" + text)
        assert environment.update_environment() is False
        assert template_of(environment) == before


def test_files_that_come_and_go_count(project: Project) -> None:
    with project.open() as environment:
        file = project.write("late/module.py", "import dep_a\n")
        assert environment.update_environment() is True
        assert "dep_a" in environment.modules
        file.unlink()
        assert environment.update_environment() is True
        assert "dep_a" not in environment.modules


def test_a_same_size_edit_in_the_same_second_is_seen(project: Project) -> None:
    file = project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        status = file.stat()
        project.write("app.py", "import dep_b\n")
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
        assert environment.update_environment() is True
        assert "dep_b" in environment.modules


def test_a_file_broken_in_an_edit_keeps_the_template_and_mending_it_counts(project: Project) -> None:
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        project.write("app.py", 'import dep_a\nx = """\nan open string\n')
        assert environment.update_environment() is False
        assert "dep_a" in environment.modules
        project.write("app.py", 'import dep_a\nx = """\nan open string\n"""\nimport dep_b\n')
        assert environment.update_environment() is True
        assert "dep_b" in environment.modules


def test_an_installed_module_that_was_missing_is_preloaded_after_an_update(project: Project) -> None:
    project.write("app.py", "import dep_a\nimport dep_late\n")
    with project.open() as environment:
        assert "dep_late" in environment.skipped
        project.dependency("dep_late.py")
        project.write("app.py", "import dep_a\nimport dep_late\nimport dep_b\n")
        assert environment.update_environment() is True
        assert "dep_late" in environment.modules and "dep_late" not in environment.skipped


def test_lines_of_skipped_modules_are_up_to_date(project: Project) -> None:
    project.write("app.py", "import dep_missing\n")
    with project.open() as environment:
        assert environment.skipped["dep_missing"].lines[0].line == 1
        project.write("app.py", "\n\nimport dep_missing\n")
        assert environment.update_environment() is False
        assert environment.skipped["dep_missing"].lines[0].line == 3


def test_children_of_the_old_template_finish_undisturbed(project: Project, tmp_path: Path) -> None:
    project.write("app.py", "import dep_a\nimport dep_b\n")
    with project.open() as environment:
        old = template_of(environment)
        process = environment.exec(childwork.wait_for, str(tmp_path / "go"), "done")
        project.write("app.py", "import dep_a\n")
        assert environment.update_environment() is True
        assert not environment.run(lambda: "dep_b" in sys.modules)
        assert process.is_running() and is_alive(old)
        (tmp_path / "go").touch()
        assert process.result() == "done"
        assert process.wait() == 0
        assert wait_until(lambda: not is_alive(old)), "it leaves after its last child"


def test_children_of_the_old_template_can_be_stopped(project: Project, tmp_path: Path) -> None:
    with project.open() as environment:
        process = environment.exec(childwork.ignore_sigterm, str(tmp_path / "ready"))
        assert wait_until((tmp_path / "ready").exists)
        project.write("app.py", "import dep_a\n")
        assert environment.update_environment() is True
        assert process.stop(timeout=0.2) is True
        assert process.exitcode == -9


def test_a_template_that_can_not_be_started_leaves_the_old_one(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        before = template_of(environment)
        project.write("app.py", "import dep_a\nimport dep_b\n")
        good = sys.executable
        dying = tmp_path / "dying"
        dying.write_text("#!/bin/sh\necho the last words >&2\nexit 3\n")
        dying.chmod(0o755)
        for bad, words in ((str(tmp_path / "missing"), "missing"), (str(dying), "the last words"), ("", "empty")):
            monkeypatch.setattr(sys, "executable", bad)
            with pytest.raises(TemplateError, match=words):
                environment.update_environment()
        monkeypatch.setattr(sys, "executable", good)
        assert template_of(environment) == before, "the old one works"
        assert environment.update_environment() is True, "the change is not forgotten"
        assert "dep_b" in environment.modules


def test_an_environment_that_can_not_be_started_is_an_error(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    with pytest.raises(TemplateError, match="missing"), project.open():
        pass


def test_a_rebuilt_template_preloads_what_the_first_did(project: Project) -> None:
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        os.kill(template_of(environment), 9)
        assert environment.run(lambda: "dep_a" in sys.modules)


def test_updates_and_calls_from_several_threads_do_not_disturb_each_other(project: Project) -> None:
    from concurrent.futures import ThreadPoolExecutor

    project.write("app.py", "import dep_a\n")
    with project.open() as environment, ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(environment.run, childwork.double, number) for number in range(20)]
        for number in range(3):
            project.write("app.py", "import dep_a\n" + ("import dep_b\n" if number % 2 == 0 else ""))
            assert environment.update_environment() is True
        assert [call.result() for call in calls] == [2 * number for number in range(20)]


def test_code_is_read_from_disk_without_any_update(project: Project) -> None:
    project.write("app.py", "def answer():\n    return 'old'\n")
    answer = importlib.import_module(f"{project.name}.app").answer
    with project.open() as environment:
        for text in ("one", "and two", "then even three"):
            project.write("app.py", f"def answer():\n    return {text!r}\n")
            assert environment.run(answer) == text


def test_a_same_size_edit_within_a_second_is_run(project: Project) -> None:
    file = project.write("app.py", "def answer():\n    return 'aaa'\n")
    answer = importlib.import_module(f"{project.name}.app").answer
    with project.open() as environment:
        for letter in "bcdef":
            status = file.stat()
            project.write("app.py", f"def answer():\n    return {letter * 3!r}\n")
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
            assert environment.run(answer) == letter * 3
