"""Thousands of tasks of an `Executor`; on busy processors; with processes killed at random: every future settles."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import soakwork
from conftest import Measure
from scale import times
from support import Project, children_of, needs_proc
from test_many_runs import assert_no_growth, at_rest, growth

from firehot import Executor, TaskExited
from firehot.environment import Environment

_WORKERS = 4


def run_all(executor: Executor, count: int) -> None:
    # Not all at once: what is queued takes memory, too.
    doubled = executor.map(soakwork.double, range(count), buffersize=2 * _WORKERS)
    assert all(found == 2 * number for number, found in enumerate(doubled))


@needs_proc
def test_thousands_of_tasks_add_nothing_to_host_and_template(project: Project, measure: Measure) -> None:
    count = times(10_000)
    with project.open(learn=False) as env, Executor(env, _WORKERS) as executor:
        template = executor.submit(os.getppid).result()
        # Until both have allocated what they reuse.
        run_all(executor, max(20, count // 20))
        before = at_rest(template)
        with measure(f"tasks of an executor, {_WORKERS} at a time", count) as outcome:
            run_all(executor, count)
            after = at_rest(template)
            outcome += [f"host {growth(before[0], after[0])}", f"template {growth(before[1], after[1])}"]
        assert executor.submit(os.getppid).result() == template
        assert_no_growth(before[0], after[0])
        assert_no_growth(before[1], after[1])


@contextmanager
def busy_processors() -> Iterator[None]:
    """Something to do for each of them, all the time."""
    code = "print(flush=True)\nwhile True: pass"
    command = [sys.executable, "-c", code]
    burners = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(os.cpu_count() or 1)]
    try:
        for burner in burners:
            assert burner.stdout is not None and burner.stdout.readline()
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.communicate()


def test_tasks_on_busy_processors_all_return(env: Environment, measure: Measure) -> None:
    count = times(2_000)
    with busy_processors(), Executor(env, _WORKERS) as executor, measure("tasks on busy processors", count):
        run_all(executor, count)


@needs_proc
def test_tasks_whose_processes_are_killed_at_random_all_settle(
    env: Environment, measure: Measure, moments: random.Random
) -> None:
    count = times(5_000)
    killed = 0
    with Executor(env, _WORKERS) as executor:
        template = executor.submit(os.getppid).result()
        with measure("tasks, processes killed at random", count) as outcome:
            waiting: set[Future[int]] = {executor.submit(soakwork.double, number) for number in range(count)}
            settled: set[Future[int]] = set()
            while waiting:
                done, waiting = futures.wait(waiting, moments.random() * 0.02, futures.FIRST_COMPLETED)
                settled |= done
                for pid in moments.sample(alive := children_of(template), min(1, len(alive))):
                    kill(pid)
                    killed += 1
            failed = [error for future in settled if (error := future.exception()) is not None]
            outcome.append(f"{killed} killed, spares among them; {len(failed)} tasks told so")
        assert len(settled) == count
        # A killed spare costs no task: its call is given to another process.
        assert all(isinstance(error, TaskExited) and error.signal == "SIGKILL" for error in failed), failed
        assert executor.submit(os.getppid).result() == template


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
