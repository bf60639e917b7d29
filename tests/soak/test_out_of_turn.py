"""Children that send what they should not: the host prints it, raises, or unpickles that child's result. No more."""

from __future__ import annotations

import json
import os
import pickle
import random
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import soakwork
from conftest import Measure
from scale import times
from soakwork import frame
from support import PROC, Project, Scripts, catch, needs_proc, open_descriptors, run_to_its_end, wait_until

from firehot import ChildError, ChildExited, ResultNotLoadable
from firehot.environment import Environment

ANSWER = 30.0


def message(type: str, body: bytes = b"", **fields: Any) -> bytes:
    return frame(json.dumps({"type": type, **fields}).encode(), body)


def returned(value: object) -> bytes:
    return message("returned", pickle.dumps(value), type_name="builtins.int")


# What the template sends, and may: a child may not.
CONTROL = {
    "exited": {"id": 1, "status": 0},
    "forked": {"id": 1, "pid": 1},
    "fork_failed": {"id": 1, "error": "no"},
    "ready": {"modules": 1},
    "hello": {"protocol": 1, "pid": 1, "python": "3", "firehot": "0"},
    "importing": {"index": 0},
    "imported": {"index": 0, "loaded": []},
    "failed": {"index": 0, "name": "x", "error": "x", "residue": False},
    "log": {"level": "error", "message": "not the template's"},
    "fork": {"id": 1, "as": "child", "cloudpickle": None},
    "signal": {"id": 1, "signal": 9},
    "retire": {},
    "preload": {"imports": []},
    "call": {},
}
NO_MESSAGES = {
    "no frame": b"GET / HTTP/1.1\r\n\r\n" * 10,
    "a header of 4 GiB": b"\xff\xff\xff\xff\x00\x00\x00\x00",
    "a header that is no JSON": frame(b"\x80\x05K\x07."),
    "a header that is empty": frame(b""),
    "a header that is no object": frame(b"[1, 2]"),
    "a header with another field only": frame(b'{"id": 7}'),
    "a header nested too deep": frame(b"[" * 100_000),
    "a number that no machine holds": frame(b'{"type":"returned","type_name":1e999999}'),
    "a message without its fields": message("returned"),
    "a message that nobody knows": message("dance"),
    **{f"the template's {name}": message(name, **fields) for name, fields in CONTROL.items()},
}


def test_what_is_no_message_of_a_child_ends_that_child_alone(env: Environment) -> None:
    other = env.exec(soakwork.block)
    template = env.run(os.getppid)
    for what, data in NO_MESSAGES.items():
        process = env.exec(soakwork.send_and_block, data)
        assert isinstance(process.exception(ANSWER), ChildExited), what
        assert process.wait(ANSWER) in (-9, -15), what
        assert other.is_running() and env.run(os.getppid) == template, what


@pytest.mark.parametrize("what", ["half a prefix", "half a header", "a body of 4 GiB"])
def test_half_a_message_ends_with_the_child(env: Environment, what: str) -> None:
    data = {
        "half a prefix": returned(1)[:5],
        "half a header": returned(1)[:20],
        "a body of 4 GiB": b'\x02\x00\x00\x00\xff\xff\xff\xff{}"',
    }[what]
    before = resident(os.getpid())
    process = env.exec(soakwork.send_and_block, data)
    with pytest.raises(TimeoutError):
        process.result(timeout=0.2)
    assert resident(os.getpid()) - before < 64 << 20, "nothing is allocated on its word"
    assert process.stop() is True
    assert isinstance(process.exception(), ChildExited)
    error = env.exec(soakwork.send_and_exit, data, 3).exception(ANSWER)
    assert isinstance(error, ChildExited) and error.exitcode == 3


def resident(pid: int) -> int:
    if not PROC.is_dir():
        return 0
    return int((PROC / str(pid) / "statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("function", [soakwork.send_and_return, soakwork.send_at_exit])
def test_only_the_first_outcome_counts(env: Environment, function: Any) -> None:
    process = env.exec(function, returned("another"))
    expected = "another" if function is soakwork.send_and_return else "returned"
    assert process.result(ANSWER) == expected
    assert process.wait(ANSWER) == 0
    assert process.result() == expected


def test_an_outcome_repeated_without_end_does_no_harm(project: Project) -> None:
    for output in ("prefix", "capture"):
        with project.open(output=output) as env:
            process = env.exec(soakwork.send_and_block, returned(7) * 50_000)
            assert process.result(ANSWER) == 7
            assert env.run(soakwork.double, 2) == 4
            assert process.stop() is True


def test_a_process_that_a_child_leaves_can_not_answer_for_it(env: Environment, tmp_path: Path) -> None:
    go, done = tmp_path / "go", tmp_path / "done"
    process = env.exec(soakwork.send_from_a_daemon, returned("another"), str(go), str(done))
    assert process.result(ANSWER) == "returned"
    assert process.wait(ANSWER) == 0
    go.touch()
    assert wait_until(done.exists)
    assert process.result() == "returned"
    assert env.run(soakwork.double, 2) == 4


@needs_proc
def test_descriptors_that_a_child_sends_do_not_stay_in_the_host(project: Project) -> None:
    with project.open(learn=False, spares=0) as env:
        before = run_to_its_end(env)
        for _ in range(5):
            process = env.exec(soakwork.send_descriptors, 50)
            assert process.result(ANSWER) == 7
            process.wait()
        assert wait_until(lambda: set(open_descriptors()) == set(before))


def test_a_result_is_unpickled_once_and_only_when_it_is_asked_for(env: Environment, tmp_path: Path) -> None:
    """What a pickle may do is what its child may do; nobody else's wait brings it about."""
    trace = tmp_path / "trace"
    process = env.exec(give_a_trace, str(trace))
    process.wait(ANSWER)
    assert env.run(soakwork.double, 2) == 4
    assert not trace.exists()
    process.result()
    process.result()
    assert trace.read_text() == "unpickled\n"


class Trace:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return leave_trace, (self.path,)


def leave_trace(path: str) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write("unpickled\n")


def give_a_trace(path: str) -> Trace:
    return Trace(path)


@pytest.mark.parametrize("body", [b"", b"\x80", b"\x80\x05cnowhere\nnothing\n.", b"c__builtin__\nexit\n(i.", b"." * 9])
def test_a_result_that_is_no_pickle_is_told(env: Environment, body: bytes) -> None:
    process = env.exec(soakwork.send_and_return, message("returned", body, type_name="x" * 100_000))
    assert isinstance(catch(lambda: process.result(ANSWER)), ResultNotLoadable)


def test_an_exception_that_is_none_is_told(env: Environment) -> None:
    fields = {"type_name": "a.B", "text": "\x1b[31mred", "traceback": "not one"}
    process = env.exec(soakwork.send_and_return, message("raised", pickle.dumps(7), **fields))
    error = process.exception(ANSWER)
    assert type(error) is ChildError and "red" in str(error)


def test_terminal_control_bytes_are_passed_on(env: Environment, capfd: pytest.CaptureFixture[str]) -> None:
    """As a cold run would: whoever runs the function sees what it prints."""
    text = "\x1b]0;title\x07\x1b[2J\x1b[31mred\x1b[0m\rback\x08\x00\x7f\x9b"
    env.exec(soakwork.write_raw, text.encode() + b"\n", name="p").result()
    assert capfd.readouterr().out == f"[p] {text}\n"


def test_random_bytes_end_their_child_alone(env: Environment, moments: random.Random, measure: Measure) -> None:
    """Mutated outcomes as well: a bit flipped, cut, repeated, joined with others."""
    count = times(1_000, least=20)
    good = returned(list(range(20)))
    outcomes = {"a result": 0, "an error": 0}
    with measure("random bytes from a child", count) as outcome:
        for _ in range(count):
            data = bytearray(good if moments.random() < 0.7 else moments.randbytes(moments.randrange(200)))
            for _ in range(moments.randrange(1, 4)):
                if data:
                    data[moments.randrange(len(data))] = moments.randrange(256)
            data = data[: moments.randrange(len(data) + 1)] * moments.randrange(1, 3)
            process = env.exec(soakwork.send_and_exit, bytes(data), 5, output="capture")
            error = process.exception(ANSWER)
            assert error is None or isinstance(error, (ChildError, ResultNotLoadable)), data
            process.wait(ANSWER)
            outcomes["an error" if error else "a result"] += 1
        outcome.append(", ".join(f"{name} {number} times" for name, number in outcomes.items()))
    assert env.run(soakwork.double, 2) == 4


# -- who may look ----------------------------------------------------------------------------------


@needs_proc
def test_a_child_has_nothing_of_its_siblings_or_the_template(env: Environment) -> None:
    """Its private socket and its stdio: no socket of another child, and not the template's own."""
    others = [env.exec(soakwork.block) for _ in range(3)]
    held = env.run(soakwork.descriptors)
    sockets = [to for to in held.values() if to.startswith("socket:")]
    assert len(sockets) == 1
    assert all(other.is_running() for other in others)
    assert not any("pidfd" in to for to in held.values())


@needs_proc
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/net/unix")
def test_sockets_have_no_name_that_others_could_connect_to(env: Environment) -> None:
    template = env.run(os.getppid)
    inodes = set()
    for pid in (os.getpid(), template):
        for entry in (PROC / str(pid) / "fd").iterdir():
            try:
                target = os.readlink(entry)
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    lines = Path("/proc/net/unix").read_text().splitlines()[1:]
    own = [line.split() for line in lines if line.split()[6] in inodes]
    assert own, "socket pairs are in this list"
    assert all(len(fields) == 7 for fields in own), "the eighth field is a path or an abstract name"


@needs_proc
def test_nobody_else_may_look_into_a_template(env: Environment) -> None:
    template = env.run(os.getppid)
    for name in ("environ", "mem", "fd"):
        status = (PROC / str(template) / name).stat()
        assert status.st_uid == os.getuid()
        assert not stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO)


def test_what_is_written_at_home_is_for_the_user_alone(scripts: Scripts, script_package: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    finished = scripts.run(
        """
        import soakwork
        from firehot import isolate_imports
        with isolate_imports("my_package") as environment:
            print(environment.run(soakwork.double, 2), environment.run(lambda: 4))
            environment.update_environment()
        """,
        env={
            "PYTHONPATH": str(Path(__file__).parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            **dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"), str(home)),
        },
    )
    assert finished.ok() == "4 4\n"
    for path in home.rglob("*"):
        status = path.stat()
        assert status.st_uid == os.getuid()
        assert not stat.S_IMODE(status.st_mode) & (stat.S_IRWXG | stat.S_IRWXO), path
