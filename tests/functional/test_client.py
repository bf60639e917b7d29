"""The client of the daemon, without a terminal: it runs programs through a daemon, and cold when there is none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clienting import Office
from support import DEADLINE, is_alive, needs_proc, process_state, read_line, wait_until

from firehot import _core

WARM = "import os; print('warm' if os.environ.get('DOUBLE') else 'cold')"


@pytest.fixture
def office(tmp_path: Path, nothing_is_left: str) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.close()


@pytest.fixture
def warm(office: Office) -> Office:
    """With a daemon that runs already."""
    office.start()
    return office


# -- what is run --------------------------------------------------------------------------------


def test_a_first_run_is_cold_and_starts_the_daemon_the_next_one_is_warm(office: Office) -> None:
    office.save(WARM)
    first = office.run(office.command("x.py"))
    assert (first.returncode, first.stdout, first.stderr) == (0, "cold\n", "")
    [daemon] = office.soon_living()
    second = office.run(office.command("x.py"))
    assert (second.returncode, second.stdout, second.stderr) == (0, "warm\n", "")
    assert office.living() == [daemon]
    [log] = office.files("log")
    # It was told of the first run.
    assert "started with" in log.read_text() and "started with 0" not in log.read_text()


def test_a_program_finds_what_it_would_find_cold(warm: Office) -> None:
    code = """
        import json, os, resource, signal, sys
        os.environ.pop("DOUBLE", None)
        print(json.dumps({
            "argv": sys.argv, "cwd": os.getcwd(), "environ": dict(os.environ), "umask": os.umask(0),
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "ignored": [n for n in range(1, 32) if signal.getsignal(n) == signal.SIG_IGN],
            "fds": os.listdir("/dev/fd"), "flags": str(sys.flags), "in": sys.stdin.read(),
        }))
        print("said", file=sys.stderr)
        sys.exit(7)
    """

    def set_up() -> None:
        os.umask(0o027)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGUSR1])

    args = ("", "-x", "two words", "é", os.fsdecode(b"\xff"))
    env = {**warm.env, "ODD": os.fsdecode(b"\xfe\n"), "EMPTY": ""}
    for run in (warm.code, warm.cold):
        done = run(code, *args, text="input", env=env, preexec_fn=set_up)
        assert (done.returncode, done.stderr) == (7, "said\n")
        found = json.loads(done.stdout)
        found["environ"].pop("LC_CTYPE", None)
        if run == warm.code:
            through = found
    assert found["umask"] == 0o027 and signal.SIGUSR1 in found["blocked"]
    assert through == found


def test_a_cold_run_finds_it_too(office: Office) -> None:
    code = "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.getsignal(signal.SIGPIPE))"
    set_up = lambda: signal.pthread_sigmask(signal.SIG_SETMASK, [signal.SIGUSR1])  # noqa: E731
    assert office.code(code, preexec_fn=set_up).stdout == office.cold(code, preexec_fn=set_up).stdout


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pass", 0),
        ("raise SystemExit(3)", 3),
        ("import os; os._exit(255)", 255),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
        ("import os; os.abort()", -signal.SIGABRT),
        ("import signal, os; signal.signal(13, signal.SIG_DFL); os.kill(os.getpid(), 13)", -signal.SIGPIPE),
    ],
)
def test_it_ends_as_the_program_does(warm: Office, code: str, status: int) -> None:
    done = warm.code(code)
    assert (done.returncode, done.stderr) == (status, "")


def test_modules_and_scripts_and_options_are_run(warm: Office) -> None:
    warm.save("import sys; print(sys.argv, sys.flags.optimize)", "mod.py")
    module = warm.run(warm.command("mod", "-O", kind="module", options=["-O"]))
    assert module.stdout == f"['{warm.root}/mod.py', '-O'] 1\n"
    script = warm.run(warm.command(str(warm.root / "mod.py"), "a"), cwd="/")
    assert script.stdout == f"['{warm.root}/mod.py', 'a'] 0\n"


def test_a_pipeline_ends_though_the_daemon_lives(office: Office) -> None:
    for _ in range(2):
        done = office.run(f"{office.line('-c', kind='code', code='print(1); print(2)')} | tail -n 1")
        assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")
    assert len(office.soon_living()) == 1


def test_the_daemon_keeps_nothing_of_its_callers(office: Office) -> None:
    read, write = os.pipe()
    try:
        assert office.code("pass", pass_fds=[write]).returncode == 0
        os.close(write)
        # The end: nobody else has it.
        assert os.read(read, 1) == b""
    finally:
        os.close(read)
    [daemon] = office.soon_living()
    if Path("/proc").is_dir():
        assert os.readlink(f"/proc/{daemon}/cwd") == "/"
        assert os.getsid(daemon) == daemon


def test_a_substituted_command_can_be_read(warm: Office) -> None:
    line = warm.line("-c", kind="code", code="import sys; print(open(sys.argv[1]).read())")
    done = warm.run(f"{line} <(echo inside)")
    assert (done.stdout, done.stderr) == ("inside\n\n", "")


# -- when there is no daemon --------------------------------------------------------------------


def test_two_clients_that_start_a_daemon_at_once_start_one(office: Office) -> None:
    command = office.command("-c", kind="code", code="print('done')")
    clients = [office.popen(command) for _ in range(6)]
    for client in clients:
        out, err = client.communicate(timeout=DEADLINE)
        assert (client.returncode, out, err) == (0, "done\n", "")
    assert len(office.soon_living()) == 1
    assert office.code(WARM).stdout == "warm\n"


def test_a_socket_that_nobody_listens_at_is_replaced(warm: Office) -> None:
    [daemon] = warm.living()
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: not is_alive(daemon))
    assert len(warm.files("sock")) == 1 and warm.living() == []
    first = warm.code(WARM)
    assert (first.stdout, first.stderr) == ("cold\n", "")
    assert warm.soon_living() != [daemon]
    assert warm.code(WARM).stdout == "warm\n"
    assert len(warm.living()) == 1


def test_a_folder_of_somebody_else_is_not_used(office: Office) -> None:
    folder = office.runtime / "firehot"
    folder.mkdir()
    folder.chmod(0o777)
    done = office.code(WARM)
    assert done.stdout == "cold\n"
    assert done.stderr == f"firehot: running cold: {folder} can be written to by others\n"
    folder.rmdir()
    folder.symlink_to(office.root)
    assert office.code(WARM).stderr == f"firehot: running cold: {folder} is no folder\n"
    folder.unlink()
    if os.geteuid() == 0:
        folder.mkdir(0o700)
        os.chown(folder, 12345, 12345)
        assert office.code(WARM).stderr == f"firehot: running cold: {folder} belongs to another user\n"
        shutil.rmtree(folder)
    assert list(office.root.glob("*.sock")) == []


def test_what_it_makes_is_its_users_alone(warm: Office) -> None:
    warm.code("pass")
    found = {path.suffix or path.name: stat.S_IMODE(path.stat().st_mode) for path in warm.runtime.glob("**/*")}
    assert found.pop("firehot") == 0o700
    assert found and not any(mode & 0o077 for mode in found.values()), found


@needs_proc
def test_without_descriptors_it_runs_cold(warm: Office) -> None:
    # Three and two more: the interpreter itself needs no more.
    code = "resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))\n"
    client = Path(warm.command("x")[1])
    client.write_text("import resource\n" + client.read_text().replace("given =", code + "given =", 1))
    done = warm.code(WARM)
    assert done.stdout == "cold\n"
    assert "firehot: running cold: " in done.stderr and "Too many open files" in done.stderr


def test_a_daemon_that_does_not_answer_is_passed_by_and_runs_nothing_later(warm: Office) -> None:
    [daemon] = warm.living()
    code = "print('ran', file=open('ran', 'a'))"
    os.kill(daemon, signal.SIGSTOP)
    try:
        began = time.monotonic()
        done = warm.code(code)
        took = time.monotonic() - began
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert done.stderr == "firehot: running cold: the daemon does not answer\n"
    assert 0.9 < took < 5
    # Once it has answered this, it has gone past the other one.
    assert warm.code(WARM).stdout == "warm\n"
    assert (warm.root / "ran").read_text() == "ran\n"
    [why] = warm.files("why")
    assert json.loads(why.read_text())["reason"] == "the daemon does not answer"


def test_a_socket_whose_queue_is_full_is_passed_by_at_once(warm: Office) -> None:
    [daemon] = warm.living()
    [path] = warm.files("sock")
    os.kill(daemon, signal.SIGSTOP)
    held = []
    try:
        while True:
            one = socket.socket(socket.AF_UNIX)
            held.append(one)
            one.setblocking(False)
            try:
                one.connect(str(path))
            except BlockingIOError:
                break
        assert warm.code(WARM).stdout == "cold\n"
    finally:
        for one in held:
            one.close()
        os.kill(daemon, signal.SIGCONT)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("cold the moon is full", "firehot: running cold: the moon is full\n"),
        ("quiet it is new", ""),
        ("nothing", "firehot: running cold: the daemon does not answer\n"),
        ("end", "firehot: running cold: the daemon has ended\n"),
        ("mismatch", ""),
    ],
)
def test_what_the_daemon_does_not_run_is_run_cold(warm: Office, answer: str, said: str) -> None:
    warm.answers(answer)
    done = warm.code(WARM + "; raise SystemExit(5)")
    assert (done.returncode, done.stdout, done.stderr) == (5, "cold\n", said)
    if answer == "mismatch":
        warm.soon_living()


def test_a_daemon_of_another_version_is_replaced(warm: Office) -> None:
    [before] = warm.living()
    warm.answers("mismatch")
    warm.code("pass")
    warm.answers("run")
    [after] = warm.soon_living()
    assert warm.code(WARM).stdout == "warm\n"
    assert after != before


@pytest.mark.parametrize("redirected", ["<&-", ">&-", "2>&-"])
def test_a_closed_stream_is_a_cold_run(warm: Office, redirected: str) -> None:
    code = "import os; os.write(int(os.environ['TO']), (os.environ.get('DOUBLE') or 'cold').encode())"
    env = {**warm.env, "TO": "2" if redirected == ">&-" else "1"}
    done = warm.run(f"{warm.line('-c', kind='code', code=code)} {redirected}", env=env)
    assert "cold" in done.stdout + done.stderr and done.returncode == 0
    if redirected != "2>&-":
        assert "is closed" in done.stderr


def test_a_program_that_is_not_there_is_pythons_to_complain_of(warm: Office) -> None:
    cold = warm.run([sys.executable, "no.py"])
    for _ in range(2):
        done = warm.run(warm.command("no.py"))
        assert (done.returncode, done.stderr) == (cold.returncode, cold.stderr)


# -- signals ------------------------------------------------------------------------------------

COUNTING = """\
import os, signal, sys
def heard(number, frame):
    # Not by print: a signal may come while the last one is told.
    os.write(1, signal.Signals(number).name.encode() + b"\\n")
for number in map(int, sys.argv[1:]):
    signal.signal(number, heard)
print("ready", flush=True)
while (line := sys.stdin.readline()) != "end\\n":
    pass
"""
SENT = [
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
]


def test_each_signal_comes_once(warm: Office) -> None:
    command = warm.command("-c", *map(str, map(int, SENT)), kind="code", code=COUNTING)
    with warm.popen(command) as client:
        assert read_line(client) == "ready"
        for _ in range(2):
            for number in SENT:
                client.send_signal(number)
                assert read_line(client) == number.name
        out, err = client.communicate("end\n", DEADLINE)
    assert (client.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_that_nobody_handles_ends_both(warm: Office, number: signal.Signals) -> None:
    code = f"import signal, time; signal.signal({int(number)}, signal.SIG_DFL); print(1, flush=True); time.sleep(60)"
    with warm.popen(warm.command("-c", kind="code", code=code)) as client:
        assert read_line(client) == "1"
        client.send_signal(number)
        assert client.communicate(timeout=DEADLINE) == ("", "")
    assert client.returncode == -number


def test_a_signal_that_comes_while_nothing_runs_ends_the_client(warm: Office) -> None:
    warm.answers("nothing")
    code = "print('ran', file=open('ran', 'a'))"
    with warm.popen(warm.command("-c", kind="code", code=code)) as client:
        # It catches signals, so it has asked.
        caught = lambda: _catches(client.pid, signal.SIGTERM)  # noqa: E731
        if Path("/proc").is_dir():
            assert wait_until(caught)
        client.send_signal(signal.SIGTERM)
        client.communicate(timeout=DEADLINE)
    assert client.returncode == -signal.SIGTERM
    assert not (warm.root / "ran").exists()


def test_a_signal_that_comes_before_the_program_does_ends_the_client(warm: Office) -> None:
    warm.answers("ready")
    with warm.popen(warm.command("-c", kind="code", code="print('ran')")) as client:
        assert wait_until((warm.root / "agreed").exists)
        client.send_signal(signal.SIGINT)
        # Nobody may run it any more, so it is not run cold either.
        assert client.communicate(timeout=DEADLINE) == ("", "")
    assert client.returncode == -signal.SIGINT


def _catches(pid: int, number: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [mask] = [line.split()[1] for line in lines if line.startswith("SigCgt:")]
    return bool(int(mask, 16) >> (number - 1) & 1)


@needs_proc
def test_it_stops_and_goes_on_with_the_program(warm: Office) -> None:
    code = "import os; print(os.getpid(), flush=True); print(input())"
    command = warm.command("-c", kind="code", code=code)
    # In a group that a shell made, as it were: there is a parent in this session.
    with warm.popen(command, start_new_session=False, preexec_fn=lambda: os.setpgid(0, 0)) as client:
        program = int(read_line(client))
        for _ in range(2):
            client.send_signal(signal.SIGTSTP)
            assert wait_until(lambda: process_state(client.pid) == "T" and process_state(program) == "T")
            client.send_signal(signal.SIGCONT)
            assert wait_until(lambda: process_state(client.pid) == "S" and process_state(program) == "S")
        assert client.communicate("typed\n", DEADLINE) == ("typed\n", "")
    assert client.returncode == 0


@needs_proc
def test_it_does_not_stop_where_nobody_could_make_it_go_on(warm: Office) -> None:
    code = "import os; print(os.getpid(), flush=True); print(input())"
    with warm.popen(warm.command("-c", kind="code", code=code)) as client:
        program = int(read_line(client))
        client.send_signal(signal.SIGTSTP)
        assert client.communicate("typed\n", DEADLINE) == ("typed\n", "")
        assert not is_alive(program)


# -- when somebody dies -------------------------------------------------------------------------


@needs_proc
def test_a_killed_client_takes_its_program_with_it(warm: Office) -> None:
    code = "import os, signal; signal.signal(15, signal.SIG_IGN); print(os.getpid(), flush=True); signal.pause()"
    with warm.popen(warm.command("-c", kind="code", code=code)) as client:
        program = int(read_line(client))
        client.kill()
        client.communicate(timeout=DEADLINE)
    assert wait_until(lambda: not is_alive(program), 5)


def test_a_daemon_that_dies_ends_the_run_with_a_line(warm: Office) -> None:
    [daemon] = warm.living()
    with warm.popen(warm.command("-c", kind="code", code="print(1, flush=True); input()")) as client:
        assert read_line(client) == "1"
        os.kill(daemon, signal.SIGKILL)
        client.wait(DEADLINE)
        out, err = client.communicate()
    [log] = warm.files("log")
    assert (client.returncode, out) == (137, "")
    assert err == f"firehot: the daemon ended while the program ran; the daemon's log is {log}\n"


# -- questions ----------------------------------------------------------------------------------


def test_a_daemon_is_asked_and_found(office: Office) -> None:
    assert office.ask() is None
    pid = office.start()
    answer = office.ask("why")
    assert answer is not None and answer["asked"] == {"type": "why"}
    code = "import json; from firehot import _core; print(json.dumps(_core.client_places()))"
    [found] = json.loads(office.cold(code).stdout)
    assert (found["pid"], found["root"], found["python"]) == (pid, str(office.root), sys.executable)
    assert abs(found["started"] - time.time()) < 60 and found["firehot"] == _core.__version__
    assert office.ask("stop") == {"type": "answer", "stopped": True}
    assert wait_until(lambda: office.living() == [])
    assert office.ask() is None


def test_a_daemon_that_can_not_start_says_where_to_look(office: Office) -> None:
    (office.package / "_daemon.py").unlink()
    script = office.save("print('ran')")
    first = office.run(office.command(script))
    assert (first.returncode, first.stdout, first.stderr) == (0, "ran\n", "")
    # The first one waits for nothing, so that it is no slower than python; the next one wants to know.
    [log] = office.files("log")
    for _ in range(2):
        done = office.run(office.command(script))
        assert (done.returncode, done.stdout) == (0, "ran\n")
        assert done.stderr == f"firehot: running cold: the daemon could not be started: see {log}\n"
    assert "_daemon" in log.read_text() and office.living() == []


def test_the_folders_of_a_project_have_one_daemon(warm: Office) -> None:
    inner = warm.root / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "y.py").write_text(WARM)
    assert warm.run(warm.command("y.py"), cwd=inner).stdout == "warm\n"
    assert warm.run(warm.command(str(inner / "y.py")), cwd="/").stdout == "warm\n"
    assert len(warm.living()) == 1


def test_being_told_to_run_cold_it_does(warm: Office) -> None:
    client = Path(warm.command("x")[1])
    text = client.read_text()
    client.write_text(text.replace("client_run(given)", "client_cold(given, None)"))
    assert warm.code(WARM).stdout == "cold\n"
    client.write_text(text.replace("client_run(given)", "client_cold(given, 'it is told to')"))
    done = warm.code(WARM)
    assert (done.stdout, done.stderr) == ("cold\n", "firehot: running cold: it is told to\n")
    [why] = warm.files("why")
    assert json.loads(why.read_text())["reason"] == "it is told to"


def test_surroundings_are_what_python_knows_of_them() -> None:
    import resource

    found = _core.client_surroundings()
    assert tuple(found["limits"]["RLIMIT_NOFILE"]) == resource.getrlimit(resource.RLIMIT_NOFILE)
    assert tuple(found["limits"]["RLIMIT_CORE"]) == resource.getrlimit(resource.RLIMIT_CORE)
    assert found["nice"] == os.nice(0)
    if sys.platform == "linux":
        assert set(found["affinity"]) == os.sched_getaffinity(0)
        assert found["places"]["mnt"] == os.readlink("/proc/self/ns/mnt")
