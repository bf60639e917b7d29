"""How a watch is waited for, and how it ends: threads, asyncio, Ctrl-C, limits. Nothing is left of it."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import select
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import DEADLINE, PROC, Project, Scripts, interrupt, needs_proc, open_descriptors, read_line, wait_until

import firehot
from firehot import ChangeSet, EnvironmentClosedError, FirehotError
from firehot.environment import Environment


def threads() -> list[str]:
    return sorted(task.read_text().strip() for task in (PROC / "self" / "task").glob("*/comm"))


# -- the end -------------------------------------------------------------------------------------


def test_it_ends_when_the_environment_closes(project: Project) -> None:
    with project.open() as environment:
        watch = environment.watch()
        other = environment.watch()
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(list, watch)
            project.write("one.py", "")
            assert other.wait(DEADLINE) is not None
            environment.close()
            assert len(waiting.result(DEADLINE)) <= 1
        assert list(other) == []
        assert other.wait(0) is None
        with pytest.raises(EnvironmentClosedError):
            environment.watch()


def test_it_ends_when_it_is_closed_from_another_thread(env: Environment) -> None:
    watch = env.watch()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(list, watch) for _ in range(2)]
        watch.close()
        assert [each.result(DEADLINE) for each in waiting] == [[], []]
    watch.close()


@needs_proc
def test_no_thread_and_no_descriptor_is_left(project: Project) -> None:
    before = threads(), open_descriptors()
    with project.open() as environment:
        for _ in range(3):
            with environment.watch() as watch:
                project.write("one.py", str(os.urandom(4)))
                assert watch.wait(DEADLINE)
        assert "firehot-watch" in threads()
        environment.close()
        # The system takes a thread's name off the list a moment after its end.
        assert wait_until(lambda: (threads(), open_descriptors()) == before)


def test_one_watcher_serves_all_watches_of_an_environment(env: Environment) -> None:
    env.watch()
    count = len(threads()), len(open_descriptors())
    watches = [env.watch() for _ in range(20)]
    assert (len(threads()), len(open_descriptors())) == count
    assert len(watches) == 20


def test_a_watch_that_nobody_holds_hurts_nobody(project: Project, env: Environment) -> None:
    kept = env.watch()
    env.watch()
    gc.collect()
    project.write("one.py", "")
    assert kept.wait(DEADLINE)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_copy_of_the_host_says_so(env: Environment) -> None:
    watch = env.watch()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        text = ""
        for call in (watch.wait, env.watch):
            try:
                call()
            except FirehotError as error:
                text += str(error)
        watch.close()
        os.write(writing, text.encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    assert said.count(f"belongs to process {os.getpid()}") == 2
    # The copy's end was not this one's.
    with pytest.raises(TimeoutError):
        watch.wait(0.1)


def test_names_are_loaded_when_they_are_used(scripts: Scripts) -> None:
    text = "import sys, firehot; assert 'firehot.watch' not in sys.modules; print(firehot.Watch, firehot.ChangeSet)"
    assert "Watch" in scripts.run_command([sys.executable, "-c", text]).ok()
    assert {"Watch", "ChangeSet"} <= set(dir(firehot))


# -- waiting -------------------------------------------------------------------------------------


def test_another_thread_runs_during_a_wait(project: Project, env: Environment) -> None:
    with env.watch() as watch:
        threading.Timer(0.05, lambda: project.write("one.py", "")).start()
        changes = watch.wait(DEADLINE)
    assert changes is not None and len(changes) == 1


def test_a_wait_that_is_over_says_so(env: Environment) -> None:
    with env.watch() as watch:
        for seconds in (0.0, 0.05):
            with pytest.raises(TimeoutError, match="nothing has changed"):
                watch.wait(seconds)
        with pytest.raises(ValueError):
            watch.wait(float("nan"))


@pytest.mark.parametrize(
    "wait",
    ["next(watch)", "watch.wait()", "asyncio.run(awaited(watch))"],
)
def test_ctrl_c_ends_a_wait(scripts: Scripts, script_package: str, nothing_is_left: str, wait: str) -> None:
    with scripts.start(
        f"""
        import asyncio
        from firehot import isolate_imports

        async def awaited(watch):
            print("waits", flush=True)
            async for changes in watch:
                pass

        with isolate_imports("my_package") as environment, environment.watch() as watch:
            try:
                if "await" not in {wait!r}:
                    print("waits", flush=True)
                {wait}
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        """
    ) as process:
        assert read_line(process) == "waits"
        interrupt(process)
        assert process.communicate(timeout=10) == ("interrupted\n", "")
        assert process.returncode == 0


def test_a_handler_of_the_host_runs_during_a_wait(project: Project, env: Environment) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: project.write("one.py", ""))
    try:
        with env.watch() as watch:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            assert watch.wait(DEADLINE)
    finally:
        signal.signal(signal.SIGUSR1, before)


# -- asyncio -------------------------------------------------------------------------------------


def test_it_can_be_iterated_from_asyncio(project: Project, env: Environment) -> None:
    async def main() -> list[int]:
        seen = []
        with env.watch() as watch:
            project.write("0.py", "")
            async for changes in watch:
                seen.append(len(changes.added))
                if len(seen) == 3:
                    watch.close()
                else:
                    project.write(f"{len(seen)}.py", "")
        return seen

    assert asyncio.run(main()) == [1, 1, 1]


def test_the_loop_runs_and_a_cancelled_wait_loses_nothing(project: Project, env: Environment) -> None:
    async def main() -> ChangeSet:
        watch = env.watch()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(watch.__anext__(), 0.05)
        task = asyncio.ensure_future(watch.__anext__())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await watch.__anext__()
        asyncio.get_running_loop().call_soon(project.write, "one.py", "")
        changes = await task
        watch.close()
        return changes

    assert len(asyncio.run(main()).added) == 1


def test_several_tasks_with_a_watch_each(project: Project, env: Environment) -> None:
    async def main() -> list[int]:
        async def one() -> int:
            with env.watch() as watch:
                async for changes in watch:
                    return len(changes)
            return 0

        tasks = [asyncio.ensure_future(one()) for _ in range(5)]
        await asyncio.sleep(0)
        project.write("one.py", "")
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [1] * 5


def test_closing_the_environment_ends_the_async_loop(project: Project) -> None:
    async def main() -> str:
        with project.open() as environment:

            async def follow() -> str:
                async for _ in environment.watch():
                    pass
                return "ended"

            task = asyncio.ensure_future(follow())
            await asyncio.sleep(0)
            environment.close()
            return await task

    assert asyncio.run(main()) == "ended"


def test_a_loop_that_was_closed_hurts_nobody(project: Project, env: Environment) -> None:
    watch = env.watch()

    async def main() -> None:
        task = asyncio.ensure_future(watch.__anext__())
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(main())
    project.write("one.py", "")
    assert watch.wait(DEADLINE)


def test_it_works_under_uvloop(scripts: Scripts, script_package: str) -> None:
    pytest.importorskip("uvloop")
    finished = scripts.run(
        """
        from pathlib import Path
        import uvloop
        from firehot import isolate_imports

        async def main():
            with isolate_imports("my_package") as environment, environment.watch() as watch:
                Path("my_package/new.py").touch()
                async for changes in watch:
                    return len(changes)

        print(uvloop.run(main()))
        """
    )
    assert finished.ok() == "1\n"


# -- the guide -----------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["follow()", "asyncio.run(follow_in_asyncio())"])
def test_the_loops_of_the_guide_run_until_ctrl_c(
    scripts: Scripts, script_package: str, nothing_is_left: str, call: str
) -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs/guide.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    name = call.removeprefix("asyncio.run(").rstrip("()")
    (loop,) = [block for block in blocks if f"def {name}()" in block]
    work = "import asyncio\nfrom firehot import isolate_imports\ndef work(value):\n    return value\n"
    script = f"{work}{loop}\ntry:\n    {call}\nexcept KeyboardInterrupt:\n    pass\n"
    # It prints into a pipe, whose buffer takes 128 KB from 3.14 on.
    with scripts.start(script, env={"PYTHONUNBUFFERED": "1"}) as process:
        assert process.stdout is not None
        file = scripts.folder / script_package / "app.py"
        # It does not say when it has begun to watch.
        while not select.select([process.stdout], [], [], 0.2)[0]:
            assert process.poll() is None
            os.utime(file)
        assert read_line(process).startswith("changed: ")
        interrupt(process)
        _, stderr = process.communicate(timeout=20)
        assert process.returncode == 0, stderr


def test_a_host_without_standard_streams_can_watch(scripts: Scripts, script_package: str, tmp_path: Path) -> None:
    result = tmp_path / "result"
    scripts.run(
        f"""
        import os
        for fd in (0, 1, 2):
            os.close(fd)
        from pathlib import Path
        from firehot import isolate_imports
        with isolate_imports("my_package", output="capture") as environment, environment.watch() as watch:
            Path("my_package/new.py").touch()
            added = watch.wait(30).added
            process = environment.exec(print, "hello")
            process.wait()
            Path({str(result)!r}).write_text(str(len(added)) + process.output)
        """
    )
    assert result.read_text() == "1hello\n"
