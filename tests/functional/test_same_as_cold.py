"""A child is what a fresh Python process would be: environment, streams, randomness, threads, children of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import childwork
import pytest
from support import Project, Scripts, catch, is_alive, needs_proc, wait_until

from firehot import isolate_imports
from firehot.environment import Environment

CHILDWORK = {"PYTHONPATH": str(Path(__file__).parent)}


def test_exit_functions_run_files_are_flushed_and_threads_are_waited_for(env: Environment, tmp_path: Path) -> None:
    process = env.exec(childwork.leave_files_behind, str(tmp_path))
    assert process.result() == "returned"
    assert process.is_running(), "its thread still works"
    (tmp_path / "go").touch()
    assert process.wait() == 0
    assert (tmp_path / "thread").read_text() == "finished"
    assert (tmp_path / "exit-function").read_text() == "ran"
    assert (tmp_path / "open-file").read_text() == "buffered"


def test_exit_functions_run_after_an_exception_and_after_sys_exit(env: Environment, tmp_path: Path) -> None:
    def leave(path: str, how: BaseException) -> None:
        childwork.leave_a_file_at_exit(path)
        raise how

    for number, how in enumerate((ValueError("no"), SystemExit(3))):
        path = tmp_path / str(number)
        env.exec(leave, str(path), how).wait()
        assert path.read_text() == "ran"


def test_a_daemon_thread_does_not_keep_a_child(env: Environment) -> None:
    def start() -> None:
        threading.Thread(target=childwork.block, daemon=True).start()

    assert env.exec(start).wait(timeout=20) == 0


def test_temporary_folders_of_the_child_are_removed_at_its_end(env: Environment) -> None:
    def make() -> str:
        import tempfile

        folder = tempfile.TemporaryDirectory()
        childwork.KEPT.append(folder)
        return folder.name

    process = env.exec(make)
    path = Path(process.result())
    process.wait()
    assert not path.exists()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_works_inside(env: Environment, method: str) -> None:
    def multiply() -> list[int]:
        import multiprocessing

        with multiprocessing.get_context(method).Pool(2) as pool:
            return pool.map(childwork.double, [1, 2, 3])

    assert env.run(multiply) == [2, 4, 6]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_inside_runs_functions_of_the_script(
    scripts: Scripts, script_package: str, method: str
) -> None:
    finished = scripts.run(
        f"""
        import multiprocessing
        from firehot import isolate_imports

        def double(value):
            return value * 2

        def multiply():
            with multiprocessing.get_context({method!r}).Pool(2) as pool:
                return pool.map(double, [1, 2, 3])

        if __name__ == "__main__":
            with isolate_imports("my_package") as environment:
                print(environment.run(multiply))
        """
    )
    assert finished.ok().strip() == "[2, 4, 6]"


def test_a_process_pool_works_inside(env: Environment) -> None:
    def multiply() -> list[int]:
        from concurrent.futures import ProcessPoolExecutor

        with ProcessPoolExecutor(2) as pool:
            return list(pool.map(childwork.double, [1, 2, 3]))

    assert env.run(multiply) == [2, 4, 6]


def test_threads_asyncio_and_subprocess_work_inside(env: Environment) -> None:
    def thread() -> list[int]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(childwork.double, range(10)))

    def loop() -> str:
        async def main() -> str:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "print('inner')", stdout=subprocess.PIPE
            )
            out, _ = await process.communicate()
            return out.decode().strip()

        return asyncio.run(main())

    def shell() -> str:
        return subprocess.run(["echo", "shell"], capture_output=True, text=True).stdout.strip()

    assert env.run(thread) == [childwork.double(number) for number in range(10)]
    assert env.run(loop) == "inner"
    assert env.run(shell) == "shell"


def test_the_hosts_state_at_the_moment_of_exec_counts(
    env: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def look() -> dict[str, Any]:
        mask = os.umask(0)
        os.umask(mask)
        return {
            "environ": dict(os.environ),
            "cwd": os.getcwd(),
            "argv": sys.argv,
            "path": sys.path,
            "umask": mask,
        }

    monkeypatch.setenv("FIREHOT_SEEN", "now")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", "--option"])
    monkeypatch.syspath_prepend(str(tmp_path))
    mask = os.umask(0o027)
    try:
        seen, here = env.run(look), look()
    finally:
        os.umask(mask)
    assert seen == here
    assert seen["umask"] == 0o027


def test_a_native_library_sees_the_environment_too(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREHOT_SEEN", "native")

    def native() -> str | None:
        import ctypes

        getenv = ctypes.CDLL(None).getenv
        getenv.restype = ctypes.c_char_p
        return getenv(b"FIREHOT_SEEN").decode()

    assert env.run(native) == "native"


def test_the_time_zone_is_the_hosts(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    assert env.run(lambda: time.strftime("%z", time.localtime(0))) in ("-1000", "-1040", "+1400")
    monkeypatch.setenv("TZ", "UTC0")
    assert env.run(lambda: time.localtime(0).tm_hour) == 0


def test_signal_handlers_are_those_of_a_fresh_python(env: Environment, scripts: Scripts) -> None:
    code = "import childwork, json; print(json.dumps(childwork.handlers()))"
    cold = scripts.run_command([sys.executable, "-c", code], env=CHILDWORK).ok()
    handlers = env.run(childwork.handlers)
    assert {str(number): handler for number, handler in handlers.items()} == json.loads(cold)


def test_no_signal_is_blocked(env: Environment) -> None:
    assert env.run(signal.pthread_sigmask, signal.SIG_BLOCK, []) == set()


def test_a_signal_that_the_host_ignores_is_ignored(env: Environment) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert env.run(signal.getsignal, signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert env.run(signal.getsignal, signal.SIGHUP) == before


def test_a_handler_of_the_host_does_not_run_in_children(env: Environment) -> None:
    seen = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(os.getpid()))
    try:
        error = env.exec(childwork.kill_self, int(signal.SIGUSR1)).exception()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert "SIGUSR1" in str(error) and not seen


@needs_proc
def test_stdin_is_empty(env: Environment) -> None:
    assert env.run(lambda: (sys.stdin.read(), os.readlink("/proc/self/fd/0"))) == ("", "/dev/null")
    assert isinstance(catch(lambda: env.run(lambda: input())).__cause__, EOFError)


def test_a_child_is_in_the_hosts_process_group(env: Environment) -> None:
    assert env.run(os.getpgrp) == os.getpgrp()
    assert env.run(os.getsid, 0) == os.getsid(0)


@needs_proc
def test_programs_started_by_a_child_inherit_what_those_of_the_host_inherit(
    env: Environment,
) -> None:
    def listing() -> list[str]:
        command = ["ls", "/proc/self/fd"]
        run = subprocess.run(command, capture_output=True, text=True, close_fds=False)
        return run.stdout.split()

    assert env.run(listing) == listing()


def test_the_next_descriptor_is_that_of_a_fresh_python(env: Environment) -> None:
    command = [sys.executable, "-c", "import os; print(os.dup(0))"]
    cold = subprocess.run(command, capture_output=True, text=True, close_fds=False, stdin=subprocess.DEVNULL)
    assert env.run(os.dup, 0) == int(cold.stdout)


def test_first_party_modules_are_not_in_a_fresh_child(project: Project) -> None:
    project.write("app.py", "import json\nfrom . import part\n")
    project.write("part.py", f"import {project.name}.app\n")

    def loaded() -> list[str]:
        return list(sys.modules)

    with project.open() as environment:
        names = environment.run(loaded)
    assert "json" in names
    assert not [name for name in names if name.startswith(project.name)]


def test_cloudpickle_is_not_loaded_unless_a_function_travels_by_value(project: Project) -> None:
    with project.open() as environment:
        loaded = environment.run(childwork.loaded_modules)
        assert "cloudpickle" not in loaded and "firehot._core" not in loaded
        assert environment.run(lambda: "cloudpickle" in sys.modules) is True


def test_a_module_of_the_project_that_hides_one_of_the_standard_library_counts(
    scripts: Scripts, script_package: str
) -> None:
    scripts.save("OWN = True\n", "json.py")
    scripts.save("import json\n\ndef look():\n    return json.OWN\n", "my_package/looking.py")
    finished = scripts.run(
        """
        from firehot import isolate_imports
        from my_package import looking

        with isolate_imports("my_package") as environment:
            print(looking.look(), environment.run(looking.look))
        """
    )
    assert finished.ok() == "True True\n"


def test_main_knows_the_script_but_does_not_run_it(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        import sys
        from firehot import isolate_imports
        print("started", flush=True)

        def look():
            main = sys.modules["__main__"]
            return main.__name__, main.__file__ == sys.argv[0]

        with isolate_imports("my_package") as environment:
            print(environment.run(look))
        """
    )
    assert finished.ok() == "started\n('__main__', True)\n"


def test_a_daemonised_grandchild_survives_the_end_of_everything(project: Project) -> None:
    grandchild = 0
    try:
        with project.open() as environment:
            grandchild = environment.run(childwork.daemonise)
        assert is_alive(grandchild)
    finally:
        os.kill(grandchild, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(grandchild))


def test_a_breakpoint_works_with_inherited_streams(scripts: Scripts, script_package: str) -> None:
    path = scripts.save(
        """
        from firehot import isolate_imports

        def look():
            value = 41
            breakpoint()
            return value

        with isolate_imports("my_package", output="inherit") as environment:
            print("result", environment.run(look))
        """
    )
    finished = scripts.run_command([sys.executable, str(path)], text="p value + 1\nc\n")
    assert "(Pdb) 42" in finished.ok()
    assert "result 41" in finished.stdout


def test_an_environment_may_be_opened_inside_a_child(project: Project) -> None:
    name = project.name

    def inner() -> int:
        with isolate_imports(name) as environment:
            return environment.run(abs, -5)

    with project.open() as environment:
        assert environment.run(inner) == 5


def test_warnings_are_errors_where_the_host_has_them(scripts: Scripts, script_package: str) -> None:
    path = scripts.save(
        """
        import warnings
        from firehot import isolate_imports

        with isolate_imports("my_package") as environment:
            error = environment.exec(lambda: warnings.warn("careful")).exception()
            print(type(error.__cause__).__name__)
        """
    )
    finished = scripts.run_command([sys.executable, "-W", "error", str(path)], env=CHILDWORK)
    assert finished.ok() == "UserWarning\n"


def test_a_folder_that_an_import_puts_on_the_path_hides_nothing_that_was_loaded_before(project: Project) -> None:
    project.dependency("dep_copied/__init__.py")
    project.dependency("dep_bundle/__init__.py", "import sys\nsys.path.insert(0, __path__[0] + '/copies')\n")
    project.dependency("dep_bundle/copies/dep_copied/__init__.py")
    project.write("app.py", "import dep_copied\nimport dep_bundle\n")
    with project.open() as environment:
        names = environment.run(childwork.loaded_modules)
        assert "dep_copied" in names and "dep_bundle" in names


def test_a_host_whose_output_is_not_buffered_has_children_like_it(scripts: Scripts, script_package: str) -> None:
    script = scripts.save(f"""
        import sys
        from firehot import isolate_imports

        def look():
            return sys.stdout.write_through

        if __name__ == "__main__":
            with isolate_imports({script_package!r}) as environment:
                print(environment.run(look))
    """)
    for options, expected in ([], "False\n"), (["-u"], "True\n"):
        ended = scripts.run_command([sys.executable, *options, str(script)], env={"PYTHONUNBUFFERED": ""})
        assert ended.ok() == expected


def test_processes_that_a_child_spawns_look_for_modules_where_the_child_is(project: Project, tmp_path: Path) -> None:
    project.write("__init__.py", "import multiprocessing.process\n")

    def look() -> str:
        import multiprocessing.process

        return str(vars(multiprocessing.process)["ORIGINAL_DIR"])

    with project.open() as environment:
        assert environment.exec(look, cwd=tmp_path).result() == str(tmp_path)
