"""What an exec costs in things that can be counted: forks, wake-ups, files looked at, files parsed, bytes on the wire.

Times differ from machine to machine; these don't. The bounds are what is needed now: whoever needs more says why here.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import childwork
import pytest
from support import Project, Scripts, needs_proc, wait_until

_EXECS = 20
_FORK_COUNT = """
import os

count = 0


def _one_more():
    global count
    count += 1


os.register_at_fork(before=_one_more)


def forks():
    return count
"""
_FORKS = """
import forkcount


def forks():
    return forkcount.forks()
"""
_CALL = re.compile(r"^(?P<pid>\d+) +(?:(?P<call>\w+)\((?P<start>)|<\.\.\. (?P<end>\w+) resumed>)(?P<rest>.*)$")


def test_an_exec_forks_once(project: Project) -> None:
    project.dependency("forkcount.py", _FORK_COUNT)
    project.write("__init__.py", _FORKS)
    forks = import_module(project.name).forks
    with project.open() as environment:
        counts = [environment.run(forks) for _ in range(_EXECS)]
    assert counts == list(range(counts[0], counts[0] + _EXECS))


def test_as_many_execs_at_once_fork_as_often(project: Project) -> None:
    project.dependency("forkcount.py", _FORK_COUNT)
    project.write("__init__.py", _FORKS)
    forks = import_module(project.name).forks
    with project.open() as environment:
        before: int = environment.run(forks)
        for process in [environment.exec(forks) for _ in range(_EXECS)]:
            process.result()
        # The children that were forked ahead count too: at most one for each exec, and what is kept at the end.
        assert environment.run(forks) - before <= _EXECS + 2


@needs_proc
def test_an_idle_environment_sleeps(project: Project) -> None:
    with project.open() as environment:
        template = environment.run(os.getppid)
        environment.run(childwork.double, 1)

        def switches() -> Counter[str]:
            return _switches(template)

        def is_quiet() -> bool:
            # A spare is forked and the child before is reaped after the result.
            before = switches()
            time.sleep(0.3)
            return switches() == before

        assert wait_until(is_quiet, 10.0), "something goes on waking up"


@needs_proc
@pytest.mark.parametrize("output", ["prefix", "capture"])
def test_an_exec_wakes_the_template_a_few_times(project: Project, output: Any) -> None:
    with project.open(output=output) as environment:
        template = environment.run(os.getppid)
        environment.run(childwork.double, 1)
        before = _switches(template)["template"]
        for _ in range(_EXECS):
            environment.run(childwork.double, 1)
        # Its sleep ends for the request, for the end of the child, and at times twice for one of them.
        assert _switches(template)["template"] - before <= 6 * _EXECS


def test_an_update_parses_what_was_edited(project: Project, scripts: Scripts) -> None:
    for number in range(20):
        project.write(f"part{number}.py", "import json\n")
    edited = project.package / "part3.py"
    finished = scripts.run(
        f"""
        import time
        from pathlib import Path
        from firehot import isolate_imports

        with isolate_imports({project.name!r}) as environment:
            # Files that have changed a moment ago are read again: a clock is waited for here, not a process.
            time.sleep(2.5)
            environment.update_environment()
            environment.update_environment()
            Path({str(edited)!r}).write_text("import json, os\\n")
            environment.update_environment()
        """,
        env={"PYTHONPATH": project.path, "FIREHOT_LOG_LEVEL": "debug"},
    )
    finished.ok()
    parsed = [int(count) for count in re.findall(r"scanned \d+ files, parsed (\d+)", finished.stderr)]
    assert parsed[0] == 21
    assert parsed[-2:] == [0, 1]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace counts the system calls")
def test_what_an_exec_asks_of_the_kernel(project: Project, scripts: Scripts) -> None:
    project.write("__init__.py", "import json\n")
    calls = _calls_of_execs(project, scripts)
    # What an exec leaves for later (a spare) may be done before the first mark or after the last.
    assert abs(calls["fork"] - _EXECS) <= 1, calls
    # The directory and the umask; the kernel tells of changed files, where it can.
    assert calls["files of the host"] <= _EXECS * (5 if _is_told_of_changes() else 100 + _installed()), calls
    # Two to wake the dispatcher; `fork`, `forked`, the call, the outcome, the end, and what a child learned.
    assert calls["frames"] <= _EXECS * 10, calls
    assert calls["bytes"] <= _EXECS * (2048 + _host_state_size()), calls


def _is_told_of_changes() -> bool:
    # Files on these are looked at each time.
    return " overlay " not in Path("/proc/self/mounts").read_text()


def _installed() -> int:
    return sum(1 for entry in sys.path for _ in Path(entry).glob("*-info"))


def _host_state_size() -> int:
    return sum(len(name) + len(value) + 16 for name, value in os.environ.items()) + sum(map(len, sys.path))


def _calls_of_execs(project: Project, scripts: Scripts) -> Counter[str]:
    """Of all processes of a script between the first and the last of `_EXECS` execs."""
    script = scripts.save(
        f"""
        import os
        from firehot import isolate_imports

        with isolate_imports({project.name!r}) as environment:
            for _ in range(3):
                environment.run(abs, -1)
            os.access("/firehot-counts-begin", os.F_OK)
            for _ in range({_EXECS}):
                environment.run(abs, -1)
            os.access("/firehot-counts-end", os.F_OK)
        """
    )
    trace = scripts.folder / "trace"
    traced = "trace=%file,fstat,sendmsg,sendto,write,fork,vfork,clone,clone3"
    command = ["strace", "-f", "-yy", "-e", traced, "-o", str(trace), sys.executable, str(script)]
    scripts.run_command(command, env={"PYTHONPATH": project.path}).ok()
    return _count(trace)


def _count(trace: Path) -> Counter[str]:
    """Between the two marks; a call that another process interrupts stands on two lines, the second with its result."""
    found: Counter[str] = Counter()
    host, counts = "", False
    for line in trace.read_text("utf-8", "replace").splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        pid, call, rest = match["pid"], match["call"] or match["end"], match["rest"]
        if "/firehot-counts-" in rest:
            host, counts = pid, "/firehot-counts-begin" in rest
        elif not counts:
            continue
        elif call in ("fork", "vfork", "clone", "clone3"):
            found["fork"] += "CLONE_THREAD" not in rest and match["start"] is not None
            # The end of a child interrupts a fork that has only begun; the kernel then starts it anew.
            found["fork"] -= "ERESTARTNOINTR" in rest
        elif call in ("sendmsg", "sendto", "write"):
            found["frames"] += "<UNIX" in rest
            # Its result stands on the line of its end.
            sent = re.search(r"\) += (\d+)", rest)
            found["bytes"] += int(sent[1]) if sent is not None else 0
        elif pid == host and match["start"] is not None:
            found["files of the host"] += 1
    return found


def _switches(template: int) -> Counter[str]:
    """How often the template and the host's threads have gone to sleep."""
    found: Counter[str] = Counter()
    for name, folder in [("template", Path(f"/proc/{template}")), *_threads()]:
        status = (folder / "status").read_text()
        found[name] += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found


def _threads() -> list[tuple[str, Path]]:
    tasks = [(task.read_text().strip(), task.parent) for task in Path("/proc/self/task").glob("*/comm")]
    return [(name, folder) for name, folder in tasks if name.startswith("firehot-")]
