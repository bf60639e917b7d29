"""`Executor.map`: the order, chunks, what is read ahead, time limits."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import childwork
import pytest
import taskwork
from support import wait_until

from firehot import Executor
from firehot.environment import Environment


@pytest.fixture
def executor(env: Environment) -> Iterator[Executor]:
    with Executor(env, max_workers=2) as made:
        yield made


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_map_keeps_the_order(executor: Executor, chunksize: int) -> None:
    assert list(executor.map(pow, range(10), range(20), chunksize=chunksize)) == [n**n for n in range(10)]


def test_a_chunk_runs_in_one_process(executor: Executor) -> None:
    pids = list(executor.map(taskwork.own_pid, range(7), chunksize=3))
    assert [len(set(pids[at : at + 3])) for at in (0, 3, 6)] == [1, 1, 1]
    assert len(set(pids)) == 3


def test_map_submits_before_it_is_iterated(executor: Executor, tmp_path: Path) -> None:
    results = executor.map(Path.touch, [tmp_path / "touched"])
    assert wait_until((tmp_path / "touched").exists)
    assert list(results) == [None]


@pytest.mark.parametrize("chunksize", [1, 2])
def test_map_reads_no_further_ahead_than_its_buffer(executor: Executor, chunksize: int) -> None:
    numbers = itertools.count()
    results = executor.map(childwork.double, numbers, buffersize=3, chunksize=chunksize)
    assert [next(results) for _ in range(2)] == [0, 2]
    # Three tasks ahead, and one for each that was taken.
    assert next(numbers) == (3 + 2 if chunksize == 1 else (3 + 1) * 2)


def test_a_buffer_larger_than_the_input_is_enough(executor: Executor) -> None:
    assert list(executor.map(abs, [-1, -2], buffersize=5)) == [1, 2]


def test_the_results_of_map_do_not_keep_an_executor(env: Environment) -> None:
    executor = Executor(env, max_workers=1)
    results = executor.map(abs, itertools.count(), buffersize=2)
    del executor
    assert list(results) == [0, 1]


def test_map_raises_what_a_task_raises(executor: Executor) -> None:
    results = executor.map(divmod, [4, 1, 4], [2, 0, 2])
    assert next(results) == (2, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_map_has_a_time_limit(executor: Executor, tmp_path: Path) -> None:
    go = tmp_path / "go"
    results = executor.map(childwork.wait_for, [str(go)], timeout=0.1)
    with pytest.raises(futures.TimeoutError):
        next(results)
    go.touch()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"chunksize": 0}, ValueError),
        ({"buffersize": 0}, ValueError),
        ({"buffersize": 1.5}, TypeError),
    ],
)
def test_map_refuses_what_makes_no_sense(executor: Executor, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        executor.map(abs, [1], **options)
