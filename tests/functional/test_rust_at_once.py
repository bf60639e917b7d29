"""Many processes, killed builders, and machines that lack something."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from rusting import Bench, Raised, file, needs_cargo
from support import wait_until

pytestmark = [needs_cargo, pytest.mark.timeout(300)]
needs_limits = pytest.mark.skipif(sys.platform != "linux", reason="limits and mounts as on Linux")


def test_twenty_processes_import_a_stale_crate_with_one_build(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    with ExitStack() as stack:
        pythons = [stack.enter_context(bench.python()) for _ in range(20)]
        for value in (1, 2):
            bench.write("fast.rs", file(value))
            for python in pythons:
                python.tell("import fast\nif fast.value() != 1: pass" if value == 1 else "importlib.reload(fast)")
            for python in pythons:
                python.answer()
            assert [python("fast.value()") for python in pythons] == [value] * 20
            assert bench.runs() == value


def test_two_files_of_one_name_are_not_mixed_up(bench: Bench) -> None:
    # They share a target folder, where cargo puts both libraries into one place.
    one, two = bench.write("one/fast.rs", file(1)).parent, bench.write("two/fast.rs", file(2)).parent
    with bench.python("import fast", path=[one]) as first, bench.python("import fast", path=[two]) as second:
        assert first("fast.value()") == 1 and second("fast.value()") == 2
        # cargo sees nothing to do for the first, and the second's library is where it would put that of the first.
        bench.write("one/.cargo/config.toml", "[term]\nverbose = false\n")
        assert first("importlib.reload(fast).value()") == 1
        assert second("importlib.reload(fast).value()") == 2


def test_two_files_of_one_name_are_built_at_once(bench: Bench) -> None:
    one, two = bench.write("one/fast.rs", file(1)).parent, bench.write("two/fast.rs", file(2)).parent
    # The first waits, when its cargo has ended, for the second: that must not come before it has what it built.
    began, ended = bench.aside / "began", bench.aside / "ended"
    os.mkfifo(began)
    wait = f"for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e {ended} ] && break; sleep 0.3; done"
    first_cargo = bench.cargo(after=f"[ -e {ended} ] || {{ : >{began}; {wait}; }}", name="first")
    second_cargo = bench.cargo(after=f": >{ended}", name="second")
    with ExitStack() as stack:
        first = stack.enter_context(bench.python(path=[one], env={"CARGO": str(first_cargo)}))
        second = stack.enter_context(bench.python(path=[two], env={"CARGO": str(second_cargo)}))
        first.tell("import fast")
        began.read_bytes()
        second.tell("import fast")
        first.answer()
        second.answer()
        assert first("fast.value()") == 1 and second("fast.value()") == 2


def test_a_process_that_only_reads_waits_for_no_builder(bench: Bench) -> None:
    started, go = bench.aside / "started", bench.aside / "go"
    os.mkfifo(started)
    os.mkfifo(go)
    bench.write("fast.rs", file(1))
    bench.write("other.rs", file(2))
    with bench.python("import fast, other"):
        pass
    bench.cargo(before=f": >{started}; cat {go}", name="slow")
    bench.write("fast.rs", file(3))
    with bench.python() as builder, bench.python() as reader:
        builder.tell("import fast")
        started.read_bytes()
        assert reader("import other") is None and reader("other.value()") == 2
        go.write_bytes(b"")
        builder.answer()
        assert builder("fast.value()") == 3


def test_waiting_for_another_builder_has_an_end(bench: Bench) -> None:
    started, go = bench.aside / "started", bench.aside / "go"
    os.mkfifo(started)
    os.mkfifo(go)
    bench.cargo(before=f": >{started}; cat {go}")
    bench.write("fast.rs", file(1))
    with bench.python() as builder, bench.python(env={"FIREHOT_RUST_LOCK_TIMEOUT": "0.2"}) as waiting:
        builder.tell("import fast")
        started.read_bytes()
        raised = waiting.raised("import fast")
        assert raised.kind == "RustBuildError" and "another process has been building" in raised.text
        assert "fast.rs" in raised.text
        go.write_bytes(b"")
        builder.answer()
        assert waiting("__import__('fast').value()") == 1


@needs_limits
def test_a_builder_that_is_killed_at_any_moment_leaves_a_usable_cache(bench: Bench) -> None:
    bench.write("fast.rs", file(0))
    with bench.python("import fast"):
        pass
    chance = random.Random(5)
    for attempt in range(30):
        bench.write("fast.rs", file(attempt + 1))
        with bench.python() as python:
            runs = bench.runs()
            python.tell("import fast")
            wait_until(lambda: bench.runs() > runs)  # noqa: B023
            if attempt % 3 == 2:
                # cargo itself, and not its builder.
                pid = int((bench.aside / "runs").read_text().split()[-1])
                kill_after(chance.uniform(0, 0.4), pid)
                try:
                    python.answer()
                except Raised as raised:
                    assert raised.kind == "RustBuildError" and "signal: 9" in raised.text
            else:
                # A build takes a quarter of a second.
                kill_after(chance.uniform(0, 0.5), python.process.pid)
                python.process.wait()
        if attempt % 10 in (0, 5, 9):
            with bench.python("import fast") as python:
                assert python("fast.value()") == attempt + 1
    slots = [folder for folder in Path(bench.env["FIREHOT_RUST_CACHE"]).glob("fast-*/*") if folder.is_dir()]
    assert slots and not [left for slot in slots for left in slot.glob(".new-*")]


def kill_after(seconds: float, pid: int) -> None:
    """The moment is what the test is about, so this waits for time and for nothing else."""
    try:
        subprocess.run(["sleep", f"{seconds:.3f}"], check=True)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@needs_limits
def test_a_full_disk_is_told_of_and_what_was_built_stays(bench: Bench, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        bench.write("fast.rs", file(1))
        bench.env["FIREHOT_RUST_CACHE"] = str(disk / "cache")
        with bench.python("import fast") as python:
            (disk / "ballast").write_bytes(b"")
            with (disk / "ballast").open("wb", buffering=0) as ballast:
                try:
                    while ballast.write(b"x" * 4096):
                        pass
                except OSError:
                    pass
            bench.write("fast.rs", file(2))
            raised = python.raised("importlib.reload(fast)")
            assert raised.kind == "RustBuildError"
            assert "No space left on device" in raised.text and str(disk) in raised.text
            assert python("fast.value()") == 1
            (disk / "ballast").unlink()
            assert python("importlib.reload(fast).value()") == 2


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("may not mount a small file system here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@needs_limits
def test_a_read_only_cache_is_enough_for_what_is_fresh(bench: Bench, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        bench.write("fast.rs", file(1))
        bench.env["FIREHOT_RUST_CACHE"] = str(disk / "cache")
        with bench.python("import fast"):
            pass
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with bench.python("import fast") as python:
            assert python("fast.value()") == 1
            bench.write("fast.rs", file(2))
            raised = python.raised("importlib.reload(fast)")
            assert raised.kind == "RustBuildError" and "Read-only file system" in raised.text
            assert str(disk / "cache") in raised.text and "FIREHOT_RUST_CACHE" in raised.text
            assert python("fast.value()") == 1


def test_without_cargo_what_is_fresh_works_and_the_rest_says_what_to_install(bench: Bench, tmp_path: Path) -> None:
    bench.write("fast.rs", file(1))
    with bench.python("import fast"):
        pass
    nothing = {"CARGO": None, "PATH": str(tmp_path), "HOME": str(tmp_path), "CARGO_HOME": str(tmp_path)}
    with bench.python(env=nothing) as python:
        bench.write("other.rs", file(2))
        raised = python.raised("import other")
        assert raised.kind == "RustBuildError"
        assert "there is no cargo" in raised.text and "rustup" in raised.text and "other.rs" in raised.text
        assert len(raised.text.splitlines()) == 1
        python("import fast")
        assert python("fast.value()") == 1


def test_a_cargo_without_rustc_says_so(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    with bench.python(env={"RUSTC": "/nowhere/rustc"}) as python:
        raised = python.raised("import fast")
        assert raised.kind == "RustBuildError" and "/nowhere/rustc" in raised.text and "fast.rs" in raised.text


def test_a_cargo_that_can_t_be_started_says_so(bench: Bench) -> None:
    bench.write("fast.rs", file(1))
    broken = bench.write("broken", "#!/nowhere/sh\n")
    broken.chmod(0o755)
    for cargo in (str(broken), "/nowhere/cargo"):
        with bench.python(env={"FIREHOT_RUST_CARGO": cargo}) as python:
            raised = python.raised("import fast")
            assert raised.kind == "RustBuildError" and cargo in raised.text and "No such file" in raised.text


def test_a_registry_that_is_offline_is_said_by_cargo(bench: Bench) -> None:
    bench.write("fast.rs", '// firehot:pyo3\n//: [dependencies]\n//: firehot-has-no-such-crate = "1"\n')
    with bench.python() as python:
        raised = python.raised("import fast")
        assert raised.kind == "RustBuildError"
        assert "firehot-has-no-such-crate" in raised.text and "offline" in raised.text


def test_ctrl_c_ends_a_build(bench: Bench) -> None:
    started = bench.aside / "started"
    os.mkfifo(started)
    bench.cargo(before=f"echo $$ >{started}; exec sleep 600")
    bench.write("fast.rs", file(1))
    with bench.python() as python:
        python.tell("import fast")
        cargo = int(started.read_text())
        python.process.send_signal(signal.SIGINT)
        try:
            python.answer()
        except Raised as raised:
            assert raised.kind == "KeyboardInterrupt"
        else:
            raise AssertionError("it went on")
        assert not Path(f"/proc/{cargo}").exists()
        bench.cargo()
        python(f"os.environ['CARGO'] = {bench.env['CARGO']!r}")
        assert python("__import__('fast').value()") == 1
