"""What takes an executor takes ours: asyncio, joblib, dask."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import childwork
import pytest
import taskwork
from support import Project

from firehot import Executor, TaskExited


@pytest.fixture(params=[()])
def executor(project: Project, request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Of a project that imports what the parameter names."""
    for name in request.param:
        pytest.importorskip(name)
    with project.open(preload=request.param) as environment, Executor(environment, max_workers=2) as made:
        yield made


over_joblib = pytest.mark.parametrize("executor", [("joblib",)], indirect=True)
over_dask = pytest.mark.parametrize("executor", [("dask", "dask.delayed", "dask.local")], indirect=True)


# -- asyncio -------------------------------------------------------------------------------------


def test_run_in_executor_of_asyncio(executor: Executor) -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        tasks = [loop.run_in_executor(executor, childwork.double, number) for number in range(4)]
        failing = loop.run_in_executor(executor, childwork.raise_it, KeyError("missing"))
        return await asyncio.gather(*tasks, failing, return_exceptions=True)

    *doubled, error = asyncio.run(main())
    assert doubled == [0, 2, 4, 6]
    assert type(error) is KeyError and "in raise_it" in str(error.__cause__)


def test_a_task_can_be_stopped_from_asyncio(executor: Executor) -> None:
    async def main() -> None:
        task = executor.submit(childwork.block)
        try:
            await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(task)), 0.1)
        except asyncio.TimeoutError:
            executor.stop(task)
        await asyncio.wrap_future(task)

    with pytest.raises((TaskExited, asyncio.CancelledError)):
        asyncio.run(main())


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio takes any executor, with a warning")
def test_asyncio_takes_nothing_but_threads_as_its_default_executor(executor: Executor) -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(executor)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match="ThreadPoolExecutor"):
        asyncio.run(main())


# -- joblib --------------------------------------------------------------------------------------


@over_joblib
def test_joblib_runs_on_an_executor(executor: Executor) -> None:
    import joblib

    from firehot.joblib import FirehotBackend

    with joblib.parallel_config(backend=FirehotBackend(executor)):
        calls = [joblib.delayed(pow)(number, 2) for number in range(20)]
        assert joblib.Parallel()(calls) == [number**2 for number in range(20)]
        assert joblib.Parallel(n_jobs=2, batch_size=5)(calls) == [number**2 for number in range(20)]
        generated = joblib.Parallel(return_as="generator")(calls)
        assert list(generated) == [number**2 for number in range(20)]
        pids = joblib.Parallel(batch_size=1)(joblib.delayed(os.getpid)() for _ in range(4))
    assert len({*pids, os.getpid()}) == 5


@over_joblib
def test_joblib_counts_the_workers_of_an_executor(executor: Executor) -> None:
    import joblib

    from firehot.joblib import FirehotBackend

    with joblib.parallel_config(backend=FirehotBackend(executor)):
        assert [joblib.effective_n_jobs(count) for count in (-1, -2, -9, 1, 2, 64)] == [2, 1, 1, 1, 2, 2]
        with pytest.raises(ValueError, match="n_jobs == 0"):
            joblib.effective_n_jobs(0)


@over_joblib
def test_joblib_stops_the_others_when_a_task_fails(executor: Executor, tmp_path: Path) -> None:
    import joblib

    from firehot.joblib import FirehotBackend

    def fail() -> None:
        childwork.wait_for(str(tmp_path / "ready"))
        raise KeyError("missing")

    calls = [joblib.delayed(childwork.announce_and_block)(str(tmp_path / "ready")), joblib.delayed(fail)()]
    with joblib.parallel_config(backend=FirehotBackend(executor)):
        with pytest.raises(KeyError, match="missing"):
            joblib.Parallel(batch_size=1)(calls)
        assert joblib.Parallel()([joblib.delayed(abs)(-1)] * 3) == [1, 1, 1]


@over_joblib
def test_joblib_is_told_of_a_task_whose_process_died(executor: Executor) -> None:
    import joblib

    from firehot.joblib import FirehotBackend

    with joblib.parallel_config(backend=FirehotBackend(executor)), pytest.raises(TaskExited):
        joblib.Parallel(batch_size=1)(joblib.delayed(os._exit)(3) for _ in range(2))


@over_joblib
def test_joblib_within_a_task_stays_in_its_process(executor: Executor) -> None:
    import joblib

    from firehot.joblib import FirehotBackend

    def outer() -> tuple[int, set[int]]:
        return os.getpid(), set(joblib.Parallel(n_jobs=2)(joblib.delayed(taskwork.own_pid)() for _ in range(2)))

    with joblib.parallel_config(backend=FirehotBackend(executor)):
        for pid, inner in joblib.Parallel()(joblib.delayed(outer)() for _ in range(2)):
            assert inner == {pid}


# -- dask ----------------------------------------------------------------------------------------


@over_dask
def test_dask_computes_on_an_executor(executor: Executor) -> None:
    import dask

    doubled = [dask.delayed(childwork.double)(number) for number in range(5)]
    total = dask.delayed(sum)(doubled)
    assert total.compute(scheduler=executor) == 20
    with dask.config.set(scheduler=executor):
        assert dask.compute(*doubled) == (0, 2, 4, 6, 8)
        assert dask.delayed(os.getpid)().compute() != os.getpid()


@over_dask
def test_dask_raises_what_a_task_raises(executor: Executor) -> None:
    import dask

    with pytest.raises(KeyError, match="missing"):
        dask.delayed(childwork.raise_it)(KeyError("missing")).compute(scheduler=executor)
    with pytest.raises(TaskExited, match="code 3"):
        dask.delayed(os._exit)(3).compute(scheduler=executor)
