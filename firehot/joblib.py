"""`FirehotBackend`: runs `joblib.Parallel`, and what is built on it, on an `Executor`.

Needs joblib 1.3 or later, which does not come with firehot.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

from firehot.executor import Executor

__all__ = ["FirehotBackend"]


class FirehotBackend(AutoBatchingMixin, ParallelBackendBase):
    """Runs each batch of tasks in a process of its own.

    Without `n_jobs` there are as many at a time as the executor has workers, and never more. One job is run by joblib
    in the host itself. A batch that is running when another one fails is stopped.

    Example:
        >>> from firehot import Executor
        >>> from firehot.joblib import FirehotBackend
        >>> from joblib import Parallel, delayed, parallel_config
        >>> with Executor("json", max_workers=2) as executor, parallel_config(backend=FirehotBackend(executor)):
        ...     Parallel()(delayed(abs)(number) for number in range(-3, 0))
        [3, 2, 1]
    """

    default_n_jobs = -1
    supports_retrieve_callback = True
    supports_sharedmem = False
    uses_threads = False

    def __init__(self, executor: Executor, **options: Any) -> None:
        """Uses an executor, and leaves it open.

        Args:
            executor: Where tasks run.
            **options: What joblib gives to each backend.
        """
        super().__init__(**options)
        self.executor = executor
        self._futures: weakref.WeakSet[Future[Any]] = weakref.WeakSet()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many batches may run at a time; negative numbers count down from all workers.

        Raises:
            ValueError: `n_jobs` is 0.
        """
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        workers = self.executor._max_workers
        if n_jobs is None:
            return 1
        return max(workers + 1 + n_jobs, 1) if n_jobs < 0 else min(n_jobs, workers)

    def submit(self, func: Callable[[], Any], callback: Callable[[Future[Any]], object] | None = None) -> Future[Any]:
        """Runs a batch; the callback is told of its end."""
        future = self.executor.submit(func)
        self._futures.add(future)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit
    """Its name before joblib 1.5."""

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """What a batch has returned; raises what it has raised."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Stops the batches of this backend; the executor stays as it is."""
        for future in list(self._futures):
            self.executor.stop(future, 0.0)
