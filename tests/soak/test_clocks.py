"""Clocks that lie: files from the future, and a wall clock that jumps under a host that waits."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soakwork
from conftest import Measure
from scale import times
from support import Project, Scripts

import firehot

ROOT = Path(__file__).parent.parent.parent
FUTURE = (time.time() + 3600, 4_000_000_000, (1 << 33) + 7)


@pytest.mark.parametrize("when", FUTURE, ids=["an hour", "the year 2096", "the year 2242"])
def test_files_from_the_future_are_scanned_and_their_edits_seen(project: Project, when: float) -> None:
    project.dependency("dep_one.py")
    project.dependency("dep_two.py")
    app = project.write("app.py", "import dep_one\n\ndef tell():\n    return 'old'\n")
    os.utime(app, (when, when))
    tell = __import__(f"{project.name}.app", fromlist=["tell"]).tell
    with project.open() as env:
        assert set(env.modules) >= {"dep_one"} and "dep_two" not in env.modules
        assert env.update_environment() is False
        assert env.run(tell) == "old"
        # The same size, and the same time.
        app.write_text(app.read_text().replace("dep_one", "dep_two").replace("old", "new"))
        os.utime(app, (when, when))
        assert env.run(tell) == "new"
        assert env.update_environment() is True
        assert "dep_two" in env.modules
        assert env.run(tell) == "new"


def test_files_from_the_future_do_not_rebuild_a_template_again_and_again(project: Project) -> None:
    dependency = project.dependency("dep_one.py", "VALUE = 1\n")
    app = project.write("app.py", "import dep_one\n")
    for path in (dependency, app):
        os.utime(path, (FUTURE[1], FUTURE[1]))
    with project.open(learn=False) as env:
        template = env.run(os.getppid)
        for number in range(10):
            assert env.run(soakwork.double, number) == 2 * number
            assert env.update_environment() is False
        assert env.run(os.getppid) == template


JUMPING = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/time.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Each reading is days away from the last, in either direction. */
static long jump(void) {
    static __thread unsigned seed = 7;
    return (long)(rand_r(&seed) % 2000000) - 1000000;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) now->tv_sec += jump();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture(scope="session")
def jumping_clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that makes the wall clock jump in every process that it is loaded into."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("replaces functions of the C library on Linux, and needs a C compiler for it")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "jumping.c").write_text(JUMPING)
    library = folder / "jumping.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(folder / "jumping.c")]
    subprocess.run(command, check=True, timeout=60)
    return library


def test_no_deadline_goes_by_the_wall_clock(
    scripts: Scripts, script_package: str, jumping_clock: Path, measure: Measure
) -> None:
    """Host, template and children all have a wall clock that jumps by days at each reading."""
    count = times(20, least=2)
    with measure("limits kept under a wall clock that jumps", 6 * count):
        finished = scripts.run(
            """
            import os, sys, time
            import soakwork
            from firehot import isolate_imports

            readings = [time.time() for _ in range(20)]
            assert max(readings) - min(readings) > 86_400, "the clock does not jump"

            def taken(call):
                started = time.monotonic()
                value = call()
                return time.monotonic() - started, value

            def refused(call):
                try:
                    call()
                except TimeoutError:
                    return True

            for _ in range(int(sys.argv[1])):
                with isolate_imports("my_package", import_timeout=20) as environment:
                    running = environment.exec(soakwork.block)
                    for wait in (running.result, running.wait, running.exception):
                        seconds, timed_out = taken(lambda: refused(lambda: wait(timeout=0.1)))
                        assert timed_out and 0.09 < seconds < 5, seconds
                    limited = environment.exec(soakwork.block, timeout=0.2)
                    seconds, timed_out = taken(lambda: refused(limited.result))
                    assert timed_out and 0.1 < seconds < 5, seconds
                    deaf = environment.exec(soakwork.ignore_sigterm, os.getcwd())
                    soakwork.wait_for(os.path.join(os.getcwd(), str(deaf.pid)))
                    seconds, stopped = taken(lambda: deaf.stop(timeout=0.2))
                    assert stopped and 0.15 < seconds < 5, seconds
                    assert environment.run(soakwork.double, 2) == 4
                    environment.update_environment()
                    last, _ = taken(lambda: environment.close(timeout=5))
                assert last < 4, last
            print("well")
            """,
            str(count),
            env={"PYTHONPATH": str(Path(__file__).parent), "LD_PRELOAD": str(jumping_clock)},
            timeout=600,
        )
    assert finished.ok() == "well\n"
    # By such a clock files may seem to have changed just now: then a template is replaced, and that is told.
    assert not [line for line in finished.stderr.splitlines() if "changes again and again" not in line]


WALL_CLOCK = re.compile(
    r"\bSystemTime::now\b|\btime\.time(_ns)?\(|\bdatetime\.(now|utcnow|today)\b|\bfrom time import\b"
)
# Where it is read, and how often. Files are stamped by the wall clock, so that their age is told by it, and what must
# be older than a process as well (`template.rs`). What `_learn.py` takes from `time` is a counter. Daemons and their
# commands tell users when something was, and how long ago; they decide nothing by it.
READ_FOR_AGES = {
    "src/supervisor/template.rs": 1,
    "src/stamp/distributions.rs": 1,
    "src/scan/disk.rs": 3,
    "src/scan/scanner.rs": 2,
    "src/scan/store.rs": 1,
    "src/rust_ext/handover.rs": 1,
    "src/rust_ext/store.rs": 1,
    "src/rust_ext/states.rs": 1,
    "src/rust_ext/failure.rs": 1,
    "src/client/mod.rs": 1,
    "firehot/_rust_finder.py": 1,
    "firehot/_rust_quick.py": 1,
    "firehot/_slot.py": 1,
    "firehot/_daemon.py": 2,
    "firehot/_answers.py": 1,
    "firehot/_why_command.py": 1,
    "firehot/_watch_command.py": 2,
    "firehot/_program.py": 1,
    "firehot/_front.py": 1,
    "firehot/_serve_front.py": 4,
    "firehot/_isolate_slot.py": 2,
    "firehot/_stamp.py": 2,
    "firehot/_learn.py": 1,
}


def test_the_wall_clock_is_read_for_ages_alone() -> None:
    # The tests may run beside an installed firehot: then only its Python half is there to be read.
    package = Path(firehot.__file__).parent
    found = {}
    for root, files in ((ROOT, ROOT.glob("src/**/*.rs")), (package.parent, package.glob("**/*.py"))):
        for path in files:
            if readings := len(WALL_CLOCK.findall(path.read_text("utf-8"))):
                found[path.relative_to(root).as_posix()] = readings
    has_sources = (ROOT / "src").is_dir()
    assert found == {name: count for name, count in READ_FOR_AGES.items() if has_sources or name.startswith("firehot/")}
