"""Hosts of every kind: that fork, run threads, end without a word, ignore SIGCHLD, or run on uvloop or gevent."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Measure
from scale import times
from support import Scripts, children_of, marked_processes, needs_proc, read_line, wait_until

SOAKWORK = {"PYTHONPATH": str(Path(__file__).parent)}
# Since 3.12 Python warns of a fork in a process with threads.
FORKING = {**SOAKWORK, "PYTHONWARNINGS": "ignore::DeprecationWarning"}


# -- forks and threads -----------------------------------------------------------------------------


def test_a_host_that_forks_and_runs_threads_is_answered(
    scripts: Scripts, script_package: str, measure: Measure
) -> None:
    """Forked in any state of the engine's threads, a copy of the host ends in its own way, and nobody hangs."""
    count = times(200, least=6)
    with measure("forks of a host with four threads asking", count):
        finished = scripts.run(
            """
            import gc, os, sys, threading
            import soakwork
            from firehot import isolate_imports

            def ask(environment, stop):
                while not stop.is_set():
                    assert environment.run(soakwork.double, 4) == 8

            with isolate_imports("my_package") as environment:
                stop = threading.Event()
                threads = [threading.Thread(target=ask, args=(environment, stop)) for _ in range(4)]
                for thread in threads:
                    thread.start()
                for number in range(int(sys.argv[1])):
                    pid = os.fork()
                    if pid == 0:
                        environment.close()
                        del environment
                        gc.collect()
                        if number % 2:
                            os._exit(3)
                        sys.exit(3)
                    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
                stop.set()
                for thread in threads:
                    thread.join()
                print(environment.run(soakwork.double, 21))
            """,
            str(count),
            env=FORKING,
            timeout=1800,
        )
    assert finished.ok() == "42\n"
    assert not finished.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_in_the_host_works_beside_an_environment(
    scripts: Scripts, script_package: str, measure: Measure, method: str
) -> None:
    count = times(10, least=1)
    with measure("multiprocessing in the host: fork, spawn, forkserver", count):
        finished = scripts.run(
            """
            import multiprocessing, sys
            import soakwork
            from firehot import isolate_imports

            def main():
                context = multiprocessing.get_context(sys.argv[1])
                with isolate_imports("my_package") as environment:
                    for number in range(int(sys.argv[2])):
                        running = environment.exec(soakwork.block)
                        with context.Pool(2) as pool:
                            assert pool.map(soakwork.double, range(8)) == [2 * n for n in range(8)]
                            assert environment.run(soakwork.double, number) == 2 * number
                            assert running.is_running()
                        worker = context.Process(target=soakwork.work, args=(0.0,))
                        worker.start()
                        worker.join()
                        assert worker.exitcode == 0
                        assert running.stop() is True
                print("well")

            if __name__ == "__main__":
                main()
            """,
            method,
            str(count),
            env=FORKING,
            timeout=1800,
        )
    assert finished.ok() == "well\n"
    assert not finished.stderr


# -- ends ------------------------------------------------------------------------------------------

ENDS = {
    "os._exit": "os._exit(0)",
    "sys.exit": "sys.exit(0)",
    "the last line": "pass",
    "an exception": "raise LookupError",
    "a signal": "os.kill(os.getpid(), signal.SIGTERM)",
    "an abort": "os.abort()",
    "a thread that waits": "threading.Thread(target=environments[0].exec(soakwork.block).wait, daemon=True).start()",
    "an exec": "os.execv(sys.executable, [sys.executable, '-c', 'pass'])",
}


@needs_proc
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.replace(" ", "-"))
def test_a_host_may_end_with_environments_open(
    scripts: Scripts, script_package: str, measure: Measure, nothing_is_left: str, end: str
) -> None:
    count = times(5, least=1)
    with measure(f"hosts that end with environments open, in {len(ENDS)} ways", count):
        for _ in range(count):
            finished = scripts.run(
                f"""
                import os, signal, sys, threading
                import faulthandler
                import soakwork
                from firehot import isolate_imports

                managers = [isolate_imports("my_package") for _ in range(3)]
                environments = [manager.__enter__() for manager in managers]
                for environment in environments:
                    environment.exec(soakwork.block)
                    process = environment.exec(soakwork.double, 3)
                assert process.result() == 6
                {ENDS[end]}
                """,
                env=SOAKWORK,
            )
            codes = {"an exception": 1, "a signal": -15, "an abort": -6}
            assert finished.returncode == codes.get(end, 0), finished.stderr
            assert end == "an exception" or not finished.stderr
            assert wait_until(lambda: not marked_processes(nothing_is_left), 2)


def test_environments_nobody_closed_are_closed_when_they_are_collected(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        import gc
        import soakwork
        from firehot import isolate_imports

        processes = []
        for _ in range(5):
            manager = isolate_imports("my_package")
            environment = manager.__enter__()
            environment.run(soakwork.double, 1)
            del manager, environment
            gc.collect()
        print("well")
        """,
        env=SOAKWORK,
    )
    assert finished.ok() == "well\n"
    assert not finished.stderr


# -- signals ---------------------------------------------------------------------------------------


def test_a_host_that_ignores_sigchld_is_answered(scripts: Scripts, script_package: str, measure: Measure) -> None:
    """The system reaps in its place: nobody may wait for what is gone."""
    count = times(200, least=3)
    with measure("templates and children ended under an ignored SIGCHLD", count):
        finished = scripts.run(
            """
            import os, signal, sys
            import soakwork
            from firehot import ChildExited, isolate_imports

            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            for number in range(int(sys.argv[1])):
                with isolate_imports("my_package") as environment:
                    assert environment.exec(os._exit, 7).wait() == 7
                    waiting = environment.exec(soakwork.tell_template_and_block, "template")
                    os.kill(soakwork.told_template("template"), signal.SIGKILL)
                    assert isinstance(waiting.exception(20), ChildExited)
                    assert environment.run(soakwork.double, number) == 2 * number
                    stopped = environment.exec(soakwork.block)
                    assert stopped.stop() is True and stopped.exitcode == -signal.SIGTERM
            print("well")
            """,
            str(count),
            env=SOAKWORK,
            timeout=1800,
        )
    assert finished.ok() == "well\n"
    assert not finished.stderr


# -- event loops -----------------------------------------------------------------------------------


def test_a_host_on_uvloop_is_answered(scripts: Scripts, script_package: str, measure: Measure) -> None:
    pytest.importorskip("uvloop")
    count = times(500, least=20)
    with measure("runs awaited on uvloop", count):
        finished = scripts.run(
            """
            import asyncio, os, signal, sys
            import soakwork
            import uvloop
            from firehot import ChildExited, isolate_imports

            async def one(environment, number):
                return await environment.exec(soakwork.double, number)

            async def main(count):
                assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
                with isolate_imports("my_package") as environment:
                    for start in range(0, count, 10):
                        numbers = range(start, start + 10)
                        answers = await asyncio.gather(*(one(environment, number) for number in numbers))
                        assert answers == [2 * number for number in numbers]
                    # A program of the loop's own, beside the template: each reaps its own.
                    program = await asyncio.create_subprocess_exec(sys.executable, "-c", "raise SystemExit(5)")
                    assert await program.wait() == 5
                    waiting = environment.exec(soakwork.tell_template_and_block, "template")
                    os.kill(soakwork.told_template("template"), signal.SIGKILL)
                    try:
                        await waiting
                    except ChildExited:
                        pass
                    else:
                        raise AssertionError("not told")
                    assert await one(environment, 21) == 42
                print("well")

            uvloop.run(main(int(sys.argv[1])))
            """,
            str(count),
            env=SOAKWORK,
            timeout=1800,
        )
    assert finished.ok() == "well\n"
    assert not finished.stderr


GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()

import os, signal, sys
import gevent
import soakwork
from firehot import ChildExited, isolate_imports

def main(output, count):
    with isolate_imports("my_package", output=output) as environment:
        assert environment.run(soakwork.write_raw, b"seen\\n") is None
        answers = [gevent.spawn(environment.run, soakwork.double, number) for number in range(count)]
        gevent.joinall(answers)
        assert [answer.value for answer in answers] == [2 * number for number in range(count)]
        # The loop goes on while a thread of its own pool waits.
        pool = gevent.get_hub().threadpool
        process = environment.exec(soakwork.wait_for, "go")
        waiting = pool.spawn(process.result)
        gevent.sleep(0.01)
        open("go", "w").close()
        waiting.get(timeout=20)
        waiting = environment.exec(soakwork.tell_template_and_block, "template")
        os.kill(soakwork.told_template("template"), signal.SIGKILL)
        assert isinstance(waiting.exception(20), ChildExited)
        assert environment.run(soakwork.double, 21) == 42
        running = environment.exec(soakwork.block)
        assert running.stop() is True
    print("well")

main(sys.argv[1], int(sys.argv[2]))
"""


@pytest.mark.parametrize("output", ["prefix", "capture", "inherit"])
def test_a_host_patched_by_gevent_is_answered(
    scripts: Scripts, script_package: str, measure: Measure, output: str
) -> None:
    pytest.importorskip("gevent")
    count = times(200, least=10)
    with measure("runs of a host patched by gevent", count):
        finished = scripts.run(GEVENT, output, str(count), env=SOAKWORK, timeout=1800 if count > 100 else 30)
    assert finished.ok().splitlines()[-1] == "well"
    assert not finished.stderr


@needs_proc
def test_a_host_in_a_thread_leaves_no_process_when_it_is_killed(
    scripts: Scripts, script_package: str, nothing_is_left: str
) -> None:
    """The template dies with the process, not with the thread that has opened it."""
    with scripts.start(
        """
        import threading
        import soakwork
        from firehot import isolate_imports

        opened = []

        def open_one():
            manager = isolate_imports("my_package")
            environment = manager.__enter__()
            environment.exec(soakwork.block)
            opened.append((manager, environment))

        thread = threading.Thread(target=open_one)
        thread.start()
        thread.join()
        print(opened[0][1].run(soakwork.double, 2), flush=True)
        soakwork.block()
        """,
        env=SOAKWORK,
    ) as host:
        assert read_line(host) == "4"
        assert len(children_of(host.pid)) == 1
        host.kill()
        host.wait(timeout=20)
        assert wait_until(lambda: not marked_processes(nothing_is_left), 2)
