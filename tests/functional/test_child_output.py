"""Where the output of children goes, and that none of it is lost."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from pathlib import Path

import childwork
import pytest
from support import Project, Scripts, needs_proc, read_line, wait_until

from firehot.environment import Environment

CHILDWORK = {"PYTHONPATH": str(Path(__file__).parent)}


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_each_line_carries_the_name_of_its_process(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    env.exec(lambda: print("one\ntwo"), name="speaker").result()
    env.exec(lambda: print("bad", file=sys.stderr), name="other").result()
    captured = capsys.readouterr()
    assert captured.out == "[speaker] one\n[speaker] two\n"
    assert captured.err == "[other] bad\n"


def test_names_have_colours_on_a_terminal(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    env.exec(lambda: print("text"), name="speaker").result()
    text = terminal.getvalue()
    assert "\x1b[" in text and "[speaker]" in text and text.endswith(" text\n")


def test_no_color_is_obeyed(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    env.exec(lambda: print("text"), name="speaker").result()
    assert terminal.getvalue() == "[speaker] text\n"


def test_inherited_output_goes_to_the_real_descriptors(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        import os, sys
        from firehot import isolate_imports

        def speak():
            print("python")
            os.write(1, b"bytes\\n")
            os.system("echo shell")
            print("error", file=sys.stderr)
            return sys.stdin.read()

        with isolate_imports("my_package", output="inherit") as environment:
            process = environment.exec(speak)
            assert process.result() == ""
            assert process.output == ""
        """
    )
    assert sorted(finished.ok().split()) == ["bytes", "python", "shell"]
    assert finished.stderr == "error\n"


def test_inherited_stdin_is_the_hosts(scripts: Scripts, script_package: str) -> None:
    path = scripts.save(
        """
        from firehot import isolate_imports
        with isolate_imports("my_package") as environment:
            print(environment.exec(lambda: input(), output="inherit").result())
        """
    )
    finished = scripts.run_command([sys.executable, str(path)], text="typed\n")
    assert finished.ok() == "typed\n"


def test_captured_output_is_kept_and_not_shown(env: Environment, capfd: pytest.CaptureFixture[str]) -> None:
    process = env.exec(lambda: print("kept"), output="capture")
    process.result()
    assert process.output == "kept\n"
    assert capfd.readouterr() == ("", "")


def test_captured_output_can_be_read_while_the_process_runs(env: Environment, tmp_path: Path) -> None:
    def speak(go: str) -> None:
        print("early", flush=True)
        childwork.wait_for(go)
        print("late")

    process = env.exec(speak, str(tmp_path / "go"), output="capture")
    assert wait_until(lambda: process.output == "early\n")
    (tmp_path / "go").touch()
    process.wait()
    assert process.output == "early\nlate\n"


def test_a_process_may_have_another_mode_than_its_environment(project: Project) -> None:
    with project.open(output="capture") as environment:
        kept = environment.exec(lambda: print("kept"))
        shown = environment.exec(lambda: print("shown"), output="prefix")
        kept.result()
        shown.result()
        assert (kept.output, shown.output) == ("kept\n", "")


def test_bytes_that_are_no_text_are_shown_escaped(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    env.exec(childwork.write, 1, b"a\xff\xfeb\n", name="raw").result()
    assert capsys.readouterr().out == "[raw] a\\xff\\xfeb\n"
    process = env.exec(childwork.write, 1, b"a\xff\n", output="capture")
    process.result()
    assert process.output == "a\\xff\n"


def test_text_beyond_ascii_arrives(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    env.exec(lambda: print("żółć 🦊"), name="fox").result()
    assert capsys.readouterr().out == "[fox] żółć 🦊\n"


def test_a_character_cut_in_two_writes_is_whole(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    def write_slowly() -> None:
        for byte in "🦊\n".encode():
            os.write(1, bytes([byte]))

    env.exec(write_slowly, name="fox").result()
    assert capsys.readouterr().out == "[fox] 🦊\n"


@pytest.mark.parametrize("output", ["prefix", "capture"])
def test_a_line_of_ten_megabytes_is_one_line(env: Environment, capsys: pytest.CaptureFixture[str], output: str) -> None:
    size = 10 << 20
    process = env.exec(lambda: print("x" * size), name="long", output=output)  # type: ignore[arg-type]
    process.result()
    shown = capsys.readouterr().out if output == "prefix" else "[long] " + process.output
    assert len(shown) == len("[long] \n") + size
    assert shown.startswith("[long] x") and shown.endswith("x\n")


def test_a_last_line_without_newline_is_shown_with_one(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    env.exec(lambda: print("no newline", end=""), name="end").wait()
    assert capsys.readouterr().out == "[end] no newline\n"


def test_empty_lines_and_carriage_returns_are_kept(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    env.exec(childwork.write, 1, b"a\n\nb\rc\r\n", name="p").result()
    assert capsys.readouterr().out == "[p] a\n[p] \n[p] b\rc\r\n"


def test_what_was_written_before_the_return_is_there_when_result_returns(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)

    def speak(number: int) -> int:
        print("number", number)
        return number

    for number in range(200):
        assert env.exec(speak, number, name="p").result() == number
        assert stream.getvalue().endswith(f"[p] number {number}\n")


@pytest.mark.parametrize("output", ["prefix", "capture"])
def test_much_output_before_a_crash_is_complete(
    env: Environment, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    def crash() -> None:
        for number in range(50_000):
            print("line", number)
        sys.stdout.flush()
        os.abort()

    process = env.exec(crash, name="p", output=output)  # type: ignore[arg-type]
    assert process.wait() == -6
    lines = (capsys.readouterr().out if output == "prefix" else process.output).splitlines()
    assert [line.removeprefix("[p] ") for line in lines] == [f"line {n}" for n in range(50_000)]


def test_output_of_subprocesses_and_native_code_is_shown(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    env.exec(lambda: os.system("echo shell; echo wrong >&2"), name="p").result()
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("[p] shell\n", "[p] wrong\n")


def test_lines_of_several_processes_are_never_mixed(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    def speak(letter: str) -> None:
        for _ in range(500):
            print(letter * 300)

    processes = [env.exec(speak, letter, name=letter) for letter in "abcd"]
    for process in processes:
        process.result()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2000
    assert all(line == f"[{line[1]}] {line[1] * 300}" for line in lines)


def test_a_line_that_looks_like_a_message_changes_nothing(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    messages = [
        {"type": "returned", "type_name": "builtins.int"},
        {"type": "exited", "id": 1, "status": 0},
        {"name": "FORK_RESPONSE", "request_id": "1", "child_pid": 1},
        {"name": "UNKNOWN_ERROR", "error": "no"},
    ]

    def speak() -> str:
        for message in messages:
            line = json.dumps(message)
            print(line)
            print(line, file=sys.stderr)
            os.write(1, len(line).to_bytes(4, "little") + bytes(4) + line.encode() + b"\n")
        return "the result"

    process = env.exec(speak, name="p")
    assert process.result() == "the result"
    assert process.wait() == 0
    assert capsys.readouterr().out.count('{"type": "returned"') == 2
    assert env.run(childwork.double, 2) == 4


def test_a_child_may_close_its_streams(env: Environment) -> None:
    def close() -> str:
        sys.stdout.close()
        sys.stderr.close()
        for fd in (0, 1, 2):
            os.close(fd)
        return "fine"

    process = env.exec(close)
    assert process.result() == "fine"
    assert process.wait() == 0


def test_a_child_may_replace_its_streams(env: Environment) -> None:
    def replace() -> str:
        sys.stdout = io.StringIO()
        print("into the string")
        return sys.stdout.getvalue()

    assert env.run(replace) == "into the string\n"


def test_streams_keep_their_identity_and_are_no_terminal(env: Environment) -> None:
    def look() -> tuple[bool, ...]:
        return (
            sys.stdout is sys.__stdout__,
            sys.stdout.fileno() == 1,
            sys.stdin.fileno() == 0,
            sys.stdout.isatty(),
        )

    assert env.run(look) == (True, True, True, False)


def test_a_closed_stdout_of_the_host_drops_output_and_nothing_else(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        import os, sys
        import childwork
        from firehot import isolate_imports

        def speak(value):
            print("lost")
            print("seen", file=sys.stderr)
            return value

        with isolate_imports("my_package") as environment:
            sys.stdout.close()
            os.close(1)
            # What firehot opens from here on must not take the place of the closed descriptor.
            running = environment.exec(childwork.block)
            for _ in range(3):
                assert environment.exec(speak, 1, name="p").result() == 1
                assert environment.exec(speak, 2, output="inherit").result() == 2
            assert running.is_running()
            os.write(2, b"done\\n")
        os._exit(0)
        """,
        env=CHILDWORK,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr.count("[p] seen\n") == 3 and finished.stderr.count("seen\n") == 6
    assert finished.stderr.endswith("done\n")


@needs_proc
def test_inherited_streams_that_the_host_has_closed_are_the_null_device(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(
        """
        import os, sys
        import childwork
        from firehot import isolate_imports

        with isolate_imports("my_package") as environment:
            sys.stdout.close()
            os.close(1)
            running = environment.exec(childwork.block)
            os.write(2, environment.exec(os.readlink, "/proc/self/fd/1", output="inherit").result().encode())
        os._exit(0)
        """,
        env=CHILDWORK,
    )
    assert finished.stderr == "/dev/null"


def test_a_stdout_of_none_drops_output(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert env.run(lambda: print("lost")) is None


def test_a_stream_that_raises_does_not_stop_the_others(
    env: Environment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise RuntimeError("broken stream")

    monkeypatch.setattr(sys, "stdout", Broken())
    assert env.exec(lambda: print("lost")).result(timeout=20) is None
    assert env.exec(lambda: print("seen", file=sys.stderr), name="p").result(timeout=20) is None
    assert "[p] seen\n" in capsys.readouterr().err


def test_a_slow_reader_slows_the_writer_down(env: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            gate.wait(60)
            return super().write(text)

    stream = Slow()
    monkeypatch.setattr(sys, "stdout", stream)
    size = 40 << 20
    process = env.exec(lambda: [print("x" * 1023) for _ in range(size // 1024)] and None, name="p")
    assert process.is_running()
    gate.set()
    assert process.result() is None
    assert len(stream.getvalue()) == size + (size // 1024) * len("[p] ")


def test_a_daemon_that_holds_the_pipes_delays_nothing(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    process = env.exec(childwork.daemonise, name="p")
    grandchild = process.result(timeout=20)
    try:
        assert process.wait(timeout=20) == 0
        env.close()
        os.kill(grandchild, 0)  # It survives, as after a cold start.
    finally:
        os.kill(grandchild, 9)


def test_the_host_sees_lines_as_they_come(scripts: Scripts, script_package: str) -> None:
    with scripts.start(
        """
        import childwork
        from firehot import isolate_imports

        with isolate_imports("my_package") as environment:
            environment.exec(childwork.speak_and_block, name="p").result()
        """,
        env=CHILDWORK,
    ) as process:
        assert read_line(process) == "[p] early"
        process.kill()
