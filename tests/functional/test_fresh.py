"""The check before each exec asks the kernel what has changed, and looks at files only where that does not tell."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from packages import keeps, rebuilds, value_of
from support import Finished, Project, Scripts, needs_proc, open_descriptors

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems look at every file each time")
INOTIFY = "anon_inode:inotify"
CHECKED = re.compile(r"(\d+) files are as they were \(\d+ us, (\d+) looked at\)")

# What the scripts have in common: a module of the site folder, runs that tell what is in it, and changes in between. A
# layer of what runs have imported would be looked at once itself.
OPENED = """
    import importlib, os, pkgutil, subprocess, sys
    from pathlib import Path
    from firehot import isolate_imports

    site = Path(sys.argv[1])
    file = site / "dep_a.py"
    sys.path.insert(0, str(site))

    def run(*command):
        subprocess.run(command, check=True)

    def value():
        print(environment.run(pkgutil.resolve_name, "dep_a:VALUE"), flush=True)
"""


@pytest.fixture
def site(scripts: Scripts, script_package: str) -> Path:
    dependency = scripts.save("VALUE = 'old'\n", "third_party/dep_a.py")
    scripts.save("import dep_a\n", f"{script_package}/app.py")
    return dependency.parent


def run(scripts: Scripts, site: Path, steps: str, before: Sequence[str] = (), level: str = "debug") -> Finished:
    """Runs these steps in an open environment; `before` stands before the command."""
    body = OPENED + "\n    with isolate_imports('my_package', learn=False) as environment:\n" + steps
    script = scripts.save(body)
    command = [*before, sys.executable, str(script), str(site)]
    finished = scripts.run_command(command, env={"FIREHOT_LOG_LEVEL": level})
    finished.ok()
    return finished


def looked_at(finished: Finished) -> list[int]:
    """How many things each check has looked at that found all as it was."""
    return [int(looked) for _, looked in CHECKED.findall(finished.stderr)]


# -- what is looked at ---------------------------------------------------------------------------------


@needs_linux
def test_nothing_is_looked_at_while_nothing_happens(scripts: Scripts, site: Path) -> None:
    finished = run(scripts, site, "        for _ in range(5): value()\n")
    first, *others = looked_at(finished)
    files = [int(files) for files, _ in CHECKED.findall(finished.stderr)]
    assert first >= files[0] > 0
    assert others == [0, 0, 0, 0]


@needs_linux
@pytest.mark.parametrize(
    "change",
    [
        "(site / 'other.py').write_text('')",
        "(site / 'folder').mkdir(); (site / 'folder' / 'other.py').write_text('')",
        "[(site / 'other.txt').write_text('x' * number) for number in range(3)]; (site / 'other.txt').unlink()",
        "file.read_text()",
        "os.chmod(site / 'beside.txt', 0o600)",
        "os.rename(site / 'beside.txt', site / 'elsewhere.txt')",
    ],
)
def test_what_happens_beside_a_file_is_no_reason_to_look_at_it(scripts: Scripts, site: Path, change: str) -> None:
    (site / "beside.txt").write_text("")
    finished = run(scripts, site, f"        value(); {change}; value(); value()\n")
    assert looked_at(finished)[1:] == [0, 0]
    assert finished.stdout.split() == ["old"] * 3


@needs_linux
def test_only_what_was_touched_is_looked_at(scripts: Scripts, site: Path) -> None:
    """A file that was missing is touched when one comes there, and is as it was when that goes again."""
    lines = (
        "from pathlib import Path",
        "try: open(Path(__file__).with_name('lock'))",
        "except OSError: VALUE = 'old'",
    )
    (site / "dep_a.py").write_text("\n".join(lines))
    script = "        value(); (site / 'lock').touch(); (site / 'lock').unlink(); value(); value()\n"
    finished = run(scripts, site, script)
    assert looked_at(finished)[1:] == [1, 0]
    assert finished.stdout.split() == ["old"] * 3


# -- ways ----------------------------------------------------------------------------------------------


def test_a_folder_above_that_is_replaced_is_seen(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("releases/now", "releases/next")):
        module = tmp_path / name / "lib" / "dep_a.py"
        module.parent.mkdir(parents=True)
        module.write_text(f"VALUE = {number}\n")
        os.utime(module, (10**9, 10**9))
    monkeypatch.syspath_prepend(str(tmp_path / "releases" / "now" / "lib"))
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        with keeps(environment):
            assert value_of(environment) == 0
        with rebuilds(environment, "dep_a.py changed"):
            (tmp_path / "releases" / "now").rename(tmp_path / "releases" / "before")
            (tmp_path / "releases" / "next").rename(tmp_path / "releases" / "now")
        assert value_of(environment) == 1


def test_a_folder_of_the_path_that_comes_later_is_seen(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    later = project.root / "not" / "yet"
    monkeypatch.syspath_prepend(str(later))
    project.write("app.py", "import dep_late\n")
    with project.open() as environment:
        with keeps(environment):
            assert "dep_late" in environment.skipped
        with rebuilds(environment, "dep_late can be imported now"):
            later.mkdir(parents=True)
            (later / "dep_late.py").write_text("VALUE = 1\n")
        assert value_of(environment, "dep_late") == 1


def test_what_a_check_of_one_template_hears_counts_for_the_others(project: Project) -> None:
    data = project.dependency("data.txt", "old")
    project.dependency(
        "dep_a.py",
        f"import os\nVALUE = open({str(data)!r}).read() if os.environ.get('DEP_MODE') else None\n",
    )
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:

        def aside() -> tuple[int, str]:
            found: tuple[int, str] = environment.exec(look, env={"DEP_MODE": "read"}).result()
            return found

        before, value = aside()
        assert value == "old" and aside() == (before, "old")
        data.write_text("another")
        with keeps(environment):
            assert value_of(environment) is None
        after, value = aside()
        assert value == "another" and after != before


def look() -> tuple[int, str]:
    import importlib

    return os.getppid(), importlib.import_module("dep_a").VALUE


# -- what the kernel does not tell ---------------------------------------------------------------------


def unshared(*arguments: str) -> list[str]:
    """A command that runs the next one as root of a world of its own."""
    if sys.platform != "linux" or shutil.which("unshare") is None:
        pytest.skip("needs unshare (util-linux)")
    command = ["unshare", "--user", "--map-root-user", *arguments]
    if os.system(" ".join([*command, "true"]) + " 2>/dev/null") != 0:
        pytest.skip("this system lets nobody make user namespaces")
    return command


def test_a_file_system_that_is_mounted_over_a_folder_is_seen(scripts: Scripts, site: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "dep_a.py").write_text("VALUE = 'mounted'\n")
    steps = f"""
        value(); value()
        run("mount", "--bind", {str(other)!r}, str(site)); value(); value()
        run("umount", str(site)); value(); value()
"""
    finished = run(scripts, site, steps, unshared("--mount"))
    assert finished.stdout.split() == ["old", "old", "mounted", "mounted", "old", "old"]


def test_on_an_overlay_each_file_is_looked_at(scripts: Scripts, site: Path, tmp_path: Path) -> None:
    """What lies below it may be written to directly; such a write does not come to the queue."""
    for name in ("upper", "work", "lower"):
        (tmp_path / name).mkdir()
    steps = f"""
        value(); value()
        Path({str(tmp_path / "tmpfs/upper/dep_a.py")!r}).write_text("VALUE = 'another'\\n"); value()
"""
    mounts = f"""
mount -t tmpfs none {tmp_path}/tmpfs && cd {tmp_path}/tmpfs && mkdir upper work &&
mount -t overlay overlay -o lowerdir={site},upperdir=upper,workdir=work {site} &&
echo "VALUE = 'upper'" > {site}/dep_a.py && exec "$@"
"""
    (tmp_path / "tmpfs").mkdir()
    finished = run(scripts, site, steps, [*unshared("--mount"), "sh", "-ec", mounts, "sh"])
    assert finished.stdout.split() == ["upper", "upper", "another"]
    assert all(looked > 0 for looked in looked_at(finished))


@pytest.mark.parametrize(
    ("limit", "said"),
    [("watches", "see fs.inotify.max_user_watches"), ("instances", "see fs.inotify.max_user_instances")],
)
def test_files_are_looked_at_where_the_kernel_takes_no_more(
    scripts: Scripts, site: Path, limit: str, said: str
) -> None:
    few = {"watches": 20, "instances": 0}[limit]
    lower = f'echo {few} > /proc/sys/user/max_inotify_{limit} && exec "$@"'
    steps = "        value(); value(); file.write_text('VALUE = 4\\n'); value(); value()\n"
    finished = run(scripts, site, steps, [*unshared(), "sh", "-ec", lower, "sh"])
    assert finished.stdout.split() == ["old", "old", "4", "4"]
    assert finished.stderr.count(said) == 1
    assert all(looked > 0 for looked in looked_at(finished))


# -- whose it is ---------------------------------------------------------------------------------------


@needs_linux
def test_a_forked_copy_of_the_host_takes_no_watches_away(scripts: Scripts, site: Path) -> None:
    steps = """
        value(); value()
        if os.fork() == 0:
            environment.close()
            sys.exit()
        os.wait()
        value()
        file.write_text("VALUE = 'another'\\n"); value()
"""
    finished = run(scripts, site, steps)
    assert finished.stdout.split() == ["old", "old", "old", "another"]
    assert looked_at(finished)[1:] == [0, 0]


@needs_linux
@needs_proc
def test_an_environment_has_one_queue_and_gives_it_back_when_it_is_closed(project: Project) -> None:
    file = project.dependency("dep_a.py", "VALUE = 1\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        for number in range(2, 4):
            value_of(environment)
            file.write_text(f"VALUE = {number}\n")
            assert value_of(environment) == number
        assert list(open_descriptors().values()).count(INOTIFY) == 1
    assert INOTIFY not in open_descriptors().values(), "though somebody still has the environment"
    assert environment.runner_id
