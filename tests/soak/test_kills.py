"""kill -9 at random moments: every waiter is answered, no process is left after two seconds."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import soakwork
from conftest import Measure
from scale import times
from support import Project, Scripts, children_of, is_alive, marked_processes, needs_proc, wait_until

from firehot import ChildExited, FirehotError
from firehot.environment import Environment

pytestmark = needs_proc
SOAKWORK = {"PYTHONPATH": str(Path(__file__).parent)}
ANSWER = 30.0
"""Seconds for an answer, on a machine that does other things as well."""
GONE = 2.0


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def answer_of(call: Callable[[], object]) -> object:
    """What it returns, or the error of firehot that it raises."""
    try:
        return call()
    except FirehotError as error:
        return error


@contextmanager
def answered(call: Callable[[], object]) -> Iterator[list[object]]:
    """Asks on another thread while the block goes on; the answer is there when it has ended."""
    answers: list[object] = []
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(answer_of, call)
        yield answers
        answers.append(future.result(ANSWER))


def test_a_killed_child_is_told_to_whoever_waits(env: Environment, moments: random.Random, measure: Measure) -> None:
    count = times(400)
    killed = 0
    with measure("kill -9 of a child", count) as outcome:
        for _ in range(count):
            process = env.exec(soakwork.work, moments.choice((0.0, 60.0)), output=moments.choice(("prefix", "capture")))
            time.sleep(moments.uniform(0, 0.02))
            assert process.pid is not None
            if process.is_running():
                kill(process.pid)
            error = process.exception(ANSWER)
            assert error is None or (isinstance(error, ChildExited) and error.signal == "SIGKILL")
            assert process.wait(ANSWER) in (0, -signal.SIGKILL)
            killed += error is not None
        outcome.append(f"{killed} before they had returned; all told")
    assert killed


def test_a_killed_template_takes_its_children_along_and_is_replaced(
    env: Environment, moments: random.Random, measure: Measure
) -> None:
    count = times(300)
    lost = 0
    with measure("kill -9 of a template that serves", count) as outcome:
        for _ in range(count):
            template = env.run(os.getppid)
            waiting = [env.exec(soakwork.block) for _ in range(moments.randrange(4))]
            with answered(lambda: env.run(soakwork.double, 21)) as answers:
                time.sleep(moments.uniform(0, 0.02))
                kill(template)
            # Forked in the last moment, it went down with the template; else the next template ran it.
            assert answers == [42] or isinstance(answers[0], ChildExited)
            lost += answers != [42]
            for process in waiting:
                assert isinstance(process.exception(ANSWER), ChildExited)
            pids = [template, *(process.pid or 0 for process in waiting)]
            assert wait_until(lambda pids=pids: not any(map(is_alive, pids)), GONE)
        outcome.append(f"{lost} calls went down with it; all told")
    assert env.run(soakwork.double, 2) == 4


def test_a_template_killed_while_it_starts_is_told_or_replaced(
    project: Project, moments: random.Random, measure: Measure
) -> None:
    for number in range(8):
        project.dependency(f"dep_slow{number}.py", "import time\ntime.sleep(0.005)\n")
    project.write("app.py", "import " + ", ".join(f"dep_slow{number}" for number in range(8)) + "\n")
    count = times(100)
    errors = 0
    with measure("kill -9 of a template that starts", count) as outcome, project.open() as env:
        for _ in range(count):
            old = env.run(os.getppid)
            kill(old)
            with answered(lambda: env.run(soakwork.double, 21)) as answers:
                starting = wait_until(lambda old=old: set(children_of(os.getpid())) - {old})
                time.sleep(moments.uniform(0, 0.15))
                for pid in starting:
                    kill(pid)
            assert answers == [42] or isinstance(answers[0], FirehotError)
            errors += answers != [42]
            assert wait_until(lambda starting=starting: not any(map(is_alive, starting)), GONE)
        outcome.append(f"{errors} of the callers got an error, the others an answer from the next template")
        assert env.run(soakwork.double, 2) == 4


FIRST_FORK_HANGS = """
import os, time

first = [True]

def in_child():
    if first[0]:
        time.sleep(600)

def in_parent():
    first[0] = False

os.register_at_fork(after_in_child=in_child, after_in_parent=in_parent)
"""


@pytest.mark.parametrize("victim", ["throwaway", "template"])
def test_a_kill_while_the_first_fork_hangs_is_answered(
    project: Project, moments: random.Random, measure: Measure, nothing_is_left: str, victim: str
) -> None:
    project.dependency("dep_first_fork.py", FIRST_FORK_HANGS)
    project.write("app.py", "import dep_first_fork\n")
    count = times(25, least=1)

    def open_and_run() -> object:
        with project.open() as env:
            return env.run(soakwork.double, 21)

    with measure(f"kill -9 while the first fork hangs: of the {victim}", count):
        for _ in range(count):
            with answered(open_and_run) as answers:
                (template,) = wait_until(lambda: children_of(os.getpid()))
                # The census may have started one of its own beside it.
                throwaways = wait_until(lambda template=template: children_of(template))
                time.sleep(moments.uniform(0, 0.02))
                for pid in throwaways if victim == "throwaway" else [template]:
                    kill(pid)
            if victim == "throwaway":
                assert answers == [42]
            else:
                # Another one is tried, as after any end that no import is known to have caused.
                assert answers == [42] or (isinstance(answers[0], FirehotError) and "SIGKILL" in str(answers[0]))
            assert wait_until(lambda: not marked_processes(nothing_is_left), GONE)


FORK_HANGS = """
import os, time

def in_child():
    if os.path.exists(__file__ + ".hang"):
        time.sleep(600)

os.register_at_fork(after_in_child=in_child)
"""


def test_a_child_that_hangs_in_its_fork_dies_with_the_template(project: Project, nothing_is_left: str) -> None:
    path = project.dependency("dep_fork.py", FORK_HANGS)
    project.write("app.py", "import dep_fork\n")
    with project.open() as env:
        Path(f"{path}.hang").touch()
        process = env.exec(soakwork.double, 21)
        (template,) = children_of(os.getpid())
        kill(template)
        assert isinstance(process.exception(ANSWER), ChildExited)
        assert wait_until(lambda: not marked_processes(nothing_is_left), GONE)


HOST = """
import threading
import soakwork
from firehot import FirehotError, isolate_imports

def run(environment, number):
    while True:
        environment.exec(soakwork.block)
        environment.run(soakwork.double, number)

print("started", flush=True)
with isolate_imports("my_package") as environment:
    for number in range(2):
        threading.Thread(target=run, args=(environment, number), daemon=True).start()
    # Not for ever: each round leaves a child that runs on.
    threading.Event().wait(5)
"""


def test_a_killed_host_leaves_no_process(
    scripts: Scripts, script_package: str, moments: random.Random, measure: Measure, nothing_is_left: str
) -> None:
    count = times(150)
    script = scripts.save(HOST)
    most = 0
    with measure("kill -9 of a host", count) as outcome:
        for _ in range(count):
            with start(scripts, script) as host:
                assert host.stdout is not None and host.stdout.readline() == "started\n"
                time.sleep(moments.uniform(0, 0.6))
                processes = marked_processes(nothing_is_left)
                host.kill()
                host.wait(timeout=20)
                most = max(most, len(processes))
                left = wait_until(lambda: not marked_processes(nothing_is_left), GONE)
                assert left, marked_processes(nothing_is_left)
        outcome.append(f"nothing left, of up to {most} processes")
    assert most > 1


@pytest.mark.parametrize("hang", ["throwaway", "child"])
def test_a_host_killed_while_a_fork_hangs_leaves_no_process(
    scripts: Scripts, script_package: str, tmp_path: Path, nothing_is_left: str, hang: str
) -> None:
    third_party = tmp_path / "third_party"
    third_party.mkdir()
    (third_party / "dep_fork.py").write_text(FIRST_FORK_HANGS if hang == "throwaway" else FORK_HANGS)
    scripts.save("import dep_fork\n", "my_package/app.py")
    script = scripts.save(
        f"""
        import soakwork
        from firehot import isolate_imports
        with isolate_imports("my_package") as environment:
            open({str(third_party / "dep_fork.py.hang")!r}, "w").close()
            environment.run(soakwork.double, 2)
        """
    )
    with start(scripts, script, third_party) as host:
        assert wait_until(lambda: len(marked_processes(nothing_is_left)) == 3)
        if hang == "throwaway":
            (template,) = children_of(host.pid)
            assert wait_until(lambda: children_of(template))
        host.kill()
        host.wait(timeout=20)
        assert wait_until(lambda: not marked_processes(nothing_is_left), GONE), marked_processes(nothing_is_left)


def start(scripts: Scripts, script: Path, *path: Path):  # type: ignore[no-untyped-def]
    import sys

    entries = os.pathsep.join((SOAKWORK["PYTHONPATH"], *map(str, path)))
    return scripts.popen([sys.executable, str(script)], env={"PYTHONPATH": entries})


def test_killing_everything_at_once_leaves_no_process(
    scripts: Scripts, script_package: str, moments: random.Random, measure: Measure, nothing_is_left: str
) -> None:
    """The template dies in the same moment as the host: the children have nobody who could kill them in good order."""
    count = times(25, least=1)
    script = scripts.save(HOST)
    with measure("kill -9 of host and template together", count):
        for _ in range(count):
            with start(scripts, script) as host:
                assert wait_until(lambda: len(marked_processes(nothing_is_left)) >= 4)
                time.sleep(moments.uniform(0, 0.1))
                templates = children_of(host.pid)
                victims = [host.pid, *templates]
                moments.shuffle(victims)
                for pid in victims:
                    kill(pid)
                host.wait(timeout=20)
                assert wait_until(lambda: not marked_processes(nothing_is_left), GONE)


def test_callers_on_many_threads_are_all_answered_when_templates_die(
    env: Environment, moments: random.Random, measure: Measure
) -> None:
    count = times(100)
    stop = threading.Event()

    def ask(number: int) -> int:
        asked = 0
        while not stop.is_set():
            answer = answer_of(lambda: env.run(soakwork.double, number))
            assert answer == 2 * number or isinstance(answer, FirehotError)
            asked += 1
        return asked

    with measure("kill -9 of a template with four threads asking", count) as outcome:
        with ThreadPoolExecutor(4) as pool:
            callers = [pool.submit(ask, number) for number in range(4)]
            try:
                for _ in range(count):
                    template = wait_until(lambda: children_of(os.getpid()))[0]
                    time.sleep(moments.uniform(0, 0.05))
                    kill(template)
                    assert wait_until(lambda template=template: not is_alive(template), GONE)
            finally:
                stop.set()
            asked = sum(caller.result(ANSWER) for caller in callers)
        outcome.append(f"{asked} calls, all answered")
