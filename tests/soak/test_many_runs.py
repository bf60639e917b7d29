"""Ten thousand runs, and five hundred at once: host and template are afterwards what they were before."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

import pytest
import soakwork
from conftest import Measure
from scale import times
from support import PROC, Project, Scripts, needs_proc, wait_until, zombies_of

from firehot.environment import Environment

MEBIBYTE = 1 << 20
# Allocators keep what they were given once; what grows with each run would be far above this after 10,000 of them.
ALLOWED_GROWTH = 4 * MEBIBYTE


@dataclass(frozen=True)
class Holding:
    """What a process holds."""

    descriptors: int
    threads: int
    memory: int
    zombies: int

    @classmethod
    def of(cls, pid: int) -> Holding:
        status = (PROC / str(pid) / "status").read_text("utf-8", "replace")
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return cls(
            descriptors=len(os.listdir(PROC / str(pid) / "fd")),
            threads=int(fields["Threads"]),
            # What it has written to: pages of files come and go.
            memory=int(fields["RssAnon"].split()[0]) * 1024,
            zombies=len(zombies_of(pid)),
        )


def at_rest(template: int) -> tuple[Holding, Holding]:
    """Host and template; the descriptors of a child are closed in the moment that its end is told."""
    still = Holding.of(os.getpid())
    wait_until(lambda: Holding.of(os.getpid()).descriptors < still.descriptors, 0.2)
    return Holding.of(os.getpid()), Holding.of(template)


def growth(before: Holding, after: Holding) -> str:
    return (
        f"{after.descriptors - before.descriptors:+} descriptors, {after.threads - before.threads:+} threads, "
        f"{after.zombies:+} zombies, {(after.memory - before.memory) / 1024:+,.0f} KiB"
    )


def assert_no_growth(before: Holding, after: Holding) -> None:
    assert after.zombies == 0
    assert after.descriptors == before.descriptors
    assert after.threads == before.threads
    assert after.memory - before.memory < ALLOWED_GROWTH


@needs_proc
@pytest.mark.parametrize("output", ["prefix", "capture"])
def test_ten_thousand_runs_add_nothing_to_host_and_template(project: Project, measure: Measure, output: str) -> None:
    count = times(10_000) // 2
    with project.open(output=output, learn=False) as env:
        template = env.run(os.getppid)

        def run(number: int) -> None:
            process = env.exec(soakwork.double, number)
            assert process.result() == 2 * number
            process.wait()

        # Until both have allocated what they reuse.
        for number in range(max(20, count // 20)):
            run(number)
        before = at_rest(template)
        with measure(f"runs, one after the other ({output})", count) as outcome:
            for number in range(count):
                run(number)
            after = at_rest(template)
            outcome += [f"host {growth(before[0], after[0])}", f"template {growth(before[1], after[1])}"]
        assert env.run(os.getppid) == template
        assert_no_growth(before[0], after[0])
        assert_no_growth(before[1], after[1])


@needs_proc
def test_five_hundred_run_at_once(project: Project, tmp_path: Path, measure: Measure) -> None:
    with project.open(learn=False) as env:
        run_at_once(env, tmp_path, measure)


def run_at_once(env: Environment, tmp_path: Path, measure: Measure) -> None:
    count = times(500, least=40)
    running = tmp_path / "running"
    running.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Three descriptors for each child that runs.
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, 4096), hard))
    try:
        first = env.exec(os.getppid)
        template = first.result()
        first.wait()
        before = at_rest(template)
        with measure("runs, all at once", count) as outcome:
            go = tmp_path / "go"
            processes = [
                env.exec(soakwork.announce_and_wait_for, str(running), str(go), number) for number in range(count)
            ]
            assert wait_until(lambda: len(os.listdir(running)) == count, 120)
            go.touch()
            assert [process.result() for process in processes] == list(range(count))
            assert [process.wait() for process in processes] == [0] * count
            after = at_rest(template)
            outcome += [f"host {growth(before[0], after[0])}", f"template {growth(before[1], after[1])}"]
        for then, now in zip(before, after, strict=True):
            assert (now.descriptors, now.threads, now.zombies) == (then.descriptors, then.threads, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@needs_proc
def test_more_at_once_than_there_are_descriptors_is_an_error_and_the_others_go_on(
    scripts: Scripts, script_package: str
) -> None:
    finished = scripts.run(
        """
        import os, resource
        import soakwork
        from firehot import isolate_imports

        resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
        with isolate_imports("my_package") as environment:
            processes = []
            try:
                while True:
                    processes.append(environment.exec(soakwork.wait_for, "go", len(processes)))
            except OSError as error:
                print(type(error).__name__, error)
            assert len(processes) > 20
            open("go", "w").close()
            assert [process.result() for process in processes] == list(range(len(processes)))
            for process in processes:
                process.wait()
            print(environment.run(soakwork.double, 3))
        """,
        env={"PYTHONPATH": str(Path(__file__).parent)},
    )
    said, value = finished.ok().splitlines()
    assert said.startswith("OSError") and "Too many open files" in said
    assert value == "6"
