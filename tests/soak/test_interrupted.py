"""Ctrl-C in every wait, and at random moments: it is raised at once, and nothing is left."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest
from conftest import Measure
from scale import times
from support import Scripts, children_of, is_alive, marked_processes, needs_proc, process_state, read_line, wait_until

pytestmark = needs_proc
SOAKWORK = {"PYTHONPATH": str(Path(__file__).parent)}

# What the host does up to the wait, and the wait.
WAITS = {
    "result": ("process = environment.exec(soakwork.block)", "process.result()"),
    "result with a limit": ("process = environment.exec(soakwork.block)", "process.result(600)"),
    "exception": ("process = environment.exec(soakwork.block)", "process.exception()"),
    "wait": ("process = environment.exec(soakwork.block)", "process.wait()"),
    "run": ("", "environment.run(soakwork.block)"),
    "communicate": ("process = environment.exec(soakwork.block)", "environment.communicate_isolated(process)"),
    "stop": (
        "process = environment.exec(soakwork.ignore_sigterm, os.getcwd()); "
        "soakwork.wait_for(os.path.join(os.getcwd(), str(process.pid)))",
        "process.stop(600)",
    ),
    "exec": (
        "os.kill(environment.run(os.getppid), signal.SIGSTOP)",
        "environment.exec(soakwork.double, 2)",
    ),
    "update": (
        "open('my_package/more.py', 'w').write('import stuck_import')",
        "environment.update_environment()",
    ),
    "close": (
        "process = environment.exec(soakwork.ignore_sigterm, os.getcwd()); "
        "soakwork.wait_for(os.path.join(os.getcwd(), str(process.pid)))",
        "environment.close(600)",
    ),
    "the end of the block": (
        "process = environment.exec(soakwork.ignore_sigterm, os.getcwd()); "
        "soakwork.wait_for(os.path.join(os.getcwd(), str(process.pid)))",
        "pass",
    ),
    "await": ("process = environment.exec(soakwork.block)", "asyncio.run(awaited(process))"),
}


def host(before: str, wait: str) -> str:
    return f"""
import asyncio, os, signal, sys
import soakwork
from firehot import isolate_imports

def say():
    print("waits", flush=True)

async def awaited(process):
    return await process

try:
    # An exec that has a spare does not wait.
    with isolate_imports("my_package", spares=0) as environment:
        {before or "pass"}
        say()
        try:
            {wait}
            {"" if wait == "pass" else "print('the wait is over')"}
        except KeyboardInterrupt:
            # Those who ignore SIGTERM would have five seconds.
            environment.close(0.1)
            raise
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.replace(" ", "-"))
def test_ctrl_c_ends_every_wait(
    scripts: Scripts,
    script_package: str,
    tmp_path: Path,
    measure: Measure,
    nothing_is_left: str,
    wait: str,
) -> None:
    """To the host alone, and to its whole group, as a terminal sends it: then children may end first."""
    count = times(10, least=1)
    slowest = 0.0
    script = scripts.save(host(*WAITS[wait]))
    third_party = tmp_path / "third_party"
    third_party.mkdir()
    (third_party / "stuck_import.py").write_text("import signal\nwhile True: signal.pause()\n")
    environ = {"PYTHONPATH": os.pathsep.join((SOAKWORK["PYTHONPATH"], str(third_party)))}
    with measure("Ctrl-C in each of 12 waits, to the host and to its group", count) as outcome:
        for number in range(count):
            group = (list(WAITS).index(wait) + number) % 2 == 1
            (scripts.folder / "my_package" / "more.py").write_text("")
            with scripts.popen([sys.executable, str(script)], env=environ) as process:
                assert read_line(process) == "waits"
                assert wait_until(lambda pid=process.pid: is_idle(pid))
                started = time.monotonic()
                if group:
                    os.killpg(process.pid, signal.SIGINT)
                else:
                    process.send_signal(signal.SIGINT)
                stdout, stderr = process.communicate(timeout=30)
                slowest = max(slowest, time.monotonic() - started)
            # With the whole group the child dies too, and which of the two is told first is chance.
            assert stdout == "interrupted\n" or group, (stdout, stderr)
            assert process.returncode == 0 or group, stderr
            assert "over" not in stdout
            assert "Exception ignored" not in stderr
            assert wait_until(lambda: not marked_processes(nothing_is_left), 2)
        assert slowest < 5
        outcome.append("all ended within 5 s")


def is_idle(pid: int) -> bool:
    """Whether its first thread sleeps, now and a moment later."""
    if process_state(pid) != "S":
        return False
    time.sleep(0.05)
    return process_state(pid) == "S"


LOOP = """
import os, signal, sys, threading
import soakwork
from firehot import FirehotError, isolate_imports

number = 0
print("started", flush=True)
while True:
    try:
        with isolate_imports("my_package", output="prefix") as environment:
            while True:
                number += 1
                running = environment.exec(soakwork.work, 0.005)
                environment.run(soakwork.double, number)
                running.wait()
                with open("my_package/app.py", "w") as file:
                    file.write("import json, bisect" if number % 2 else "import json")
                environment.update_environment()
                running = environment.exec(soakwork.block)
                running.stop()
                if number % 3 == 0:
                    break
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_ctrl_c_at_random_moments_leaves_nothing(
    scripts: Scripts, script_package: str, moments: random.Random, measure: Measure, nothing_is_left: str
) -> None:
    """One host opens, runs, updates, stops and closes; each interrupt comes where it comes."""
    count = times(300, least=8)
    with measure("Ctrl-C at a random moment", count), scripts.start(LOOP, env=SOAKWORK) as process:
        assert read_line(process) == "started"
        for _ in range(count):
            time.sleep(moments.uniform(0, 0.3))
            process.send_signal(signal.SIGINT)
            assert read_line(process) == "interrupted"
        templates = children_of(process.pid)
        assert len(templates) <= 2, "one, and one that is being taken down or brought up"
        process.send_signal(signal.SIGSTOP)
        assert len(marked_processes(nothing_is_left)) <= 6
        process.kill()
        assert process.stderr is not None and process.stderr.read() == ""
    assert wait_until(lambda: not any(map(is_alive, templates)), 2)
    assert wait_until(lambda: not marked_processes(nothing_is_left), 2)
