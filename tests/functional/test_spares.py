"""Children that are forked ahead: an exec finds one waiting, and nothing else is different."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sparework
from support import PROC, Project, Scripts, children_of, is_alive, needs_proc, process_state, wait_until

from firehot import ChildExited, FirehotError
from firehot.environment import Environment

pytestmark = needs_proc
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="no other kernel tells that a call was not read")


def spares_of(template: int, count: int = 1) -> list[int]:
    """The processes that wait for a call, when nothing else runs in the template; oldest first."""
    assert wait_until(lambda: len(waiting(template)) == count), f"{waiting(template)}, not {count}"
    return waiting(template)


def waiting(template: int) -> list[int]:
    return sorted(pid for pid in children_of(template) if _is_idle(pid))


def _is_idle(pid: int) -> bool:
    """In `poll`, and with the descriptors that only a spare has: it closes them when its call comes."""
    try:
        links = [os.readlink(fd) for fd in (PROC / str(pid) / "fd").iterdir()]
        return "anon_inode:[signalfd]" in links and process_state(pid) in ("S", "T")
    except OSError:
        return False


def template_of(env: Environment) -> int:
    """A child's end is waited for: what is left are the spares."""
    process = env.exec(os.getppid)
    template = process.result()
    process.wait()
    return template


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        assert wait_until(lambda: process_state(pid) == "T")
        yield
    finally:
        if is_alive(pid):
            os.kill(pid, signal.SIGCONT)


def status(pid: int, field: str) -> str:
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(field + ":"))


@pytest.fixture
def env(project: Project) -> Iterator[Environment]:
    """Without layers of what was learned: those would have spares in the place of their template."""
    with project.open(learn=False) as environment:
        yield environment


# -- which process runs a call ---------------------------------------------------------------------


def test_a_call_is_run_by_the_process_that_waits_for_it(env: Environment) -> None:
    template = template_of(env)
    seen = set()
    for _ in range(5):
        (spare,) = spares_of(template)
        assert env.run(os.getpid) == spare
        seen.add(spare)
    assert len(seen) == 5, "each serves once"


@pytest.mark.parametrize("output", ["prefix", "capture", "inherit"])
def test_a_spare_serves_any_kind_of_output(env: Environment, output: str, capfd: pytest.CaptureFixture[str]) -> None:
    (spare,) = spares_of(template_of(env))
    process = env.exec(print, "through a spare", output=output)  # type: ignore[call-overload]
    assert process.result() is None and process.wait() == 0 and process.pid == spare
    assert "through a spare\n" in capfd.readouterr().out + process.output


def test_how_many_wait_is_said_by_the_caller_or_by_the_project(project: Project) -> None:
    with project.open(spares=3, learn=False) as env:
        assert len(spares_of(template_of(env), 3)) == 3
    project.settings("spares = 2")
    with project.open(learn=False) as env:
        assert len(spares_of(template_of(env), 2)) == 2
    with project.open(spares=0, learn=False) as env:
        assert not children_of(template_of(env))


@pytest.mark.parametrize("wrong", ["-1", "true", "1.5", '"1"'])
def test_a_wrong_number_of_spares_is_refused(project: Project, wrong: str) -> None:
    with pytest.raises(FirehotError, match="spares"), project.open(spares=eval(wrong.capitalize())):
        pass
    project.settings(f"spares = {wrong}")
    with pytest.raises(FirehotError, match="spares"), project.open():
        pass


def test_requests_that_come_faster_are_forked(env: Environment, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    template = template_of(env)
    spares_of(template)
    processes = [env.exec(gate.read_text) for _ in range(12)]
    assert wait_until(lambda: len(children_of(template)) >= 12), "none waits for another to end"
    for process in processes:
        process.stop()
    spares_of(template)


def test_a_function_by_value_is_served_by_spares_as_well(env: Environment) -> None:
    template = template_of(env)
    spares_of(template)
    assert env.run(lambda: 7) == 7, "the one that was there did not have cloudpickle"
    for _ in range(3):
        (spare,) = spares_of(template)
        assert env.run(lambda: os.getpid()) == spare
    (spare,) = spares_of(template)
    assert env.run(os.getpid) == spare


def test_a_run_in_a_spare_has_what_any_run_has(project: Project) -> None:
    found = []
    for spares in (0, 1):
        with project.open(spares=spares, learn=False) as env:
            spares_of(template_of(env), spares)
            found.append((env.run(sparework.descriptors), env.run(sparework.handlers_and_mask)))
    assert found[0] == found[1]


def test_idle_spares_are_not_woken(project: Project) -> None:
    with project.open(spares=3, learn=False) as env:
        template = template_of(env)
        *_, last = spares_of(template, 3)
        before = status(last, "voluntary_ctxt_switches")
        for _ in range(2):
            assert env.run(abs, -1) == 1
            spares_of(template, 3)
        assert status(last, "voluntary_ctxt_switches") == before


# -- spares that are of no use any more ------------------------------------------------------------


def test_a_replaced_template_loses_its_spares(project: Project) -> None:
    with project.open(learn=False) as env:
        (spare,) = spares_of(template_of(env))
        project.write("more.py", "import fractions\n")
        assert env.update_environment() is True
        assert wait_until(lambda: not is_alive(spare))
        (other,) = spares_of(template_of(env))
        assert other != spare


def test_a_stale_template_loses_its_spares_and_they_run_nothing(project: Project, tmp_path: Path) -> None:
    module = project.dependency("dep_edited.py", "VALUE = 1\n")
    project.write("app.py", "import dep_edited\n")
    ran = tmp_path / "ran"
    with project.open(learn=False) as env:
        template = template_of(env)
        (spare,) = spares_of(template)
        module.write_text("VALUE = 22\n")
        assert env.run(sparework.note, str(ran)) != spare
        assert ran.read_text() == "ran\n"
        assert wait_until(lambda: not is_alive(template) and not is_alive(spare))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_copy_of_the_host_does_not_keep_spares(project: Project) -> None:
    with project.open(learn=False) as env:
        (spare,) = spares_of(template_of(env))
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(write_end)
            os.read(read_end, 1)
            os._exit(0)
        try:
            project.write("more.py", "import fractions\n")
            assert env.update_environment() is True
            assert wait_until(lambda: not is_alive(spare))
        finally:
            os.close(write_end)
            os.close(read_end)
            os.waitpid(pid, 0)


def test_spares_die_with_their_template(env: Environment) -> None:
    template = template_of(env)
    (spare,) = spares_of(template)
    os.kill(template, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(spare))
    assert env.run(abs, -1) == 1


HOST = """
import os, signal
from firehot import isolate_imports
with isolate_imports("my_package", spares=2, learn=False) as env:
    print(env.run(os.getppid), flush=True)
    signal.pause()
"""


@pytest.mark.usefixtures("script_package")
def test_spares_die_with_their_host(scripts: Scripts) -> None:
    with scripts.start(HOST) as host:
        assert host.stdout is not None
        template = int(host.stdout.readline())
        spares = spares_of(template, 2)
        host.kill()
        assert wait_until(lambda: not any(map(is_alive, (template, *spares))))


MEMORY = """
import os, sys
from firehot import isolate_imports
with isolate_imports("my_package", learn=False) as env:
    print(env.run(os.getppid), flush=True)
    sys.stdin.readline()
    env.run(abs, 1)
    sys.stdin.readline()
"""
SCARCE = "MemTotal: 16000000 kB\nMemAvailable: 300000 kB\n"


@needs_linux
@pytest.mark.usefixtures("script_package")
def test_no_spares_are_kept_where_memory_is_short(scripts: Scripts, tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(SCARCE)
    # In a mount namespace of its own, /proc/meminfo is what the test says.
    shell = 'mount --bind "$0" /proc/meminfo && exec "$@"'
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", shell, str(meminfo)]
    try:
        subprocess.run([*command, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no mount namespaces here: {error}")
    script = scripts.save(MEMORY)
    with scripts.popen([*command, sys.executable, str(script)], stdin=subprocess.PIPE) as host:
        assert host.stdout is not None and host.stdin is not None
        template = int(host.stdout.readline())
        assert not wait_until(lambda: waiting(template), 0.5)
        meminfo.write_text(SCARCE.replace("300000", "9000000"))
        # What was read is good for a second.
        assert not wait_until(lambda: False, 1.1)
        host.stdin.write("\n")
        host.stdin.flush()
        spares_of(template)
        host.stdin.write("\n")
        host.stdin.flush()
        assert host.wait(30) == 0


# -- spares that die -------------------------------------------------------------------------------


@needs_linux
def test_a_spare_that_died_unnoticed_loses_no_call(env: Environment, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    template = template_of(env)
    (spare,) = spares_of(template)
    with ThreadPoolExecutor(1) as pool, stopped(template):
        os.kill(spare, signal.SIGKILL)
        assert wait_until(lambda: process_state(spare) == "Z")
        answer = pool.submit(env.run, sparework.note, str(ran))
        os.kill(template, signal.SIGCONT)
        assert answer.result(30) != spare
    assert ran.read_text() == "ran\n"


@needs_linux
def test_a_spare_that_dies_before_it_reads_its_call_loses_no_call(env: Environment, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (spare,) = spares_of(template_of(env))
    with stopped(spare):
        process = env.exec(sparework.note, str(ran))
        os.kill(spare, signal.SIGKILL)
        assert process.result(30) != spare
    assert process.wait(30) == 0 and process.exitcode == 0
    assert process.result() == process.pid
    assert ran.read_text() == "ran\n"


@needs_linux
def test_a_process_whose_pid_is_known_is_killed_and_stays_so(env: Environment, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (spare,) = spares_of(template_of(env))
    with stopped(spare):
        process = env.exec(sparework.note, str(ran))
        assert process.pid == spare
        os.kill(spare, signal.SIGKILL)
        error = process.exception(30)
    assert isinstance(error, ChildExited) and error.signal == "SIGKILL"
    assert not ran.exists()
    assert env.run(abs, -1) == 1


@needs_linux
def test_a_call_that_was_moved_obeys_its_time_limit(env: Environment) -> None:
    (spare,) = spares_of(template_of(env))
    with stopped(spare):
        process = env.exec(signal.pause, timeout=0.3)
        os.kill(spare, signal.SIGKILL)
        assert isinstance(process.exception(30), TimeoutError)


# -- signals ---------------------------------------------------------------------------------------

OF_A_GROUP = [
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGCONT,
    signal.SIGUSR1,
    signal.SIGWINCH,
]


def forgotten(pid: int) -> bool:
    return not int(status(pid, "SigPnd"), 16) and not int(status(pid, "ShdPnd"), 16)


def test_signals_that_come_before_the_call_do_nothing(env: Environment) -> None:
    template = template_of(env)
    for number in OF_A_GROUP:
        (spare,) = spares_of(template)
        os.kill(spare, number)
        assert wait_until(lambda spare=spare: forgotten(spare))
        assert is_alive(spare)
        assert env.run(os.getpid) == spare, number
    (spare,) = spares_of(template)
    for number in OF_A_GROUP:
        os.kill(spare, number)
    assert wait_until(lambda: forgotten(spare))
    process = env.exec(sparework.handlers_and_mask)
    assert process.result()[2] == [] and process.pid == spare


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_a_signal_right_after_the_exec_counts(env: Environment, number: signal.Signals) -> None:
    for _ in range(20):
        process = env.exec(signal.pause)
        assert process.pid is not None
        os.kill(process.pid, number)
        assert process.wait(30) == -number


def test_stop_right_after_the_exec_takes_no_patience(env: Environment) -> None:
    for _ in range(10):
        process = env.exec(signal.pause)
        assert process.stop(30) is True
        assert process.exitcode == -signal.SIGTERM


def test_ctrl_c_is_what_it_is_in_any_run(env: Environment, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    (spare,) = spares_of(template_of(env))
    process = env.exec(sparework.interruptible, str(ready))
    assert wait_until(ready.exists)
    os.kill(spare, signal.SIGINT)
    assert process.result(30) == "interrupted"


CTRL_C = """
import os, time
from firehot import isolate_imports
with isolate_imports("my_package", learn=False) as env:
    try:
        print(env.run(os.getppid), flush=True)
        while True:
            time.sleep(0.05)
    except KeyboardInterrupt:
        pass
    print(env.run(os.getpid), flush=True)
"""


@pytest.mark.usefixtures("script_package")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTSTP])
def test_a_terminal_does_nothing_to_a_spare(scripts: Scripts, number: signal.Signals) -> None:
    with scripts.start(CTRL_C) as host:
        assert host.stdout is not None and host.stderr is not None
        template = int(host.stdout.readline())
        (spare,) = spares_of(template)
        os.killpg(host.pid, number)
        if number == signal.SIGTSTP:
            os.killpg(host.pid, signal.SIGCONT)
            os.kill(host.pid, signal.SIGINT)
        said = host.stdout.readline()
        assert said, host.stderr.read()
        assert int(said) == spare
        assert host.wait(30) == 0
        assert host.stderr.read() == ""
