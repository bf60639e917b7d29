"""Templates that end late, files that change for ever, templates of calls, and a cache that others have been at."""

from __future__ import annotations

import os
import pkgutil
import threading
from pathlib import Path
from typing import Any

import childwork
import pytest
from packages import Index, keeps, rebuilds, template_of, value_of
from support import Project, skipped, wait_until

from firehot import TemplateError

LISTENS = "import socket\nserver = socket.create_server(('127.0.0.1', 0))\nVALUE = 1\n"
QUIET = "VALUE = 22\n"
COLLECTED = """
import os
class Aborts:
    def __del__(self):
        os.abort()
made = Aborts()
made.itself = made
del made
"""


@pytest.fixture
def index(project: Project, tmp_path: Path) -> Index:
    return Index(tmp_path / "wheels", project.site)


def cache() -> Path:
    return Path(os.environ["XDG_CACHE_HOME"]) / "firehot"


def starts(captured: str) -> int:
    return captured.count(" started\n")


def value(environment: Any, module: str, **options: Any) -> Any:
    return environment.exec(pkgutil.resolve_name, f"{module}:VALUE", **options).result()


# -- templates that end late ---------------------------------------------------------------------


def test_nothing_is_blamed_for_what_an_empty_template_shows_as_well(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FIREHOT_LOG_LEVEL", "info")
    boot = tmp_path / "boot"
    boot.mkdir()
    text = "import atexit, os\nown = os.getpid()\natexit.register(lambda: os.getpid() == own or os.abort())\n"
    (boot / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(boot))
    names = [f"quiet_{number}" for number in range(5)]
    for name in names:
        project.dependency(f"{name}.py")
    project.write("app.py", "".join(f"import {name}\n" for name in names))
    with project.open() as environment:
        assert set(environment.modules) >= set(names)
        assert not environment.skipped
    said = capfd.readouterr().err
    assert "trying the first 0 of 5 imports (2 of 5)" in said
    assert "trying the first 2 of 5" not in said and "no import is to blame" in said


def test_an_import_that_kills_the_template_after_it_is_found_and_left_out(project: Project) -> None:
    names = [f"quiet_{number}" for number in range(6)]
    for name in names:
        project.dependency(f"{name}.py")
    project.dependency("collected.py", COLLECTED)
    project.write("app.py", "".join(f"import {name}\n" for name in [*names[:4], "collected", *names[4:]]))
    with project.open() as environment:
        reason = skipped(environment)["collected"]
        assert "the template was killed by SIGABRT after it was imported" in reason
        assert set(environment.modules) >= set(names)
        assert environment.run(abs, -1) == 1


def test_a_slow_fork_that_nobody_wants_any_more_kills_no_other_child(project: Project, tmp_path: Path) -> None:
    go, slow = tmp_path / "go", tmp_path / "slow"
    text = f"""
    import os, time
    def wait():
        while os.path.exists({str(slow)!r}) and open({str(slow)!r}).read() == str(os.getpid()):
            time.sleep(0.05)
    os.register_at_fork(before=wait)
    """
    project.dependency("slow_forks.py", text)
    data = project.dependency("dep_a.py", "VALUE = 1\n")
    project.write("app.py", "import slow_forks\nimport dep_a\n")
    with project.open() as environment:
        old = template_of(environment)
        process = environment.exec(childwork.wait_for, str(go), "done")
        slow.write_text(str(old))
        data.write_text("VALUE = 22\n")
        assert value_of(environment) == 22
        # Longer than an unanswered SIGKILL is waited for.
        with pytest.raises(TimeoutError):
            process.result(timeout=6.5)
        slow.unlink()
        go.touch()
        assert process.result() == "done"


def test_a_hook_that_imports_code_of_the_project_is_refused(
    project: Project, index: Index, capfd: pytest.CaptureFixture[str]
) -> None:
    project.write("secret.py", "VALUE = 1\n")
    files = {
        "plugin.py": "VALUE = 1\n",
        "plugin_hooks.py": f"def register():\n    import {project.name}.secret\n",
    }
    index.install("plugin", "1.0", files, entry_points="[firehot.fork]\nplugin = plugin_hooks:register\n")
    project.write("app.py", "import plugin\n")
    told = f"plugin_hooks has imported {project.name}"
    with pytest.raises(TemplateError, match=told), project.open():
        pass
    assert f"[warn] a hook of {told}" in capfd.readouterr().err


# -- files that change for ever --------------------------------------------------------------------


def test_an_edit_of_what_a_left_out_import_has_read_rebuilds_once(project: Project) -> None:
    project.write("plug.py", "x = 1\n")
    helper = project.dependency("helper.py", "VALUE = 'old'\n")
    project.dependency("loads_plug.py", f"import helper\nimport {project.name}.plug\n")
    project.write("app.py", "import loads_plug\n")
    with project.open() as environment:
        assert "loads_plug" in environment.skipped
        with rebuilds(environment, "helper.py changed"):
            helper.write_text("VALUE = 'newer'\n")
        with keeps(environment):
            assert value_of(environment, "helper") == "newer"


def test_a_young_file_of_a_left_out_import_is_looked_at_again(project: Project) -> None:
    project.write("plug.py", "x = 1\n")
    text = """
    import os
    file = os.path.join(os.path.dirname(__file__), "generated.txt")
    if not os.path.exists(file):
        open(file, "w").write("made")
    VALUE = open(file).read()
    """
    project.dependency("generates.py", text)
    project.dependency("loads_plug.py", f"import generates\nimport {project.name}.plug\n")
    project.write("app.py", "import loads_plug\n")
    with project.open() as environment:
        assert "loads_plug" in environment.skipped
        template_of(environment)
        with keeps(environment):
            assert value_of(environment, "generates") == "made"


def test_a_file_that_changes_again_and_again_is_warned_about_once(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    data = project.dependency("noisy/data.txt", "0")
    project.dependency("noisy/__init__.py", "VALUE = open(__file__.replace('__init__.py', 'data.txt')).read()\n")
    project.write("app.py", "import noisy\n")
    with project.open() as environment:
        for number in range(1, 6):
            data.write_text("x" * number)
            assert value_of(environment, "noisy") == "x" * number
            said = capfd.readouterr().err
            assert said.count("[warn]") == (number == 3), said
            if number == 3:
                assert str(data) in said and "noisy" in said and "ignored_modules" in said


# -- templates of calls ----------------------------------------------------------------------------


READS = "import os\nVALUE = os.environ.get('MODE')\n"


def test_threads_with_the_same_variables_share_one_template(
    project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FIREHOT_LOG_LEVEL", "debug")
    project.dependency("reads.py", READS)
    project.write("app.py", "import reads\n")
    with project.open() as environment:
        capfd.readouterr()
        values: list[str] = []

        def call() -> None:
            values.append(value(environment, "reads", env={"MODE": "fast"}))

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert values == ["fast"] * 4
    said = capfd.readouterr().err
    assert starts(said) == 1
    assert "this call sets MODE, which imports have read: it gets a template of its own" in said


def test_four_templates_of_calls_are_kept_and_the_one_unused_longest_goes(project: Project) -> None:
    project.dependency("reads.py", READS)
    project.write("app.py", "import reads\n")
    with project.open() as environment:

        def template(mode: str) -> int:
            process = environment.exec(os.getppid, env={"MODE": mode})
            result = process.result()
            assert isinstance(result, int)
            return result

        first = {mode: template(mode) for mode in "abcd"}
        assert len(set(first.values())) == 4
        assert {mode: template(mode) for mode in "abcd"} == first
        template("e")
        assert {mode: template(mode) for mode in "bcd"} == {mode: first[mode] for mode in "bcd"}
        assert template("a") != first["a"]


def test_what_one_calls_variables_bring_about_is_that_calls_alone(project: Project, index: Index) -> None:
    text = "import os, socket\nVALUE = os.environ.get('SERVE')\n"
    text += "server = socket.create_server(('127.0.0.1', 0)) if VALUE else None\n"
    index.install("serves", "1.0", {"serves.py": text})
    data = project.dependency("dep_a.py", "VALUE = 1\n")
    project.write("app.py", "import serves\nimport dep_a\n")
    with project.open() as environment:
        assert value(environment, "serves", env={"SERVE": "1"}) == "1"
        data.write_text("VALUE = 22\n")
        assert value_of(environment) == 22
        assert "serves" in environment.modules
    assert "serves" not in "".join(file.read_text() for file in cache().glob("verdicts*"))
    with project.open() as environment:
        assert "serves" in environment.modules


def test_a_file_of_a_left_out_import_that_changed_does_not_replace_a_calls_template_for_ever(
    project: Project,
) -> None:
    helper = project.dependency("helper.py", "VALUE = 'old'\n")
    project.dependency("listens.py", "import helper\n" + LISTENS)
    project.dependency("reads.py", READS)
    project.write("app.py", "import reads\nimport listens\n")
    with project.open() as environment:

        def template() -> Any:
            return environment.exec(os.getppid, env={"MODE": "x"}).result()

        template()
        helper.write_text("VALUE = 'newer'\n")
        template()
        assert template() == template()


# -- the cache -------------------------------------------------------------------------------------


def test_a_cache_folder_that_is_a_link_is_passed_over(project: Project, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o775)
    cache().symlink_to(shared)
    with project.open() as environment:
        assert environment.run(abs, -1) == 1
    assert not list(shared.iterdir())
    assert shared.stat().st_mode & 0o777 == 0o775


def test_an_own_cache_folder_with_wide_permissions_is_tightened(project: Project) -> None:
    cache().mkdir()
    cache().chmod(0o777)
    with project.open():
        pass
    assert cache().stat().st_mode & 0o777 == 0o700
    assert list(cache().iterdir())


def test_links_where_verdicts_are_written_are_not_followed(project: Project, tmp_path: Path) -> None:
    with project.open():
        pass
    (file,) = cache().glob("verdicts*")
    precious = tmp_path / "precious"
    precious.write_text("precious")
    file.unlink()
    file.symlink_to(precious)
    file.with_suffix(f".{os.getpid()}.tmp").symlink_to(precious)
    project.write("app.py", "import json\n")
    with project.open():
        pass
    assert precious.read_text() == "precious"
    assert not file.is_symlink()


def test_a_verdict_ends_when_its_package_is_mended_in_the_same_version(
    project: Project, index: Index, capfd: pytest.CaptureFixture[str]
) -> None:
    index.install("listening", "1.0", {"listening.py": LISTENS})
    project.write("app.py", "import listening\n")
    with project.open() as environment:
        assert "earlier run" not in skipped(environment)["listening"]
    (file,) = cache().glob("verdicts*")
    with project.open() as environment:
        reason = skipped(environment)["listening"]
        assert reason.endswith(f"(found in an earlier run; remove {file} to try it again)")
    (project.site / "listening.py").write_text(QUIET)
    with project.open() as environment:
        assert "listening" in environment.modules


def test_a_mended_package_counts_in_the_run_that_has_recalled_its_verdict(project: Project, index: Index) -> None:
    index.install("listening", "1.0", {"listening.py": LISTENS})
    project.write("app.py", "import listening\n")
    with project.open():
        pass
    with project.open() as environment:
        assert "listening" in environment.skipped
        (project.site / "listening.py").write_text(QUIET)
        assert value_of(environment, "listening") == 22
        assert "listening" in environment.modules


def test_a_verdict_about_a_thread_ends_when_its_package_is_mended(project: Project, index: Index) -> None:
    text = "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    index.install("watching", "1.0", {"watching.py": text})
    project.write("app.py", "import watching\n")
    with project.open() as environment:
        assert skipped(environment)["watching"].endswith("; each run imports it itself")
    (project.site / "watching.py").write_text(QUIET)
    with project.open() as environment:
        assert "watching" in environment.modules


def test_no_verdict_is_kept_about_an_editable_distribution(project: Project, index: Index, tmp_path: Path) -> None:
    project.dependency("listening.py", LISTENS)
    index.install("listening", "1.0", {"__editable__.listening-1.0.pth": f"{tmp_path}\n"})
    project.write("app.py", "import listening\n")
    with project.open() as environment:
        assert "listening" in environment.skipped
    assert '"bad":{}' in "".join(file.read_text() for file in cache().glob("verdicts*"))


@pytest.mark.parametrize("what", ["interpreter", "variable"])
def test_a_verdict_is_about_one_interpreter_and_its_start(
    project: Project, index: Index, monkeypatch: pytest.MonkeyPatch, what: str, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FIREHOT_LOG_LEVEL", "debug")
    index.install("listening", "1.0", {"listening.py": LISTENS})
    project.write("app.py", "import listening\n")
    for expected in (2, 1):
        with project.open():
            pass
        assert starts(capfd.readouterr().err) == expected
    if what == "variable":
        monkeypatch.setenv("OMP_NUM_THREADS", "3")
    else:
        monkeypatch.setattr("sys.version", "3.99.0 (another build)")
    with project.open() as environment:
        assert "earlier run" not in skipped(environment)["listening"]
    assert starts(capfd.readouterr().err) == 2


# -- what is told ----------------------------------------------------------------------------------


def test_what_it_costs_to_leave_a_package_out_is_told(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    project.dependency("listening.py", "import time\ntime.sleep(0.02)\n" + LISTENS)
    project.write("app.py", "import listening\n")
    with project.open():
        pass
    (line,) = (line for line in capfd.readouterr().err.splitlines() if "listening is not preloaded" in line)
    milliseconds = int(line.rpartition("(")[2].removesuffix(" ms)"))
    assert milliseconds >= 20


def test_one_module_is_told_as_one(
    project: Project, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FIREHOT_LOG_LEVEL", "info")
    project.dependency("only.py")
    project.write("app.py", "import only\n")
    with project.open():
        pass
    assert wait_until(lambda: "preloaded 1 module in" in capfd.readouterr().err)


def test_modules_that_have_no_file_get_no_verdict(project: Project) -> None:
    text = "import sys, types\nsys.modules['_shared_abi'] = types.ModuleType('_shared_abi')\n"
    project.dependency("compiled.py", text)
    project.write("app.py", "import compiled\n")
    with project.open() as environment:
        assert environment.verdicts == {"compiled": "safe"}
