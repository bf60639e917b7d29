"""Workers, schedulers and watchers: threads that have to run in the child."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from safety.loopback import PATIENCE
from safety.recipe import recipes_of

recipe = recipes_of("web")


@recipe(
    "celery",
    "celery>=5.3,<6",
    modules=("celery", "celery.app.base", "celery.app.task", "celery.result", "celery.contrib.testing.worker"),
)
def celery_work() -> object:
    import celery
    from celery.contrib.testing.worker import start_worker

    application = celery.Celery("small", broker="memory://", backend="cache+memory://")

    @application.task(name="twice")
    def twice(number: int) -> int:
        return number * 2

    with start_worker(application, perform_ping_check=False, pool="solo", shutdown_timeout=PATIENCE):
        found = [twice.delay(number).get(timeout=PATIENCE) for number in range(4)]
    assert found == [0, 2, 4, 6]
    return found


@recipe("kombu", "kombu>=5.3,<6", modules=("kombu", "kombu.transport.memory"))
def kombu_work() -> object:
    import kombu

    found: list[object] = []
    with kombu.Connection("memory://") as connection, connection.SimpleQueue("small") as queue:
        for number in range(3):
            queue.put({"number": number}, serializer="json", compression="zlib")
        for _ in range(3):
            message = queue.get(timeout=PATIENCE)
            found.append(message.payload["number"])
            message.ack()
    assert found == [0, 1, 2]
    return found


@recipe(
    "apscheduler", "apscheduler>=3.10,<4", modules=("apscheduler.schedulers.background", "apscheduler.triggers.cron")
)
def apscheduler_work() -> object:
    from apscheduler.schedulers.background import BackgroundScheduler

    enough = threading.Semaphore(0)
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.add_job(enough.release, "interval", seconds=0.05)
    scheduler.start()
    seen = [enough.acquire(timeout=PATIENCE) for _ in range(3)]
    scheduler.shutdown()
    assert seen == [True] * 3
    return seen


@recipe("watchdog", "watchdog>=4,<8", modules=("watchdog.events", "watchdog.observers"))
def watchdog_work() -> object:
    from watchdog.events import FileSystemEvent, FileSystemEventHandler
    from watchdog.observers import Observer

    seen = threading.Event()

    class Handler(FileSystemEventHandler):
        def on_created(self, event: FileSystemEvent) -> None:
            if os.fspath(event.src_path).endswith("new"):  # type: ignore[arg-type]
                seen.set()

    with tempfile.TemporaryDirectory() as folder:
        observer = Observer()
        observer.schedule(Handler(), folder)
        observer.start()
        Path(folder, "new").write_text("x")
        found = seen.wait(PATIENCE)
        observer.stop()
        observer.join()
    assert found
    return found


@recipe("watchfiles", "watchfiles>=0.21,<2")
def watchfiles_work() -> object:
    import watchfiles

    with tempfile.TemporaryDirectory() as folder:
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.wait(0.05):
                number += 1
                Path(folder, "new").write_text(str(number))

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for changes in watchfiles.watch(folder, debounce=100, step=20, stop_event=stop):
                names = {os.path.basename(path) for _, path in changes}
                break
        finally:
            stop.set()
            thread.join()
    assert names == {"new"}
    return sorted(names)


@recipe("jurigged", "jurigged>=0.5,<1")
def jurigged_work() -> object:
    import importlib
    import sys

    import jurigged

    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder, "edited_live.py")
        module.write_text("def answer():\n    return 1\n")
        changed = threading.Event()
        watcher = jurigged.watch(folder, logger=lambda event: changed.set(), poll=0.05)
        sys.path.insert(0, folder)
        edited = importlib.import_module("edited_live")
        before = edited.answer()
        changed.clear()
        module.write_text("def answer():\n    return 42\n")
        for _ in range(int(PATIENCE / 0.1)):
            if edited.answer() == 42:
                break
            changed.wait(0.1)
        after = edited.answer()
        watcher.stop()
    assert (before, after) == (1, 42)
    return after


@recipe("loguru", "loguru>=0.7,<1")
def loguru_work() -> object:
    from loguru import logger

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        logger.remove()
        # A thread and a queue of multiprocessing.
        sink = logger.add(path, enqueue=True, format="{level} {message}", rotation="1 MB")
        threads = [threading.Thread(target=logger.info, args=(f"line {number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        logger.complete()
        logger.remove(sink)
        lines = sorted(path.read_text().splitlines())
    assert lines == [f"INFO line {number}" for number in range(4)]
    return lines


@recipe("rich", "rich>=13.7,<16", modules=("rich.console", "rich.progress", "rich.table"))
def rich_work() -> object:
    import io

    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    file = io.StringIO()
    console = Console(file=file, width=40, force_terminal=True)
    table = Table("a", "b")
    table.add_row("1", "[bold]2[/]")
    console.print(table)
    # It is drawn by a thread.
    with Progress(console=console, refresh_per_second=50) as progress:
        for _ in progress.track(range(20)):
            continue
    assert "100%" in file.getvalue() and "┃" in file.getvalue()
    return True


@recipe("tqdm", "tqdm>=4.66,<5", modules=("tqdm", "tqdm.contrib.concurrent"))
def tqdm_work() -> object:
    import io

    from tqdm import tqdm
    from tqdm.contrib.concurrent import process_map, thread_map

    file = io.StringIO()
    total = sum(tqdm(range(100), file=file, miniters=1, mininterval=0))
    squares = thread_map(abs, range(-5, 0), max_workers=2, file=file)
    # Processes, with a lock of multiprocessing.
    again = process_map(abs, range(-5, 0), max_workers=2, file=file, chunksize=1)
    assert total == 4950 and squares == again == [5, 4, 3, 2, 1] and "100%" in file.getvalue()
    return total
