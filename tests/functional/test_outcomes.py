"""How a call can end: results, exceptions, exits, signals, and what of them arrives."""

from __future__ import annotations

import builtins
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import childwork
import pytest
from childwork import NeedsTwo, Point, Unpicklable
from support import Project, catch, children_of, is_alive, needs_proc, skipped, wait_until

from firehot import ChildError, ChildExited, ResultNotLoadable, ResultNotPicklable
from firehot.environment import Environment, IsolatedProcess


def ended(process: IsolatedProcess[Any]) -> ChildExited:
    """How a process ended, which has to be told within a second of its death."""
    error = process.exception(timeout=30)
    assert isinstance(error, ChildExited)
    return error


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"a": [1, 2.5, None], "b": ("x", {3})},
        "\ud800 lone surrogate",
        b"\xff\x00",
        Point(1, 2),
        2**200,
        ValueError("returned, not raised"),
        StopIteration(3),
    ],
    ids=repr,
)
def test_a_result_is_the_object(env: Environment, value: object) -> None:
    result = env.run(childwork.give, value)
    assert type(result) is type(value)
    assert repr(result) == repr(value)


def test_a_dict_comes_back_as_a_dict(env: Environment) -> None:
    assert env.run(dict, a=1) == {"a": 1}


def test_a_lambda_comes_back_when_one_went(env: Environment) -> None:
    assert env.run(lambda: lambda value: value + 1)(1) == 2


def test_an_exception_is_raised_with_the_original_as_its_cause(env: Environment) -> None:
    with pytest.raises(ChildError, match="KeyError: 'missing'") as caught:
        env.run(childwork.raise_it, KeyError("missing"))
    cause = caught.value.__cause__
    assert type(cause) is KeyError and cause.args == ("missing",)
    assert isinstance(caught.value, RuntimeError)
    text = "".join(traceback.format_exception(caught.value))
    assert '"""\nTraceback (most recent call last):' in text, "as concurrent.futures shows it"
    assert "childwork.py" in text and "in raise_it" in text
    assert "_child.py" not in text.split('"""')[1], "firehot's own frames are left out"


def test_an_exception_can_be_asked_for(env: Environment) -> None:
    process = env.exec(childwork.raise_it, ValueError("no"))
    error = process.exception()
    assert type(error) is ChildError
    assert process.exception() is error
    assert catch(process.result) is error
    assert process.wait() == 1, "as an uncaught exception ends Python"


def test_a_cause_in_the_child_is_shown(env: Environment) -> None:
    def fail() -> None:
        try:
            raise ValueError("first")
        except ValueError as error:
            raise LookupError("second") from error

    error = catch(lambda: env.run(fail))
    assert isinstance(error.__cause__, LookupError)
    text = "".join(traceback.format_exception(error))
    assert "ValueError: first" in text and "direct cause" in text


def test_an_exception_with_required_arguments_arrives(env: Environment) -> None:
    def fail() -> None:
        raise NeedsTwo(7, reason="so")

    error = catch(lambda: env.run(fail))
    assert isinstance(error, ChildError)
    assert "NeedsTwo: 7 because of so" in str(error)
    assert "NeedsTwo: 7 because of so" in "".join(traceback.format_exception(error))


def test_an_exception_that_can_not_be_pickled_arrives_as_text(env: Environment) -> None:
    def fail() -> None:
        raise Unpicklable("only text")

    error = catch(lambda: env.run(fail))
    assert type(error) is ChildError
    assert "Unpicklable: only text" in str(error)
    assert "Traceback" in str(error.__cause__) and "only text" in str(error.__cause__)


def test_an_exception_that_has_no_text_arrives(env: Environment) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def fail() -> None:
        raise Mute

    assert "Mute" in str(catch(lambda: env.run(fail)))


def test_a_keyboard_interrupt_raised_in_the_child_is_no_interrupt_of_the_host(
    env: Environment,
) -> None:
    process = env.exec(childwork.raise_it, KeyboardInterrupt())
    assert isinstance(process.exception(), ChildError)
    assert process.wait() == -signal.SIGINT, "as Python ends when nobody catches it"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are none")
def test_an_exception_group_arrives(env: Environment) -> None:
    group = builtins.ExceptionGroup("several", [ValueError("a"), TypeError("b")])
    cause = catch(lambda: env.run(childwork.raise_it, group)).__cause__
    assert isinstance(cause, builtins.ExceptionGroup)
    assert [str(error) for error in cause.exceptions] == ["a", "b"]


@pytest.mark.parametrize(("code", "status"), [(3, 3), (None, 0), (0, 0), (256 + 7, 7), (-1, 255), (True, 1)])
def test_sys_exit_is_told_with_its_code(env: Environment, code: Any, status: int) -> None:
    process = env.exec(sys.exit, code)
    error = ended(process)
    assert error.exitcode == process.exitcode == status
    assert error.signal is None
    assert f"exited with code {status}" in str(error)


def test_sys_exit_with_a_text_prints_it(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    error = ended(env.exec(sys.exit, "the reason", name="leaver"))
    assert error.exitcode == 1
    assert error.stderr == "the reason"
    assert capsys.readouterr().err == "[leaver] the reason\n"


def test_os_exit_is_told_within_a_second(env: Environment) -> None:
    started = time.monotonic()
    error = ended(env.exec(os._exit, 7))
    assert time.monotonic() - started < 1
    assert (error.exitcode, error.signal) == (7, None)
    assert "exited with code 7" in str(error)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGTERM", "SIGABRT", "SIGHUP", "SIGUSR1"])
def test_a_signal_is_told_by_name_within_a_second(env: Environment, name: str) -> None:
    number = getattr(signal, name)
    started = time.monotonic()
    process = env.exec(childwork.kill_self, int(number))
    error = ended(process)
    assert time.monotonic() - started < 1
    assert (error.exitcode, error.signal) == (-number, name)
    assert process.exitcode == process.wait() == -number
    assert f"was killed by {name}" in str(error)


def test_a_real_segfault_is_told(env: Environment) -> None:
    def crash() -> None:
        import ctypes
        import faulthandler

        faulthandler.disable()
        ctypes.string_at(0)

    assert ended(env.exec(crash)).signal == "SIGSEGV"


def test_a_kill_from_outside_is_told_within_a_second(env: Environment, tmp_path: Path) -> None:
    process = env.exec(childwork.announce_and_block, str(tmp_path / "ready"))
    assert wait_until((tmp_path / "ready").exists)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    started = time.monotonic()
    assert ended(process).signal == "SIGKILL"
    assert time.monotonic() - started < 1


def test_the_last_lines_on_stderr_come_with_an_exit(env: Environment) -> None:
    def leave() -> None:
        for number in range(1000):
            print("line", number, file=sys.stderr)
        os._exit(9)

    for output in ("prefix", "capture"):
        error = ended(env.exec(leave, output=output))
        lines = error.stderr.splitlines()
        assert lines[-1] == "line 999" and 5 <= len(lines) <= 100
        assert str(error).endswith("line 999")


def test_a_fatal_error_of_the_interpreter_shows_its_stack(env: Environment) -> None:
    def crash() -> None:
        import faulthandler

        faulthandler.enable()
        os.kill(os.getpid(), signal.SIGSEGV)

    error = ended(env.exec(crash))
    assert error.signal == "SIGSEGV"
    assert "Fatal Python error: Segmentation fault" in error.stderr and "crash" in error.stderr


def test_a_result_that_can_not_be_pickled_is_told_with_its_type(env: Environment) -> None:
    process = env.exec(threading.Lock)
    error = process.exception()
    assert isinstance(error, ResultNotPicklable) and isinstance(error, ChildError)
    assert "_thread.lock" in str(error) and "pickle" in str(error)
    assert process.wait() == 0


def test_a_generator_is_no_result(env: Environment) -> None:
    def numbers() -> Any:
        yield 1

    assert "generator" in str(catch(lambda: env.run(numbers)))


def test_a_result_of_a_class_that_the_host_lacks_is_told(env: Environment, project: Project) -> None:
    project.write("model.py", "def make():\n    return 1\n")
    make = __import__(f"{project.name}.model", fromlist=["make"]).make
    project.write("model.py", "class New:\n    pass\n\ndef make():\n    return New()\n")
    error = catch(lambda: env.run(make))
    assert isinstance(error, ResultNotLoadable) and isinstance(error, ChildError)
    assert f"{project.name}.model.New" in str(error)
    assert isinstance(error.__cause__, AttributeError)


def test_an_exception_of_a_class_that_the_host_lacks_arrives_as_text(env: Environment, project: Project) -> None:
    project.write("model.py", "def fail():\n    pass\n")
    fail = __import__(f"{project.name}.model", fromlist=["fail"]).fail
    project.write("model.py", "class New(Exception): pass\n\ndef fail():\n    raise New('text')\n")
    error = catch(lambda: env.run(fail))
    assert type(error) is ChildError
    assert "New: text" in str(error)


def test_a_result_that_runs_code_when_it_is_rebuilt_may_fail(env: Environment) -> None:
    error = catch(lambda: env.run(childwork.RebuildFails))
    assert isinstance(error, ResultNotLoadable)
    assert "ZeroDivisionError" in str(error)


def test_a_result_is_the_same_object_each_time(env: Environment) -> None:
    process = env.exec(list)
    assert process.result() is process.result()


def test_a_child_that_returns_and_then_crashes_has_returned(env: Environment) -> None:
    def crash_at_exit() -> str:
        import atexit

        atexit.register(os._exit, 5)
        return "returned"

    process = env.exec(crash_at_exit)
    assert process.result() == "returned"
    assert process.wait() == 5


def test_a_fork_in_the_child_does_not_answer_twice(env: Environment) -> None:
    def fork() -> int:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        return os.waitpid(pid, 0)[1]

    assert env.run(fork) == 0


def test_a_forked_grandchild_that_returns_does_not_answer_for_the_child(env: Environment) -> None:
    def fork() -> int:
        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return pid

    process = env.exec(fork)
    assert process.result() > 0
    assert process.wait() == 0


def test_a_recursion_without_end_is_an_exception(env: Environment) -> None:
    def forever(depth: int) -> int:
        return forever(depth + 1) + 1

    assert isinstance(catch(lambda: env.run(forever, 0)).__cause__, RecursionError)


def test_a_child_that_uses_up_its_memory_is_told(env: Environment) -> None:
    def eat() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
        _ = bytearray(1 << 31)

    error = env.exec(eat).exception()
    assert isinstance(error, ChildError)
    assert isinstance(error.__cause__, MemoryError)


def test_a_preloaded_module_is_told_with_its_time(project: Project) -> None:
    with project.open() as environment:
        assert all(module.milliseconds >= 0 for module in environment.modules.values())
        assert skipped(environment) == {}


def test_a_template_that_dies_is_told_to_those_who_wait(env: Environment) -> None:
    process = env.exec(childwork.block)
    template = env.run(os.getppid)
    started = time.monotonic()
    os.kill(template, signal.SIGKILL)
    error = ended(process)
    assert time.monotonic() - started < 1
    assert "template" in str(error) and "SIGKILL" in str(error)
    assert process.pid is not None
    assert wait_until(lambda: not is_alive(process.pid or 0))
    assert env.run(os.getppid) != template, "the next exec starts another"
    assert env.run(childwork.double, 1) == 2


@needs_proc
def test_a_template_that_is_killed_again_and_again_is_replaced_each_time(env: Environment) -> None:
    seen = set()
    for number in range(50):
        template = env.run(os.getppid)
        seen.add(template)
        os.kill(template, signal.SIGKILL)
        # At once: the death is told while the next call is on its way.
        assert env.run(childwork.double, number) == 2 * number
    assert len(seen) == 50
    assert len(children_of(os.getpid())) == 1
