"""Little is left to work with: processes, memory, descriptors, disk. An error says so, and then all is well again."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import unprivileged
from conftest import Measure
from scale import times
from support import Finished, Project, Scripts, catch, needs_proc

from firehot import ForkError
from firehot.environment import Environment

HERE = Path(__file__).parent
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="sets the limits of another process (prlimit)")


class Somebody:
    """Runs scripts as a user without privileges."""

    def __init__(self, scripts: Scripts, tmp_path: Path) -> None:
        self._scripts = scripts
        self.home = tmp_path / "home"
        self.home.mkdir()
        self._tmp_path = tmp_path
        self.user = unprivileged.SOMEBODY if os.getuid() == 0 else os.getuid()

    def run(self, text: str, *arguments: str, **environ: str) -> Finished:
        script = self._scripts.save(text)
        # pytest makes its folders for the user alone.
        for folder in (self._tmp_path, *self._tmp_path.parents[:2]):
            if os.getuid() == 0:
                folder.chmod(0o755)
        become = unprivileged.command(self._tmp_path)
        env = {"PYTHONPATH": str(HERE), "HOME": str(self.home), "TMPDIR": str(self.home), **environ}
        return self._scripts.run_command([*become, sys.executable, str(script), *arguments], env=env)


@pytest.fixture
def somebody(scripts: Scripts, script_package: str, tmp_path: Path) -> Somebody:
    return Somebody(scripts, tmp_path)


# -- processes and memory --------------------------------------------------------------------------


@needs_linux
def test_a_template_that_may_not_fork_says_so_and_goes_on_when_it_may(somebody: Somebody) -> None:
    """EAGAIN, from `ulimit -u`."""
    finished = somebody.run(
        """
        import os, resource
        import soakwork
        from firehot import ForkError, isolate_imports

        assert os.getuid() != 0
        # A spare would serve without a fork.
        with isolate_imports("my_package", spares=0, learn=False) as environment:
            template = environment.run(os.getppid)
            before = resource.prlimit(template, resource.RLIMIT_NPROC)
            for _ in range(20):
                resource.prlimit(template, resource.RLIMIT_NPROC, (1, before[1]))
                try:
                    environment.run(soakwork.double, 2)
                except ForkError as error:
                    print(error)
                resource.prlimit(template, resource.RLIMIT_NPROC, before)
                assert environment.run(soakwork.double, 3) == 6
            assert environment.run(os.getppid) == template
        """
    )
    lines = finished.ok().splitlines()
    assert len(lines) == 20
    assert all("could not fork" in line and "Resource temporarily unavailable" in line for line in lines)
    assert not finished.stderr


@needs_proc
def test_an_environment_opens_or_says_why_under_any_limit_of_processes(somebody: Somebody, measure: Measure) -> None:
    """Threads count as well: the host starts some, and the template is a process."""
    outcomes = []
    limits = range(1, times(16, least=12))
    with measure("environments opened under `ulimit -u`", len(limits)) as outcome:
        for more in limits:
            finished = somebody.run(
                """
                import resource, sys
                import soakwork
                from firehot import isolate_imports

                hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
                resource.setrlimit(resource.RLIMIT_NPROC, (int(sys.argv[1]), hard))
                try:
                    with isolate_imports("my_package") as environment:
                        print(environment.run(soakwork.double, 2))
                except Exception as error:
                    print(type(error).__name__, error)
                # What was lifted works again in the same process.
                resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
                with isolate_imports("my_package") as environment:
                    print(environment.run(soakwork.double, 3))
                """,
                str(unprivileged.tasks_of(somebody.user) + more),
            )
            first, *rest = finished.ok().splitlines()
            assert "panicked" not in finished.stderr
            assert rest[-1] == "6"
            outcomes.append(first)
        outcome.append(f"{outcomes.count('4')} worked, the others said why")
    assert outcomes[0] != "4"
    # With other processes of this user about, how many it takes can't be told.
    assert os.getuid() != 0 or outcomes[-1] == "4", outcomes
    known = ("4", "BlockingIOError", "OSError", "ForkError", "TemplateError", "RuntimeError")
    assert all(text.startswith(known) for text in outcomes), outcomes


NO_MEMORY = """
import mmap, os
from pathlib import Path

held = []
half = {half}

def before():
    # Two that touch are one to the kernel, too large to be copied: the fork gets ENOMEM.
    while len(held) < {count} and Path({flag!r}).exists():
        held.append(mmap.mmap(-1, half, flags=mmap.MAP_PRIVATE))

os.register_at_fork(before=before, after_in_parent=held.clear)
"""


@needs_linux
def test_a_fork_that_the_kernel_has_no_memory_for_is_told(project: Project, tmp_path: Path) -> None:
    """ENOMEM: the kernel refuses to copy more than there is memory."""
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "1":
        pytest.skip("the kernel promises any amount of memory here (vm.overcommit_memory is 1)")
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total = sum(int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "SwapTotal"))
    flag = tmp_path / "no-memory"
    half = total // 3 // 4096 * 4096
    project.dependency("dep_memory.py", NO_MEMORY.format(half=half, count=4, flag=str(flag)))
    project.write("app.py", "import dep_memory\n")
    with project.open(spares=0, learn=False) as env:
        template = env.run(os.getppid)
        flag.touch()
        error = catch(lambda: env.run(os.getppid))
        flag.unlink()
        assert isinstance(error, ForkError) and "Cannot allocate memory" in str(error)
        assert env.run(os.getppid) == template


# -- descriptors -----------------------------------------------------------------------------------


@needs_linux
def test_a_template_without_descriptors_says_so_and_goes_on(project: Project, measure: Measure) -> None:
    # A spare would serve without the template.
    with project.open(spares=0, learn=False) as env:
        says_so_and_goes_on(env, measure)


def says_so_and_goes_on(env: Environment, measure: Measure) -> None:
    import resource

    def held_by_parent() -> int:
        return len(os.listdir(f"/proc/{os.getppid()}/fd"))

    first = env.exec(held_by_parent)
    held, template = first.result(), env.run(os.getppid)
    first.wait()
    before = resource.prlimit(template, resource.RLIMIT_NOFILE)
    count = times(100, least=2)
    with measure("EMFILE in the template", 8 * count) as outcome:
        errors = 0
        for free in range(8 * count):
            # Descriptors are numbered from 0, so a limit is a highest number: a few of the low ones are free.
            resource.prlimit(template, resource.RLIMIT_NOFILE, (free % 8 + 3, before[1]))
            try:
                assert env.run(abs, -2) == 2
            except ForkError as error:
                errors += 1
                assert "no descriptors left in the template" in str(error)
            resource.prlimit(template, resource.RLIMIT_NOFILE, before)
            assert env.run(abs, -3) == 3
        outcome.append(f"{errors} ForkErrors, then it went on")
    assert errors
    last = env.exec(held_by_parent)
    assert last.result() == held
    assert env.run(os.getppid) == template


HOST_WITHOUT_DESCRIPTORS = """
import os, resource, sys, time
import soakwork
from firehot import FirehotError, isolate_imports

SOFT = 300

def held():
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/dev/fd")]
    return [os.readlink(link) for link in links if os.path.lexists(link)]

def assert_held(*counts):
    # What could not be opened is taken down on another thread.
    deadline = time.monotonic() + 5
    while len(held()) not in counts and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(held()) in counts, (counts, held())

def fill():
    taken = []
    try:
        while True:
            taken.append(os.dup(0))
    except OSError:
        pass
    for _ in range(min(free, len(taken))):
        os.close(taken.pop())
    return taken

def attempt(call):
    try:
        return str(call())
    except (OSError, FirehotError, RuntimeError) as error:
        return type(error).__name__

def open_and_run():
    global OPEN
    with isolate_imports("my_package", learn=False) as environment:
        value = environment.exec(soakwork.double, 2)
        value.wait()
        # Of the dispatcher, the template, what the kernel tells of changes, and the spare: the least, since those of
        # the child are closed in the moment that its end is told.
        OPEN = OPEN or min(len(held()) for _ in range(20) if not time.sleep(0.01))
        return value.result()

OPEN = 0
print(open_and_run())
CLEAN = len(held())
resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, SOFT))
"""


@needs_proc
def test_a_host_with_few_descriptors_gets_an_error_and_loses_none(
    scripts: Scripts, script_package: str, measure: Measure
) -> None:
    """With each number of free descriptors: an exec, an update, an opening."""
    # Each number of free descriptors, or a sample.
    rounds = range(0, 26, 26 // times(26, least=6))
    outcomes: list[str] = []
    with measure("EMFILE in the host: exec, update, open", 3 * len(rounds)) as outcome:
        finished = scripts.run(
            HOST_WITHOUT_DESCRIPTORS
            + """
def edit_and_update(environment, number):
    with open("my_package/app.py", "a") as file:
        file.write(f"import abc as a{number}, bisect\\n")
    return environment.update_environment()

for free in range(0, 26, int(sys.argv[1])):
    with isolate_imports("my_package", learn=False) as environment:
        environment.exec(soakwork.double, 2).wait()
        assert_held(OPEN)
        for call in (
            lambda: environment.exec(soakwork.double, 2).wait(),
            lambda: edit_and_update(environment, free),
        ):
            taken = fill()
            print(attempt(call))
            for fd in taken:
                os.close(fd)
        process = environment.exec(soakwork.double, 3)
        assert process.result() == 6
        process.wait()
        # What was added may be in a layer, which has a socket and a pipe.
        assert_held(OPEN, OPEN + 2)
    assert_held(CLEAN)
    taken = fill()
    print(attempt(open_and_run))
    for fd in taken:
        os.close(fd)
    assert_held(CLEAN)
assert open_and_run() == 4
""",
            str(rounds.step),
            env={"PYTHONPATH": str(HERE)},
        )
        outcomes = finished.ok().split()[1:]
        outcome.append(f"{sum(text.endswith('Error') for text in outcomes)} errors, nothing lost")
    assert len(outcomes) == 3 * len(rounds)
    assert outcomes[0] == "OSError" and outcomes[2].endswith("Error")
    # All three work when enough is free, and nothing but the kinds that are told of comes.
    assert outcomes[-3] == "0" and outcomes[-1] == "4"
    assert set(outcomes) <= {"0", "4", "True", "False", "OSError", "TemplateError", "ForkError"}, outcomes


@needs_proc
def test_a_host_that_lowers_its_limit_below_what_it_holds_goes_on(scripts: Scripts, script_package: str) -> None:
    """`poll` refuses a table that is longer than the limit."""
    finished = scripts.run(
        """
        import os, resource
        import soakwork
        from firehot import isolate_imports

        with isolate_imports("my_package") as environment:
            processes = [environment.exec(soakwork.wait_for, "go", number) for number in range(20)]
            resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
            os.mkdir("go")
            assert [process.result(20) for process in processes] == list(range(20))
            assert [process.wait(20) for process in processes] == [0] * 20
        print("closed")
        """,
        env={"PYTHONPATH": str(HERE)},
    )
    assert finished.ok() == "closed\n"


# -- disk ------------------------------------------------------------------------------------------

RUNS = """
import os, sys, tempfile
import soakwork
from firehot import isolate_imports

with isolate_imports("my_package") as environment:
    values = [environment.run(soakwork.double, number) for number in range(5)]
    values.append(environment.run(lambda: 10))
    environment.update_environment()
print(values)
"""
VALUES = "[0, 2, 4, 6, 8, 10]\n"


def test_no_file_may_be_written(scripts: Scripts, script_package: str) -> None:
    """RLIMIT_FSIZE is 0: the host, the template and its children can't write one byte to any file."""
    text = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n" + RUNS
    unset = {"PYTHONDONTWRITEBYTECODE": ""}
    finished = scripts.run(text, env={"PYTHONPATH": str(HERE), **unset})
    assert finished.ok() == VALUES
    assert not finished.stderr


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own without a free byte."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "firehot-full", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="mounts a tmpfs, as root")
def test_a_full_disk_changes_nothing(scripts: Scripts, full_disk: Path) -> None:
    """Project, home and temporary folder lie on it."""
    package = full_disk / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "app.py").write_text("import json\nimport decimal\n")
    with open(full_disk / "ballast", "wb", buffering=0) as ballast, pytest.raises(OSError, match="No space left"):
        while True:
            ballast.write(bytes(4096))
    environ = {
        "PYTHONPATH": os.pathsep.join((str(HERE), str(full_disk))),
        "HOME": str(full_disk),
        "TMPDIR": str(full_disk),
        "PYTHONDONTWRITEBYTECODE": "",
    }
    finished = scripts.run(RUNS, env=environ, cwd=full_disk)
    assert finished.ok() == VALUES
    assert not finished.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
def test_a_stdout_on_a_full_disk_loses_output_and_nothing_else(scripts: Scripts, script_package: str) -> None:
    with open("/dev/full", "w") as full:
        finished = scripts.run(
            """
            import sys
            import soakwork
            from firehot import isolate_imports
            with isolate_imports("my_package") as environment:
                print(environment.run(soakwork.write_raw, b"lost\\n"), file=sys.stderr)
                print(environment.run(soakwork.double, 2), file=sys.stderr)
            """,
            env={"PYTHONPATH": str(HERE)},
            stdout=full,
        )
    assert finished.stderr.splitlines()[:2] == ["None", "4"]


def test_a_read_only_home_changes_nothing(somebody: Somebody) -> None:
    project = somebody.home / "project"
    (project / "my_package").mkdir(parents=True)
    (project / "my_package" / "__init__.py").touch()
    (project / "my_package" / "app.py").write_text("import json\nimport decimal\n")
    for folder in (project / "my_package", project, somebody.home):
        folder.chmod(0o555)
    text = f"""
import os
os.chdir({str(project)!r})
try:
    open("probe", "w")
except PermissionError:
    pass
else:
    raise AssertionError("this place can be written to")
"""
    try:
        path = os.pathsep.join((str(HERE), str(project)))
        finished = somebody.run(text + RUNS, PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="")
    finally:
        for folder in (somebody.home, project, project / "my_package"):
            folder.chmod(0o755)
    assert finished.ok() == VALUES
    assert not finished.stderr
