"""Imports that fail, hang or crash are named, with the lines that ask for them, and the others are preloaded."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support import Project, Scripts, skipped

FAILING = {
    "raises": ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "exits": ("import sys\nsys.exit(5)", "SystemExit: 5"),
    "ends": ("import os\nos._exit(9)", "exited with code 9"),
    "crashes": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "was killed by SIGSEGV"),
    "aborts": ("import os\nos.write(2, b'last words\\n')\nos.abort()", "last words"),
    "interrupts": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    "is broken": ("def broken(:\n", "SyntaxError"),
    "lacks": ("import dep_that_is_missing", "ModuleNotFoundError"),
    "closes": ("import os\nos.closerange(3, 65536)", ""),
}  # fmt: skip


@pytest.mark.parametrize("how", FAILING)
def test_a_module_that_fails_is_named_and_left_out(project: Project, how: str) -> None:
    source, reason = FAILING[how]
    project.dependency("dep_a.py")
    project.dependency("dep_bad.py", source)
    project.dependency("dep_z.py")
    file = project.write("app.py", "import dep_a\nimport dep_bad  # fails\nimport dep_z\n")
    with project.open() as environment:
        assert {"dep_a", "dep_z"} <= set(environment.modules)
        assert "dep_bad" not in environment.modules
        module = environment.skipped["dep_bad"]
        assert reason in module.reason
        assert [(line.file, line.line) for line in module.lines] == [(file, 2)]
        assert module.lines[0].text.startswith("import dep_bad")
        assert environment.run(abs, -1) == 1
        assert environment.run(lambda: {"dep_a", "dep_z"} <= set(sys.modules))


def test_a_missing_module_is_named_with_all_the_places_that_import_it(project: Project) -> None:
    first = project.write("app.py", "import dep_missing\n")
    second = project.write("other.py", "\nfrom dep_missing.part import name\nimport dep_missing\n")
    with project.open() as environment:
        found = environment.skipped["dep_missing"]
        assert "No module named 'dep_missing'" in found.reason
        assert {(line.file, line.line) for line in found.lines} >= {(first, 1), (second, 3)}


@pytest.mark.parametrize("setting", [False, True], ids=["argument", "pyproject"])
def test_a_module_that_hangs_is_left_out_after_the_limit(project: Project, setting: bool) -> None:
    project.dependency("dep_a.py")
    project.dependency("dep_hangs.py", "import signal\nwhile True:\n    signal.pause()\n")
    project.write("app.py", "import dep_hangs\nimport dep_a\n")
    project.settings("import_timeout = 0.5" if setting else "")
    with project.open(**({} if setting else {"import_timeout": 0.5})) as environment:
        assert "dep_a" in environment.modules
        assert "0.5 s" in skipped(environment)["dep_hangs"]


def test_a_package_that_fails_half_way_leaves_nothing_behind(project: Project) -> None:
    project.dependency("dep_half/__init__.py", "from . import part\nraise RuntimeError('half')\n")
    project.dependency("dep_half/part.py")
    project.dependency("dep_z.py")
    project.write("app.py", "import dep_half\nimport dep_z\n")
    with project.open() as environment:
        assert "half" in skipped(environment)["dep_half"]
        names = environment.run(lambda: list(sys.modules))
        assert not [name for name in names if name.startswith("dep_half")]
        assert "dep_z" in names


def test_a_submodule_that_fails_does_not_take_its_package_along(project: Project) -> None:
    project.dependency("dep_package/__init__.py")
    project.dependency("dep_package/bad.py", "raise RuntimeError('bad part')\n")
    project.dependency("dep_package/good.py")
    project.write("app.py", "from dep_package import bad, good\n")
    with project.open() as environment:
        names = environment.run(lambda: list(sys.modules))
        assert "dep_package" in names and "dep_package.good" in names
        assert "bad part" in " ".join(skipped(environment).values())


def test_several_that_crash_are_all_left_out(project: Project) -> None:
    for number in range(4):
        project.dependency(f"dep_bad{number}.py", "import os\nos.abort()\n")
    project.dependency("dep_z.py")
    project.write("app.py", "".join(f"import dep_bad{n}\n" for n in range(4)) + "import dep_z\n")
    with project.open() as environment:
        assert [name for name in environment.skipped if "bad" in name] == [f"dep_bad{n}" for n in range(4)]
        assert "dep_z" in environment.modules


def test_a_module_that_is_mended_is_preloaded_after_an_update(project: Project) -> None:
    project.dependency("dep_bad.py", "raise RuntimeError\n")
    project.dependency("dep_b.py")
    project.write("app.py", "import dep_bad\n")
    with project.open() as environment:
        assert "dep_bad" in environment.skipped
        project.dependency("dep_bad.py", "FINE = True\n")
        project.write("app.py", "import dep_bad\nimport dep_b\n")
        assert environment.update_environment() is True
        assert "dep_bad" in environment.modules


def test_a_package_that_failed_half_way_is_preloaded_once_it_is_mended(project: Project) -> None:
    project.dependency("dep_half/__init__.py", "from . import part\nraise RuntimeError('half')\n")
    project.dependency("dep_half/part.py")
    project.dependency("dep_b.py")
    project.write("app.py", "import dep_half\n")
    with project.open() as environment:
        assert "dep_half" in environment.skipped
        project.dependency("dep_half/__init__.py", "from . import part\n")
        project.write("app.py", "import dep_half\nimport dep_b\n")
        assert environment.update_environment() is True
        assert "dep_half" in environment.modules


def test_what_imports_print_is_not_shown_as_the_hosts_output(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    project.dependency("dep_loud.py", "import os, sys\nprint('loud')\nos.system('echo louder')\n")
    project.write("app.py", "import dep_loud\n")
    with project.open() as environment:
        assert "dep_loud" in environment.modules
        assert environment.run(abs, -1) == 1
    assert capfd.readouterr() == ("", "")


def test_an_import_may_use_threads_processes_and_asyncio(project: Project) -> None:
    project.dependency(
        "dep_busy.py",
        """
        import asyncio, subprocess, threading
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        assert subprocess.run(["true"]).returncode == 0
        asyncio.run(asyncio.sleep(0))
        """,
    )
    project.write("app.py", "import dep_busy\n")
    with project.open() as environment:
        assert "dep_busy" in environment.modules, skipped(environment)
        assert environment.run(os.system, "true") == 0


def test_a_thread_that_an_import_leaves_running_disturbs_no_child(
    scripts: Scripts, script_package: str, tmp_path: Path
) -> None:
    third_party = tmp_path / "third_party"
    third_party.mkdir()
    source = "import signal, threading\nthreading.Thread(target=signal.pause, daemon=True).start()\n"
    (third_party / "dep_thread.py").write_text(source)
    # A thread that Python has started does not survive a fork: the user has to say that nobody needs it.
    scripts.save('[tool.firehot.fork]\ndep_thread = "safe"\n', "pyproject.toml")
    path = scripts.save(
        """
        import threading
        from firehot import isolate_imports
        with isolate_imports("my_package", preload=["dep_thread"]) as environment:
            assert "dep_thread" in environment.modules, environment.verdicts
            print(environment.run(threading.active_count), environment.run(lambda: 2))
        """
    )
    # Python warns of a fork in a process with threads: in the template that is meant.
    command = [sys.executable, "-W", "error", str(path)]
    finished = scripts.run_command(command, env={"PYTHONPATH": str(third_party)})
    assert finished.ok() == "1 2\n"
    assert not finished.stderr


def test_exit_functions_of_an_import_run_in_each_child(project: Project, tmp_path: Path) -> None:
    log = tmp_path / "log"
    project.dependency(
        "dep_exit.py",
        f"""
        import atexit, os
        @atexit.register
        def leave():
            with open({str(log)!r}, "a") as file:
                print(os.getpid(), file=file)
        """,
    )
    project.write("app.py", "import dep_exit\n")
    with project.open() as environment:
        assert "dep_exit" in environment.modules
        processes = [environment.exec(os.getpid) for _ in range(2)]
        assert [process.wait() for process in processes] == [0, 0]
        # The template has tried the exit of a child once before it was ready.
        _, *ended = log.read_text().split()
        assert sorted(ended) == sorted(str(process.pid) for process in processes)


def test_what_an_import_changes_counts_in_children_as_after_a_cold_start(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.dependency(
        "dep_changes.py",
        """
        import os, signal, sys
        os.environ["DEP_SET"] = "by import"
        os.environ["DEP_TAKEN"] = "by import"
        sys.path.append("/dep/path")
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        """,
    )
    project.write("app.py", "import dep_changes\n")
    with project.open() as environment:
        monkeypatch.setenv("DEP_TAKEN", "by the host")
        found = environment.run(lambda: (os.environ.get("DEP_SET"), os.environ.get("DEP_TAKEN"), sys.path[-1]))
        assert found == ("by import", "by the host", "/dep/path")


def test_an_import_sees_default_signal_handlers_and_the_hosts_argv(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    project.dependency(
        "dep_looks.py",
        f"""
        import signal, sys, os
        text = repr([signal.getsignal(signal.SIGINT).__name__, sys.argv, os.getcwd(), sys.path])
        open({str(log)!r}, "w").write(text)
        """,
    )
    project.write("app.py", "import dep_looks\n")
    monkeypatch.setattr(sys, "argv", ["the program", "--option"])
    with project.open() as environment:
        assert "dep_looks" in environment.modules, skipped(environment)
    assert log.read_text() == repr(["default_int_handler", ["the program", "--option"], os.getcwd(), sys.path])


# -- what is said --------------------------------------------------------------------------------


def said(scripts: Scripts, source: str, level: str = "warn") -> str:
    scripts.save(source, "my_package/app.py")
    finished = scripts.run(
        """
        from firehot import isolate_imports
        with isolate_imports("my_package"):
            pass
        """,
        env={"FIREHOT_LOG_LEVEL": level},
    )
    assert finished.ok() == ""
    return finished.stderr


def test_a_missing_module_is_a_warning_with_its_line(scripts: Scripts, script_package: str) -> None:
    text = said(scripts, "import dep_missing  # needed\n")
    assert "firehot [warn] dep_missing is not preloaded" in text
    assert f"{scripts.folder}/my_package/app.py:1: import dep_missing" in text


QUIET = {
    "guarded": "try:\n    import dep_missing\nexcept ImportError:\n    dep_missing = None\n",
    "guarded by name": "try:\n    import dep_missing\nexcept (ModuleNotFoundError, OSError):\n    pass\n",
    "suppressed": "import contextlib\nwith contextlib.suppress(ImportError):\n    import dep_missing\n",
    "nested": "def function():\n    import dep_missing\n",
    "platform": "import sys\nif sys.platform == 'win32':\n    import dep_missing\n",
    "version": "import sys\nif sys.version_info < (3, 8):\n    import dep_missing\n",
}


@pytest.mark.parametrize("where", QUIET)
def test_a_missing_module_that_may_be_missing_is_told_at_info_only(
    scripts: Scripts, script_package: str, where: str
) -> None:
    assert said(scripts, QUIET[where]) == ""
    assert "dep_missing is not preloaded" in said(scripts, QUIET[where], "info")


def test_a_missing_module_for_type_checkers_is_not_told_at_all(scripts: Scripts, script_package: str) -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import dep_missing\n"
    assert "dep_missing" not in said(scripts, source, "info")


def test_a_broken_file_is_a_warning_with_file_and_line(scripts: Scripts, script_package: str) -> None:
    text = said(scripts, 'import json\n\nx = """\nan open string\n')
    assert "firehot [warn]" in text
    assert f"{scripts.folder}/my_package/app.py:3: " in text
