"""The commands that report and look after daemons, as a user starts them, with the real daemon and no terminal."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import Desk
from support import is_alive, needs_proc, wait_until

import firehot

NONE_RUNS = "no daemon runs for this project; the first `firehot run` starts one, and so does `firehot warm`\n"
PROGRAM = """
import sys
import dep_slow
from dep_package import part
import dep_absent
"""


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    """A project with a program, `app.py`, of which one import fails."""
    made = Desk(tmp_path)
    made.dependency("dep_slow.py", "import time\nimport dep_inner\ntime.sleep(0.05)\nroom = bytearray(30_000_000)\n")
    made.dependency("dep_inner.py")
    made.dependency("dep_package/__init__.py")
    made.dependency("dep_package/part.py")
    made.write("app.py", PROGRAM.replace("import dep_absent\n", "") + "print('dep_slow' in sys.modules)\n")
    yield made
    made.close()


def findings(desk: Desk, status: int = 0) -> dict[str, str]:
    """What `doctor` finds: each fact with its level."""
    done = desk.run("doctor", "--json")
    assert done.returncode == status, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is (status == 0)
    return {each["what"]: each["level"] for each in told["findings"]}


def problem(desk: Desk) -> str:
    """The one problem that `doctor` finds; its text says it as well, with what to do."""
    [what] = [what for what, level in findings(desk, 1).items() if level == "problem"]
    done = desk.run("doctor")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[-1] == "something needs a hand"
    at = lines.index(f"problem  {what}")
    assert lines[at + 1].startswith(" " * 9) and lines[at + 2].startswith(" " * 9 + "-> ")
    assert "Traceback" not in done.stderr
    return what


# -- none runs -----------------------------------------------------------------------------------


def test_commands_say_that_no_daemon_runs_and_start_none(desk: Desk) -> None:
    assert desk.good("status") == "no daemon runs; the first `firehot run` starts one\n"
    assert desk.json("status") == {"daemons": []}
    assert desk.good("imports") == NONE_RUNS
    assert desk.json("imports") == {"root": str(desk.root), "running": False, "templates": []}
    assert desk.good("why") == f"{desk.root}\n{NONE_RUNS}"
    nothing = {"root": str(desk.root), "running": False, "templates": [], "runs": [], "unreached": None}
    assert desk.json("why") == nothing
    assert desk.good("stop") == "no daemon runs for this project\n"
    assert desk.good("stop", "--all") == "no daemon runs\n"
    logs = desk.run("logs")
    assert (logs.returncode, logs.stdout) == (0, "")
    assert logs.stderr.startswith("firehot: there is no log yet: ")
    assert desk.daemons() == []


def test_a_project_is_the_nearest_folder_that_is_marked(desk: Desk) -> None:
    inner = desk.root / "inner" / "most"
    inner.mkdir(parents=True)
    desk.warm("app.py")
    top, desk.root = desk.root, inner
    assert desk.json("imports")["root"] == str(top)
    (inner.parent / "setup.py").touch()
    assert desk.json("imports") == {"root": str(inner.parent), "running": False, "templates": []}


# -- imports -------------------------------------------------------------------------------------


def test_imports_tells_what_each_costs_and_who_asks_for_it(desk: Desk) -> None:
    desk.write("more.py", "import dep_slow\nimport dep_learned.one\n")
    desk.write("app.py", PROGRAM + "import more\n")
    desk.warm("app.py")
    [template] = desk.json("imports")["templates"]
    assert (template["target"], template["state"], template["runs"]) == ("app.py", "ready", 0)
    imports = {each["name"]: each for each in template["imports"]}
    slow = imports["dep_slow"]
    assert slow["milliseconds"] >= 50
    assert slow["lines"] == [
        [str(desk.root / "app.py"), 3, "import dep_slow"],
        [str(desk.root / "more.py"), 1, "import dep_slow"],
    ]
    modules = {module["name"]: module for module in slow["modules"]}
    own, inner = modules["dep_slow"], modules["dep_inner"]
    assert own["file"] == str(desk.site / "dep_slow.py")
    assert (own["by"], own["during"], inner["by"], inner["during"]) == (None, None, "dep_slow", "dep_slow")
    # Microseconds; the inner import is a part of the outer one, and not of the outer module's own time.
    assert 50_000 <= own["own"] <= own["total"] - inner["total"] + 1
    if sys.platform == "linux":
        assert 30e6 <= own["memory"] < 60e6
        assert inner["memory"] < 1e6
    assert not slow["learned"]
    if sys.platform == "linux":
        assert 30e6 <= slow["memory"] < 60e6
    else:
        assert slow["memory"] is None
    assert [part["name"] for part in imports["dep_package"]["parts"]] == ["dep_package.part"]
    skipped = {each["name"]: each for each in template["skipped"]}
    assert skipped["dep_absent"]["reason"] == "ModuleNotFoundError: No module named 'dep_absent'"
    assert skipped["dep_absent"]["lines"] == [[str(desk.root / "app.py"), 5, "import dep_absent"]]
    assert "dep_absent" not in imports

    text = desk.good("imports")
    assert re.search(r"\n +\d+ ms +3\d\.\d MB  dep_slow  \(app\.py:3, more\.py:1\)\n", text) or sys.platform != "linux"
    assert re.search(r"\n +(?:< 1|\d+) ms +[^\n]*dep_inner", text)
    reason = "ModuleNotFoundError: No module named 'dep_absent'"
    assert f"    dep_absent: {reason}\n      app.py:5: import dep_absent" in text


def test_imports_tells_what_came_with_another_and_where_it_is_asked_for(desk: Desk) -> None:
    desk.write("app.py", "import dep_slow\nimport dep_inner\n")
    desk.warm("app.py")
    [template] = desk.json("imports")["templates"]
    inner = {each["name"]: each for each in template["imports"]}["dep_inner"]
    assert (inner["lines"], inner["modules"]) == ([[str(desk.root / "app.py"), 2, "import dep_inner"]], [])
    assert re.search(r"\n +(?:< 1|\d+) ms +[^\n]*dep_inner +\(app\.py:2\)", desk.good("imports"))


def test_what_was_learned_is_told_as_such(desk: Desk) -> None:
    desk.dependency("dep_late.py", "import time\ntime.sleep(0.005)\n")
    desk.write("app.py", "import importlib\nimportlib.import_module('dep' + '_late')\n")
    desk.warm("app.py")
    assert desk.good("run", "app.py") == ""

    def learned() -> bool:
        [template] = desk.json("imports")["templates"]
        return any(each["name"] == "dep_late" and each["learned"] for each in template["imports"])

    def again() -> bool:
        desk.good("run", "app.py")
        return learned()

    assert wait_until(again)


def test_a_program_without_imports_has_a_template_that_holds_nothing(desk: Desk) -> None:
    desk.write("empty.py")
    desk.warm("empty.py")
    [template] = desk.json("imports")["templates"]
    assert (template["imports"], template["skipped"]) == ([], [])
    assert "empty.py: ready, 0 runs\n" in desk.good("imports")


# -- why -----------------------------------------------------------------------------------------


def test_why_tells_the_last_runs_and_their_reasons(desk: Desk) -> None:
    assert desk.good("run", "app.py") == "True\n"
    unreached = desk.json("why")["unreached"]
    assert (unreached["target"], unreached["reason"]) == ("app.py", "no daemon was running")
    desk.warm("app.py")
    assert desk.good("run", "app.py") == "True\n"
    desk.write("other.py", "pass\n")
    desk.good("run", "other.py")
    told = desk.json("why")
    assert told["running"]
    cold, warm = told["runs"]
    assert (cold["target"], cold["warm"], cold["milliseconds"]) == ("other.py", False, None)
    assert "first run" in cold["reason"]
    assert (warm["target"], warm["warm"]) == ("app.py", True)
    assert 0 < warm["milliseconds"] < 30_000
    assert wait_until(lambda: desk.json("why")["runs"][1]["status"] == 0)

    lines = [line.split() for line in desk.good("why").splitlines()[2:5]]
    assert [line[line.index("ago") + 1] for line in lines] == ["cold", "warm", "cold"]
    assert "no daemon was running" in " ".join(lines[2])


def test_why_names_what_a_template_was_rebuilt_for(desk: Desk) -> None:
    desk.warm("app.py")
    assert [each["rebuilt"] for each in desk.json("why")["templates"]] == [None]
    changed = desk.dependency("dep_inner.py", "value = 1\n")

    def rebuilt() -> str:
        desk.good("run", "app.py")
        return desk.json("why")["templates"][0]["rebuilt"] or ""

    assert str(changed) in wait_until(rebuilt)
    assert f"the template of app.py was rebuilt last because: {changed}" in desk.good("why")


def test_a_template_that_can_t_be_built_is_told_by_every_command(desk: Desk) -> None:
    desk.write("pyproject.toml", "[tool.firehot]\nnonsense = 1\n")
    done = desk.run("warm", "app.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert "tool.firehot.nonsense is unknown" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "tool.firehot.nonsense is unknown" in desk.good("why")
    assert "tool.firehot.nonsense is unknown" in desk.good("imports")
    assert desk.json("status")["daemons"][0]["templates"][0]["state"] == "failed"
    levels = findings(desk, 1)
    assert levels["the template of app.py can't be built"] == "problem"
    assert desk.good("run", "app.py") == "True\n"


# -- doctor --------------------------------------------------------------------------------------


def test_doctor_measures_what_the_project_imports_where_no_daemon_runs(desk: Desk) -> None:
    desk.write("deep/other.py", "def f():\n    import dep_absent\n")
    done = desk.run("doctor")
    assert done.returncode == 0, done.stdout
    assert "importing once what the project's files import" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == str(desk.root)
    assert lines[1].startswith("ok       a run here saves 0.") and "dep_slow 0." in lines[1]
    assert "note     imported, and not found here: dep_absent" in lines
    assert lines[-1] == "nothing needs a hand"
    assert desk.daemons() == []
    told = desk.json("doctor")
    assert told["ok"] and told["seconds"] >= 0.05


def test_doctor_asks_the_templates_where_there_are_some(desk: Desk) -> None:
    desk.write("light.py", "pass\n")
    desk.warm("light.py")
    desk.warm("app.py")
    done = desk.run("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert "measured with the template of app.py" in done.stdout


def test_doctor_names_packages_that_can_t_be_forked(desk: Desk) -> None:
    desk.dependency("dep_listening.py", "import socket\nheld = socket.create_server(('127.0.0.1', 0))\n")
    desk.write("app.py", "import dep_listening\n")
    what = "dep_listening is not safe to fork, so each run imports it itself"
    assert findings(desk)[what] == "note"
    assert '[tool.firehot.fork] "dep_listening" = "safe"' in desk.good("doctor")
    desk.warm("app.py")
    assert findings(desk)[what] == "note"
    desk.good("stop")
    desk.write("pyproject.toml", '[tool.firehot.fork]\ndep_listening = "safe"\n')
    assert what not in findings(desk)


def test_doctor_finds_a_broken_pyproject(desk: Desk) -> None:
    desk.write("pyproject.toml", "[tool.firehot\n")
    assert problem(desk).startswith(f"{desk.root / 'pyproject.toml'} is no valid TOML")


def test_doctor_finds_a_folder_that_others_can_write_to(desk: Desk) -> None:
    desk.good("status")
    folder = Path(str(desk.variables["XDG_RUNTIME_DIR"])) / "firehot"
    folder.chmod(stat.S_IRWXU | stat.S_IRWXG)
    assert problem(desk) == f"{folder} can be written to by others"
    folder.chmod(stat.S_IRWXU)
    findings(desk)


def test_doctor_finds_limits_that_are_too_low(desk: Desk) -> None:
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    options = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))}
    done = desk.run("doctor", **options)
    assert done.returncode == 1
    assert "problem  a process may open 100 files only" in done.stdout
    assert "ulimit -n 1024" in done.stdout


@pytest.mark.parametrize("name", ["PYTHONVERBOSE", "PYTHONPROFILEIMPORTTIME"])
def test_doctor_finds_variables_that_are_for_an_interpreter_of_its_own(name: str, desk: Desk) -> None:
    desk.variables[name] = "1"
    done = desk.run("doctor")
    assert done.returncode == 1
    assert f"problem  {name} is set" in done.stdout


def test_doctor_finds_another_version_in_the_path(desk: Desk, tmp_path: Path) -> None:
    other = tmp_path / "bin" / "firehot"
    other.parent.mkdir()
    other.write_text("#!/bin/sh\necho firehot 0.0.1\n")
    other.chmod(0o755)
    desk.variables["PATH"] = f"{other.parent}{os.pathsep}{os.environ['PATH']}"
    assert problem(desk) == f"`firehot` in the PATH is {other}, version 0.0.1; this is {firehot.__version__}"


def test_doctor_misses_a_cargo_only_where_there_is_rust(desk: Desk) -> None:
    desk.variables.update(PATH="/nowhere", CARGO=None, CARGO_HOME=None)
    findings(desk)
    desk.good("rust", "new", "fast.rs")
    assert "(fast), and there is no cargo" in problem(desk)


def test_doctor_says_that_firehot_is_turned_off(desk: Desk) -> None:
    desk.variables["FIREHOT_DISABLE"] = "1"
    assert findings(desk)["FIREHOT_DISABLE is set"] == "note"


# -- status, stop, restart, logs -----------------------------------------------------------------


def test_status_tells_of_every_daemon(desk: Desk, tmp_path: Path) -> None:
    desk.warm("app.py")
    assert desk.good("run", "app.py") == "True\n"
    first, desk.root = desk.root, tmp_path / "second"
    desk.write("setup.cfg")
    desk.write("x.py", "pass\n")
    desk.warm("x.py")
    told = {daemon["root"]: daemon for daemon in desk.daemons()}
    assert set(told) == {str(first), str(desk.root)}
    daemon = told[str(first)]
    assert is_alive(daemon["pid"])
    assert (daemon["runs"], daemon["warm"], daemon["firehot"]) == (1, 1, firehot.__version__)
    assert daemon["saved"] >= 0.05 and daemon["age"] > 0
    if sys.platform == "linux":
        assert daemon["memory"] > 30e6
    [template] = daemon["templates"]
    assert (template["target"], template["state"], template["runs"]) == ("app.py", "ready", 1)
    text = desk.good("status")
    assert f"{first}\n  process {daemon['pid']}, Python " in text
    assert "\n  1 run, 100 % warm, 0." in text
    assert "\n    app.py  ready  " in text


def test_stop_ends_the_project_s_daemon_with_its_runs_and_no_other(desk: Desk, tmp_path: Path) -> None:
    desk.write("forever.py", "import time\nprint('up', flush=True)\ntime.sleep(1000)\n")
    desk.warm("forever.py")
    [daemon] = desk.daemons()
    first, desk.root = desk.root, tmp_path / "second"
    desk.write("setup.cfg")
    desk.write("x.py", "pass\n")
    desk.warm("x.py")
    other, desk.root = desk.root, first
    with desk.popen("run", "forever.py") as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        assert desk.good("stop") == f"stopped {first} (process {daemon['pid']})\n"
        assert process.wait(30) != 0
    assert wait_until(lambda: not is_alive(daemon["pid"]))
    assert [each["root"] for each in desk.daemons()] == [str(other)]
    assert desk.good("stop", "--all").startswith(f"stopped {other} (process ")
    assert desk.daemons() == []


def test_another_build_of_firehot_lists_daemons_and_does_not_end_them(desk: Desk, tmp_path: Path) -> None:
    desk.warm("app.py")
    [daemon] = desk.daemons()
    package = Path(firehot.__file__).parent
    other = tmp_path / "other"
    # The date of the native module is another one.
    shutil.copytree(package, other / "firehot", copy_function=shutil.copy, ignore=shutil.ignore_patterns("__pycache__"))
    try:
        desk.variables["PYTHONPATH"] = f"{other}{os.pathsep}{desk.site}"
        [told] = desk.daemons()
        assert "problem" not in told
        assert told["pid"] == desk.json("imports")["pid"] == desk.json("why")["pid"] == daemon["pid"]
        # Templates are for one build: the first run brings another daemon.
        done = desk.run("run", "app.py")
        assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")
        assert wait_until(lambda: not is_alive(daemon["pid"]))
        assert wait_until(lambda: desk.good("run", "app.py") and desk.json("why")["runs"][:1])
        desk.good("stop")
    finally:
        for native in (other / "firehot").glob("_core*"):
            native.unlink()  # It is large.


@needs_proc
def test_a_daemon_that_is_stuck_is_told_of_and_stopped(desk: Desk) -> None:
    desk.warm("app.py")
    [daemon] = desk.daemons()
    os.kill(daemon["pid"], signal.SIGSTOP)
    [stuck] = desk.daemons()
    assert stuck["problem"] == "the daemon does not answer"
    done = desk.run("why")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "firehot: the daemon does not answer\n")
    assert findings(desk, 1)["the daemon can't be asked: the daemon does not answer"] == "problem"
    assert desk.good("stop") == f"stopped {desk.root} (process {daemon['pid']})\n"
    assert wait_until(lambda: not is_alive(daemon["pid"]))


def test_restart_takes_another_daemon_and_starts_one_where_there_is_none(desk: Desk) -> None:
    first = desk.good("restart")
    assert first.startswith("no daemon runs for this project\nstarted ")
    [daemon] = desk.daemons()
    second = desk.good("restart").splitlines()
    [other] = desk.daemons()
    assert second == [
        f"stopped {desk.root} (process {daemon['pid']})",
        f"started {desk.root} (process {other['pid']})",
    ]
    assert daemon["pid"] != other["pid"]


def test_logs_prints_what_the_daemon_has_said(desk: Desk) -> None:
    desk.warm("app.py")
    [daemon] = desk.daemons()
    assert f"process {daemon['pid']} serves {desk.root}\n" in desk.good("logs")
    desk.good("stop")
    assert f"process {daemon['pid']} ends: it was told to\n" in desk.good("logs")


def test_a_pipe_that_closes_is_no_traceback(desk: Desk) -> None:
    desk.warm("app.py")
    desk.variables["PYTHONUNBUFFERED"] = "1"
    for words in (("status",), ("imports",), ("why",), ("doctor",), ("logs",)):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as out:
            done = desk.run(*words, stdout=out)
        assert (words, done.returncode, done.stderr) == (words, 141, "")


def test_a_stdout_that_is_closed_is_nobody_to_tell(desk: Desk) -> None:
    desk.warm("app.py")
    for words in (["status"], ["imports", "--html", "-"], ["stop"]):
        line = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "firehot", *words]
        done = subprocess.run(line, cwd=desk.root, env=desk.environment, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), words


def test_a_working_directory_that_is_gone_is_one_line(desk: Desk) -> None:
    command = f"rmdir {desk.root / 'gone'} && exec {sys.executable} -m firehot"
    for word, status in (("imports", 1), ("why", 1), ("stop", 1), ("doctor", 1), ("status", 0), ("stop --all", 0)):
        gone = desk.root / "gone"
        gone.mkdir()
        line = ["sh", "-c", f"{command} {word}"]
        done = subprocess.run(line, cwd=gone, env=desk.environment, capture_output=True, text=True, timeout=60)
        assert (word, done.returncode, done.stderr.count("\n")) == (word, status, status), done.stderr
