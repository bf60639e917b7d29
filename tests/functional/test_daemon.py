"""The daemon, by the real command: what is warm and what is cold, whatever dies, whoever comes at once."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from daemons import Desk
from support import DEADLINE, is_alive, needs_proc, wait_until

import firehot

APP = """
import os, sys
import dep_slow
print("dep_slow" in sys.modules, os.getppid(), *sys.argv[1:])
"""
WAITS = """
import sys
print("up", flush=True)
sys.stdin.readline()
print("down", flush=True)
"""


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    """A project with a program whose import takes a moment."""
    made = Desk(tmp_path)
    made.dependency("dep_slow.py", "import os\nmade_by = os.getpid()\n")
    made.write("app.py", APP)
    made.write("waits.py", WAITS)
    yield made
    made.close()


def last(desk: Desk) -> dict[str, Any]:
    """The last run, as the daemon knows it."""
    run: dict[str, Any] = desk.json("why")["runs"][0]
    return run


def daemon(desk: Desk) -> int:
    """The process of the one daemon."""
    [found] = desk.daemons()
    return int(found["pid"])


def test_the_first_run_is_cold_without_a_word_and_the_next_ones_are_warm(desk: Desk) -> None:
    first = desk.run("run", "app.py", "a", "b c")
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == f"True {os.getpid()} a b c\n"
    desk.warm("app.py")
    second = desk.run("run", "app.py", "a", "b c")
    assert (second.returncode, second.stderr) == (0, "")
    words = second.stdout.split(" ", 2)
    assert words[0] == "True" and int(words[1]) != os.getpid() and words[2] == "a b c\n"
    assert last(desk)["warm"]


def test_many_first_runs_at_once_are_right_and_leave_one_daemon(desk: Desk) -> None:
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda number: desk.run("run", "app.py", str(number)), range(16)))
    for number, each in enumerate(done):
        assert (each.returncode, each.stderr) == (0, ""), each
        assert each.stdout.endswith(f" {number}\n")
    daemon(desk)


def test_many_warm_runs_at_once_are_right(desk: Desk) -> None:
    desk.warm("app.py")
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda number: desk.run("run", "app.py", str(number)), range(24)))
    assert [each.stdout.split()[-1] for each in done] == [str(number) for number in range(24)]
    assert {each.stderr for each in done} == {""}
    assert all(run["warm"] for run in desk.json("why")["runs"][:24])


def test_what_was_edited_or_upgraded_counts_at_once(desk: Desk) -> None:
    desk.warm("app.py")
    desk.write("app.py", "import dep_slow, helper\nprint(helper.value, dep_slow.made_by > 0)\n")
    for value in range(3):
        desk.write("helper.py", f"value = {value}{' ' * value}\n")
        assert desk.good("run", "app.py") == f"{value} True\n"
    for value in range(3):
        # Of another size each time: the same size in the same second is what cold Python itself does not see.
        desk.dependency("dep_slow.py", f"made_by = {value} - 1{' ' * value}\n")
        assert desk.good("run", "app.py") == f"2 {value - 1 > 0}\n"


def test_a_variable_that_imports_read_counts_and_is_named(desk: Desk) -> None:
    desk.dependency("dep_reads.py", "import os\nvalue = os.environ.get('COLOUR')\n")
    desk.write("reads.py", "import os, dep_reads\nprint(dep_reads.value, os.environ.get('COLOUR'))\n")
    desk.warm("reads.py")
    assert desk.good("run", "reads.py") == "None None\n"
    for colour in ("red", "blue", "red"):
        desk.variables["COLOUR"] = colour
        assert desk.good("run", "reads.py") == f"{colour} {colour}\n"
    assert any("COLOUR" in run["reason"] for run in desk.json("why")["runs"])
    del desk.variables["COLOUR"]
    assert desk.good("run", "reads.py") == "None None\n"


def test_the_whole_environment_directory_and_mask_are_the_callers(desk: Desk) -> None:
    desk.write("state.py", "import os\nprint(sorted(os.environ.items()), os.getcwd(), oct(os.umask(0)))\n")
    desk.warm("state.py")
    below = desk.root / "below"
    below.mkdir()
    desk.variables |= {"FROM_THE_CALLER": "ja\u0308 \u2713", "HOME": None}
    command = [sys.executable, "-m", "firehot", "run", str(desk.root / "state.py")]
    cold = [sys.executable, str(desk.root / "state.py")]
    shown = [
        subprocess.run(each, cwd=below, env=desk.environment, umask=0o027, capture_output=True, text=True, check=True)
        for each in (command, command, cold)
    ]
    assert shown[0].stdout == shown[1].stdout == shown[2].stdout
    assert "0o27" in shown[0].stdout


def test_a_pipe_ends_when_the_program_does(desk: Desk) -> None:
    desk.variables["FIREHOT_LOG_LEVEL"] = "debug"
    # The first one starts the daemon: it must hold nothing of its caller's.
    for _ in range(2):
        with desk.popen("run", "app.py", stderr=subprocess.STDOUT) as process:
            assert process.stdout is not None
            assert process.stdout.read().startswith("True ")
    assert desk.daemons()


def test_everything_that_is_read_and_written_arrives(desk: Desk) -> None:
    desk.write("copies.py", "import shutil, sys\nshutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)\n")
    desk.warm("copies.py")
    content = os.urandom(5_000_000)
    command = [sys.executable, "-m", "firehot", "run", "copies.py"]
    done = subprocess.run(command, cwd=desk.root, env=desk.environment, input=content, capture_output=True, check=True)
    assert done.stdout == content
    assert last(desk)["warm"]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("raise SystemExit(7)", 7),
        ("raise SystemExit('text')", 1),
        ("import os; os._exit(9)", 9),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("1 / 0", 1),
    ],
)
def test_the_exit_status_is_the_programs(desk: Desk, text: str, status: int) -> None:
    desk.write("ends.py", text + "\n")
    desk.warm("ends.py")
    done = desk.run("run", "ends.py")
    assert done.returncode == status
    assert last(desk)["warm"] and last(desk)["status"] == status


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_program_once(desk: Desk, number: signal.Signals) -> None:
    desk.write(
        "heard.py",
        f"""
        import signal, sys, time
        heard = []
        signal.signal({int(number)}, lambda *_: heard.append(1))
        print("up", flush=True)
        while not heard:
            signal.pause()
        sys.stdin.readline()
        print(len(heard))
        """,
    )
    desk.warm("heard.py")
    with desk.popen("run", "heard.py", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "1\n"
    assert process.returncode == 0


def test_a_signal_that_ends_the_program_ends_the_client_as_well(desk: Desk) -> None:
    desk.warm("waits.py")
    with desk.popen("run", "waits.py", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.wait() == -signal.SIGTERM


def test_a_program_ends_with_its_client(desk: Desk) -> None:
    desk.write(
        "stubborn.py", "import os, signal\nsignal.signal(15, signal.SIG_IGN)\nsignal.signal(1, signal.SIG_IGN)\n"
    )
    with (desk.root / "stubborn.py").open("a") as file:
        file.write(
            "child = os.fork()\nif child:\n    print(os.getpid(), child, flush=True)\nwhile True:\n    signal.pause()\n"
        )
    desk.warm("stubborn.py")
    with desk.popen("run", "stubborn.py") as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        process.kill()
    for pid in pids:
        assert wait_until(lambda pid=pid: not is_alive(pid))
    assert desk.good("run", "app.py").startswith("True ")


def test_a_killed_daemon_is_told_and_the_next_run_goes_on(desk: Desk) -> None:
    desk.warm("waits.py")
    with desk.popen("run", "waits.py", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "up\n"
        os.kill(daemon(desk), signal.SIGKILL)
        said = process.stderr.read()
        assert process.wait() == 137
    assert said.startswith("firehot: ") and said.count("\n") == 1 and ".log" in said
    done = desk.run("run", "app.py", "x")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith(" x\n")
    desk.warm("app.py")
    assert desk.good("run", "app.py", "y").endswith(" y\n")


@needs_proc
def test_a_killed_template_is_told_and_replaced(desk: Desk) -> None:
    desk.warm("waits.py")
    with desk.popen("run", "waits.py", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        for children in Path(f"/proc/{daemon(desk)}/task").glob("*/children"):
            for pid in children.read_text().split():
                os.kill(int(pid), signal.SIGKILL)
        process.wait()
    assert process.returncode in (137, -signal.SIGKILL)
    done = desk.run("run", "waits.py")
    assert (done.returncode, done.stdout) == (0, "up\ndown\n")
    assert desk.warm("waits.py")
    assert desk.run("run", "waits.py").stdout == "up\ndown\n"
    assert last(desk)["warm"]


def test_a_daemon_that_does_not_answer_makes_a_run_cold_and_is_named(desk: Desk) -> None:
    desk.warm("app.py")
    pid = daemon(desk)
    os.kill(pid, signal.SIGSTOP)
    try:
        done = desk.run("run", "app.py", "x")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == 0 and done.stdout.endswith(" x\n")
    assert done.stderr == "firehot: running cold: the daemon does not answer\n"


def test_questions_are_answered_while_a_template_is_being_rebuilt(desk: Desk) -> None:
    desk.warm("app.py")
    held, begun = desk.root / "held", desk.root / "begun"
    held.touch()
    begun.mkdir()
    # Both import it: the run, which is cold, and the template that is being built behind it.
    desk.dependency(
        "dep_slow.py",
        f"""
        import os, time
        open(os.path.join({str(begun)!r}, str(os.getpid())), "w").close()
        while os.path.exists({str(held)!r}):
            time.sleep(0.01)
        made_by = os.getpid()
        """,
    )
    with desk.popen("run", "app.py") as process:
        try:
            assert wait_until(lambda: len(os.listdir(begun)) == 2)
            for question in ("why", "imports"):
                [template] = desk.json(question)["templates"]
                assert (template["state"], template["rebuilt"]) == ("ready", None)
            assert "ready" in desk.good("status")
        finally:
            held.unlink()
        assert process.communicate(timeout=DEADLINE)[1] == ""
    assert wait_until(lambda: "dep_slow.py" in str(desk.json("why")["templates"][0]["rebuilt"]))


def test_a_folder_that_belongs_to_others_makes_runs_cold(desk: Desk) -> None:
    folder = Path(desk.variables["XDG_RUNTIME_DIR"] or "") / "firehot"
    folder.mkdir()
    folder.chmod(0o777)
    done = desk.run("run", "app.py", "x")
    folder.chmod(0o700)
    assert done.returncode == 0 and done.stdout.endswith(" x\n")
    assert done.stderr.startswith("firehot: running cold: ") and done.stderr.count("\n") == 1
    assert str(folder) in done.stderr


def test_it_can_be_turned_off(desk: Desk) -> None:
    desk.variables["FIREHOT_DISABLE"] = "1"
    done = desk.run("run", "app.py", "x")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout == f"True {os.getpid()} x\n"
    assert not desk.daemons()


def test_a_daemon_that_nobody_comes_to_ends(desk: Desk) -> None:
    (desk.root / "pyproject.toml").write_text("[tool.firehot]\nidle_timeout = 0.1\n")
    desk.warm("app.py")
    assert wait_until(lambda: "nobody has come for 0.1 s" in desk.logs())
    assert wait_until(lambda: not desk.daemons())


def test_a_daemon_ends_when_its_project_is_gone(desk: Desk) -> None:
    desk.warm("app.py")
    shutil.rmtree(desk.root)
    desk.root.mkdir()
    # It looks when it wakes; what it is asked wakes it.
    desk.root.rmdir()
    log = desk.logs
    assert wait_until(lambda: "folder is gone" in log())
    desk.root.mkdir()


def test_four_templates_are_kept_and_the_rest_go(desk: Desk) -> None:
    for number in range(6):
        desk.dependency(f"dep_{number}.py", "")
        desk.write(f"app{number}.py", f"import dep_{number}\nprint({number})\n")
        desk.warm(f"app{number}.py")
    [found] = desk.daemons()
    assert [slot["target"] for slot in found["templates"]] == [f"app{number}.py" for number in range(2, 6)]
    for number in range(6):
        assert desk.good("run", f"app{number}.py") == f"{number}\n"


def test_a_template_is_not_given_up_under_a_run(desk: Desk) -> None:
    desk.warm("waits.py")
    with desk.popen("run", "waits.py", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "up\n"
        for number in range(5):
            desk.warm("-c", f"import dep_slow as name{number}, {('json', 'csv', 'ast', 'dis', 'cmd')[number]}")
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "down\n"
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        ("import resource; resource.setrlimit(resource.RLIMIT_STACK, (1 << 22, 1 << 23))", "RLIMIT_STACK"),
        ("import os; os.environ['PYTHONINSPECT'] = ''; os.close(0)", "stdin is closed"),
    ],
)
def test_what_a_child_can_not_be_given_makes_a_run_cold_with_the_reason(desk: Desk, before: str, reason: str) -> None:
    desk.warm("app.py")
    command = (
        f"{before}\nimport os, sys\nos.execv(sys.executable, [sys.executable, '-m', 'firehot', 'run', 'app.py', 'x'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=desk.root,
        env=desk.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.endswith(" x\n"), done
    assert done.stderr.startswith("firehot: running cold: ") and reason in done.stderr


def test_a_first_caller_that_can_not_be_warm_keeps_no_other_cold(desk: Desk) -> None:
    desk.write("größe.py", APP)
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    desk.variables |= plain
    desk.good("run", "größe.py")
    assert wait_until(lambda: desk.json("why")["running"])
    assert desk.json("why")["templates"] == []
    desk.variables |= dict.fromkeys(plain)
    desk.variables["LC_ALL"] = "C.UTF-8"
    assert wait_until(lambda: desk.good("run", "größe.py") and last(desk)["warm"])


def test_limits_that_can_be_given_are(desk: Desk) -> None:
    desk.write("limits.py", "import resource\nprint(resource.getrlimit(resource.RLIMIT_NOFILE))\n")
    desk.warm("limits.py")
    command = (
        "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (77, 99)); "
        "os.execv(sys.executable, [sys.executable, '-m', 'firehot', 'run', 'limits.py'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=desk.root, env=desk.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "(77, 99)\n" and last(desk)["warm"]


@pytest.mark.parametrize(
    "words",
    [
        ("absent.py",),
        ("-m", "absent"),
        ("-m", "package"),
        ("-c", "1 +"),
        (".",),
        ("broken.py",),
        ("-W", "error", "-c", "import warnings; warnings.warn('x')"),
        ("-X", "dev", "-c", "import sys; print(sys.flags.dev_mode)"),
        ("-I", "-c", "import sys; print(sys.path)"),
        ("-O", "-c", "assert False; print(1)"),
        ("-z",),
    ],
)
def test_bad_and_odd_input_is_answered_as_python_does(desk: Desk, words: tuple[str, ...]) -> None:
    desk.write("broken.py", "def :\n")
    desk.write("package/__init__.py", "")
    plain = subprocess.run(
        [sys.executable, *words], cwd=desk.root, env=desk.environment, capture_output=True, text=True, check=False
    )
    for _ in range(2):
        done = desk.run("run", *words)
        assert (done.returncode, done.stdout, done.stderr) == (plain.returncode, plain.stdout, plain.stderr)
        if words[0] != "-z":
            desk.run("warm", *words)


@needs_proc
def test_runs_leave_nothing_in_the_daemon(desk: Desk) -> None:
    desk.warm("app.py")
    pid = daemon(desk)

    def held() -> tuple[int, int]:
        return len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))

    desk.good("run", "app.py")
    wait_until(lambda: held()[1] <= 12)
    before = held()
    for _ in range(40):
        desk.good("run", "app.py")
    assert wait_until(lambda: held()[0] <= before[0] and held()[1] <= before[1]), (before, held())
    assert json.loads(desk.good("status", "--json"))["daemons"][0]["warm"] >= 40


def test_a_daemon_of_another_build_is_replaced_and_its_run_goes_on(desk: Desk) -> None:
    desk.warm("waits.py")
    old = daemon(desk)
    other = desk.root.parent / "other"
    shutil.copytree(Path(firehot.__file__).parent, other / "firehot", ignore=shutil.ignore_patterns("__pycache__"))
    for native in (other / "firehot").glob("_core*"):
        os.utime(native)
    with desk.popen("run", "waits.py", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "up\n"
        desk.variables["PYTHONPATH"] = os.pathsep.join((str(other), str(desk.site)))
        done = desk.run("run", "app.py", "x")
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith(" x\n")
        desk.warm("app.py")
        assert desk.good("run", "app.py", "y").endswith(" y\n")
        assert last(desk)["warm"] and daemon(desk) != old
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "down\n"
    assert process.returncode == 0
    assert wait_until(lambda: not is_alive(old))
    assert desk.good("run", "app.py", "z").endswith(" z\n")


def test_a_mistyped_name_costs_no_program_its_template(desk: Desk) -> None:
    desk.warm("app.py")
    for number in range(5):
        done = desk.run("run", f"absent{number}.py")
        assert done.returncode == 2 and "No such file" in done.stderr
    [found] = desk.daemons()
    assert [slot["target"] for slot in found["templates"]] == ["app.py"]
    assert last(desk)["reason"] == "there is no such file"
