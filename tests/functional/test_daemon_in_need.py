"""The daemon and its client where something is missing or in the way: a run is as `python` would have it, and one line
on stderr says why it was cold."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from daemons import Desk
from support import DEADLINE, is_alive, needs_proc, wait_until

APP = """
import os, sys
with open(os.environ["RAN"], "a") as file:
    file.write("once\\n")
print("ran", *sys.argv[1:])
sys.exit(3)
"""
COLD = "firehot: running cold: "
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="a namespace of mounts, the processors of a process")


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    """A project with a program that leaves a line behind whenever it runs."""
    made = Desk(tmp_path)
    made.write("app.py", APP)
    made.variables["RAN"] = str(tmp_path / "ran")
    yield made
    made.close()


def ran(desk: Desk) -> int:
    """How often the program did."""
    path = Path(desk.variables["RAN"] or "")
    return len(path.read_text().split()) if path.exists() else 0


def good(desk: Desk, **options: object) -> str:
    """A run that ends as under `python`, having run once; what is said on stderr, a line at most."""
    before = ran(desk)
    done = desk.run("run", "app.py", "a", **options)
    assert (done.returncode, done.stdout) == (3, "ran a\n"), done
    assert ran(desk) == before + 1
    assert done.stderr == "" or (done.stderr.startswith(COLD) and done.stderr.count("\n") == 1), done.stderr
    return done.stderr


def last_is_warm(desk: Desk) -> bool:
    return bool(desk.json("why")["runs"][0]["warm"])


def place(desk: Desk, suffix: str) -> Path:
    """A file of the project's daemon."""
    shown = "import json; from firehot import _daemons; print(json.dumps(_daemons.place()))"
    command = [sys.executable, "-c", shown]
    done = subprocess.run(command, cwd=desk.root, env=desk.environment, capture_output=True, text=True, check=True)
    return Path(json.loads(done.stdout)[suffix])


# -- limits -------------------------------------------------------------------------------------------


def limited(name: str, *values: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(getattr(resource, name), values)


@pytest.mark.parametrize("descriptors", [8, 12, 18])
def test_a_daemon_without_descriptors_runs_nothing_and_loses_nothing(desk: Desk, descriptors: int) -> None:
    set_up = limited("RLIMIT_NOFILE", descriptors, descriptors)
    for _ in range(3):
        began = time.monotonic()
        good(desk, preexec_fn=set_up)
        # The caller's pipes are held by nobody when the run is over.
        assert time.monotonic() - began < 4
        # The template is there, or could not be built.
        desk.run("warm", "app.py")


@needs_linux
def test_a_daemon_without_memory_for_threads_runs_nothing_and_loses_nothing(desk: Desk) -> None:
    set_up = limited("RLIMIT_AS", 200 << 20, 200 << 20)
    for _ in range(4):
        good(desk, preexec_fn=set_up)


def test_soft_limits_of_the_first_caller_are_not_the_daemons(desk: Desk) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    good(desk, preexec_fn=limited("RLIMIT_NOFILE", 9, hard))
    desk.write("limits.py", "import resource\nprint(resource.getrlimit(resource.RLIMIT_NOFILE))\n")
    desk.warm("limits.py")
    assert desk.good("run", "limits.py") == f"{(soft, hard)}\n"
    assert last_is_warm(desk)


@pytest.mark.parametrize("less", ["nice", "limit", pytest.param("processor", marks=needs_linux)])
def test_a_caller_that_has_more_than_the_daemon_gets_another_daemon(desk: Desk, less: str) -> None:
    if less == "processor":
        processors = sorted(os.sched_getaffinity(0))
        if len(processors) < 2:
            pytest.skip("there is one processor only")
        set_up: Callable[[], object] = lambda: os.sched_setaffinity(0, processors[:1])  # noqa: E731
    elif less == "nice":
        set_up = lambda: os.nice(3)  # noqa: E731
    else:
        set_up = limited("RLIMIT_CPU", 500, 500)
    good(desk, preexec_fn=set_up)
    [first] = wait_until(desk.daemons)
    assert good(desk) == ""
    assert wait_until(lambda: not is_alive(first["pid"]))
    desk.warm("app.py")
    assert good(desk) == "" and last_is_warm(desk)
    [second] = desk.daemons()
    # Who has less does not take it away from who has more.
    said = good(desk, preexec_fn=set_up)
    assert (less == "processor") == bool(said)
    assert [daemon["pid"] for daemon in desk.daemons()] == [second["pid"]]


# -- the place ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["socket", "lock", "log"])
def test_a_folder_where_a_file_of_the_daemon_should_be_makes_runs_cold(desk: Desk, suffix: str) -> None:
    place(desk, suffix).mkdir()
    good(desk)
    said = good(desk)
    assert "the daemon could not be started" in said
    place(desk, suffix).rmdir()
    if suffix != "log":
        assert "can't listen" in desk.logs() and "Traceback" not in desk.logs()


def test_a_stranger_at_the_socket_makes_runs_cold(desk: Desk) -> None:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(str(place(desk, "socket")))
        stranger.listen()
        assert good(desk) == f"{COLD}the daemon does not answer\n"
    place(desk, "socket").unlink()


def test_what_killed_processes_have_left_is_removed(desk: Desk) -> None:
    base = place(desk, "socket").with_suffix("")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    kept = Path(f"{base}.first.{os.getpid()}")
    left = [Path(f"{base}.first.{gone.pid}"), Path(f"{base}.0123456789abcdef.tmp")]
    for path in (kept, *left):
        path.touch()
    folder = Path(f"{base}.{gone.pid}.files")
    folder.mkdir()
    desk.warm("app.py")
    assert kept.exists() and not any(path.exists() for path in (*left, folder))


def test_nonsense_at_the_socket_is_answered_by_nothing(desk: Desk) -> None:
    desk.warm("app.py")
    [daemon] = desk.daemons()
    random = os.urandom(2000)
    hello = b'{"type":"hello","protocol":1,"build":"x"}'
    frames = [
        b"",
        random,
        b"\xff" * 8,
        len(hello).to_bytes(4, "little") + bytes(4) + hello,
        *(
            len(hello).to_bytes(4, "little") + bytes(4) + hello + len(text).to_bytes(4, "little") + bytes(4) + text
            for text in (
                b"[]",
                b'{"type":"run"}',
                b'{"type":"warm","sections":[]}',
                b'{"type":7}',
                b'{"type":"x"}',
                b"{",
            )
        ),
    ]
    with suppress(OSError):
        for sent in frames * 3:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(place(desk, "socket")))
                with suppress(OSError):
                    client.sendall(sent)
                    client.shutdown(socket.SHUT_WR)
                    client.settimeout(DEADLINE)
                    client.recv(1000)
    # One that asks for a run with another build's name has made room for that.
    assert wait_until(lambda: not is_alive(daemon["pid"]))
    desk.warm("app.py")
    assert good(desk) == "" and last_is_warm(desk)
    assert "Traceback" not in desk.logs()


# -- the project --------------------------------------------------------------------------------------


def test_a_project_that_is_moved_ends_the_daemon_and_not_its_runs(desk: Desk) -> None:
    desk.write("waits.py", "import sys\nprint('up', flush=True)\nprint(sys.stdin.readline())\n")
    desk.warm("waits.py")
    [daemon] = desk.daemons()
    door, log = str(place(desk, "socket")), place(desk, "log")
    with desk.popen("run", "waits.py", stdin=subprocess.PIPE) as process, socket.socket(socket.AF_UNIX) as visitor:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "up\n"
        moved = desk.root.with_name("moved")
        desk.root.rename(moved)
        # It looks every few seconds, and when somebody comes.
        visitor.connect(door)
        assert wait_until(lambda: "folder is gone" in log.read_text())
        process.stdin.write("down\n")
        process.stdin.close()
        assert process.stdout.read() == "down\n\n"
    assert process.returncode == 0
    assert wait_until(lambda: not is_alive(daemon["pid"]))
    moved.rename(desk.root)


@pytest.mark.parametrize("text", ["[tool.firehot\n", "[tool.firehot]\npreload = 7\n"])
def test_settings_that_can_not_be_read_make_runs_cold_and_are_named(desk: Desk, text: str) -> None:
    desk.write("pyproject.toml", text)
    assert "pyproject.toml" in desk.run("warm", "app.py").stderr
    assert "pyproject.toml" in good(desk)


@pytest.mark.skipif(os.getuid() == 0, reason="root reads every file")
def test_a_script_that_can_not_be_read_is_pythons_to_complain_of(desk: Desk) -> None:
    desk.write("app.py").chmod(0)
    command = [sys.executable, "app.py"]
    cold = subprocess.run(command, cwd=desk.root, env=desk.environment, capture_output=True, text=True, check=False)
    desk.run("warm", "app.py")
    done = desk.run("run", "app.py")
    assert (done.returncode, done.stdout, done.stderr) == (cold.returncode, cold.stdout, cold.stderr)
    assert not last_is_warm(desk)


def test_a_pipe_is_a_script_that_is_read_once(desk: Desk) -> None:
    desk.warm("app.py")
    os.mkfifo(desk.root / "pipe")

    def write() -> None:
        (desk.root / "pipe").write_text("import sys\nprint(sys.argv, __file__)\nsys.exit(4)\n")

    commands = [["-m", "firehot", "run", "pipe", "x"]] * 3 + [["pipe", "x"]]
    shown = []
    for command in commands:
        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        done = subprocess.run(
            [sys.executable, *command],
            cwd=desk.root,
            env=desk.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=False,
        )
        writer.join(DEADLINE)
        assert not writer.is_alive()
        shown.append((done.returncode, done.stdout, done.stderr))
    assert shown[0] == shown[1] == shown[2] == shown[3]


def test_what_python_refuses_is_refused_in_its_words(desk: Desk) -> None:
    (desk.root / "empty").mkdir()
    (desk.root / "garbage.py").write_bytes(bytes(range(256)) * 8)
    (desk.root / "nul.py").write_bytes(b"print(1)\n\0\n")
    (desk.root / "archive.zip").write_bytes(b"PK\3\4 and no more")
    (desk.root / "dangling.py").symlink_to("absent.py")
    (desk.root / "loop.py").symlink_to("loop.py")
    (desk.root / "pyproject.toml").unlink()
    desk.warm("app.py")
    names = ["empty", "garbage.py", "nul.py", "archive.zip", "dangling.py", "loop.py", "app.py/x.py", "x" * 300]
    for name in names:
        shown = []
        for command in (["-m", "firehot", "run"], ["-m", "firehot", "run"], []):
            done = subprocess.run(
                [sys.executable, *command, name],
                cwd=desk.root,
                env=desk.environment,
                capture_output=True,
                check=False,
                timeout=DEADLINE,
            )
            shown.append((done.returncode, done.stdout, done.stderr))
        assert shown[0] == shown[1] == shown[2], name


# -- the system ---------------------------------------------------------------------------------------

RUNTIME_FULL = 'mount -t tmpfs -o size=4k,mode=700 none "$XDG_RUNTIME_DIR" && echo > "$XDG_RUNTIME_DIR/fill"'
HOME_READ_ONLY = 'mount -t tmpfs -o ro none "$HOME"'
RUNTIME_READ_ONLY = 'mount -t tmpfs -o ro,mode=700 none "$XDG_RUNTIME_DIR"'
NO_PROC = "mount -t tmpfs none /proc"


@needs_linux
@needs_proc
@pytest.mark.parametrize(
    ("before", "said"),
    [
        pytest.param(RUNTIME_FULL, "No space left on device", id="full runtime folder"),
        pytest.param(RUNTIME_READ_ONLY, "Read-only file system", id="read-only runtime folder"),
        pytest.param(HOME_READ_ONLY, "", id="read-only home"),
        pytest.param(NO_PROC, None, id="no /proc"),
    ],
)
def test_a_system_that_lacks_something_gets_runs(desk: Desk, before: str, said: str | None) -> None:
    unshare = shutil.which("unshare")
    if os.getuid() != 0 or unshare is None:
        pytest.skip("only root can mount, and only in a namespace of its own (unshare, util-linux)")
    run = f'"{sys.executable}" -m firehot run app.py a; echo $?'
    stop = f'"{sys.executable}" -m firehot stop >/dev/null 2>&1 || true'
    script = f"{before} && {run} && {run} && {stop}"
    command = [unshare, "--mount", "bash", "-c", script]
    done = subprocess.run(
        command,
        cwd=desk.root,
        env=desk.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.stdout == "ran a\n3\n" * 2, done
    assert ran(desk) == 2
    lines = done.stderr.splitlines()
    assert all(line.startswith(COLD) for line in lines)
    if said is not None:
        assert len(lines) == (2 if said else 0) and all(said in line for line in lines)


def test_a_run_in_a_folder_that_was_removed_is_cold(desk: Desk) -> None:
    gone = desk.root / "gone"
    gone.mkdir()

    def set_up() -> None:
        os.chdir(gone)
        gone.rmdir()

    done = desk.run("run", "-c", "print(1)", preexec_fn=set_up)
    assert (done.returncode, done.stdout) == (0, "1\n")
    assert done.stderr.startswith(f"{COLD}the working directory can't be found") and done.stderr.count("\n") == 1


# -- stop ---------------------------------------------------------------------------------------------


def test_a_run_that_is_stopped_with_its_daemon_says_so(desk: Desk) -> None:
    desk.write("waits.py", "import sys\nprint('up', flush=True)\nsys.stdin.readline()\n")
    desk.warm("waits.py")
    with desk.popen("run", "waits.py", stdin=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "up\n"
        assert desk.good("stop", "--all").startswith("stopped ")
        assert process.wait(DEADLINE) in (137, -signal.SIGTERM, -signal.SIGKILL)
        assert process.stderr.read().count("\n") <= 1
    assert not desk.daemons()
