"""Large values and many calls."""

from __future__ import annotations

import childwork
from support import Project

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
