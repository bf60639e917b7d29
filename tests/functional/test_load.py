"""Large values and many calls."""

from __future__ import annotations

import os

import childwork
import pytest
from support import Project, needs_proc, open_descriptors

from firehot.environment import Environment

SIZE = 200 << 20


def test_a_result_of_two_hundred_megabytes_arrives(env: Environment) -> None:
    result = env.run(bytes, SIZE)
    assert len(result) == SIZE and result.count(0) == SIZE


def test_an_argument_of_two_hundred_megabytes_arrives(env: Environment) -> None:
    assert env.run(len, bytes(SIZE)) == SIZE


def test_a_large_result_does_not_hold_up_another_child(env: Environment) -> None:
    large = env.exec(bytes, 50 << 20)
    assert env.run(childwork.double, 2) == 4
    assert len(large.result()) == 50 << 20


def test_a_burst_of_a_hundred_calls_is_answered(env: Environment) -> None:
    processes = [env.exec(abs, -number) for number in range(100)]
    assert len({process.pid for process in processes}) == 100
    assert [process.result() for process in processes] == list(range(100))


def test_environments_can_be_opened_one_after_the_other(project: Project) -> None:
    for number in range(5):
        with project.open() as environment:
            assert environment.run(childwork.double, number) == 2 * number


@needs_proc
@pytest.mark.heavy
@pytest.mark.timeout(1800)
def test_ten_thousand_runs_leave_no_descriptor(env: Environment) -> None:
    def held_by_parent() -> int:
        return len(os.listdir(f"/proc/{os.getppid()}/fd"))

    first = env.exec(held_by_parent)
    held = first.result()
    first.wait()
    before = open_descriptors()
    for number in range(10_000):
        process = env.exec(abs, -number)
        assert process.result() == number
        process.wait()
    assert set(open_descriptors()) == set(before)
    assert env.run(held_by_parent) == held
