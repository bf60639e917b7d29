"""Watching where the system can't tell of changes: files are looked at again and again, and it is said once."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from support import Scripts

POLLS = """
    import os, shutil, sys
    from pathlib import Path
    from firehot import isolate_imports

    package = Path("my_package")
    with isolate_imports("my_package", watch=True) as environment, environment.watch() as watch:
        (package / "new" / "deep").mkdir(parents=True)
        (package / "new" / "deep" / "a.py").write_text("import fractions\\n")
        (package / "app.py").write_text("import colorsys\\n")
        print(sorted(path.name for path in watch.wait(30).paths), flush=True)
        environment.update_environment()
        print(sorted({"fractions", "colorsys"} & set(environment.modules)), flush=True)
        shutil.rmtree(package / "new")
        print([path.name for path in watch.wait(30).removed], flush=True)
        environment.update_environment()
        print(sorted({"fractions", "colorsys"} & set(environment.modules)), flush=True)
"""
POLLED = ["['a.py', 'app.py']", "['colorsys', 'fractions']", "['a.py']", "['colorsys']"]


def test_polling_can_be_asked_for_and_finds_the_same(scripts: Scripts, script_package: str) -> None:
    finished = scripts.run(POLLS, env={"FIREHOT_WATCH": "poll"})
    assert finished.ok().splitlines() == POLLED
    assert not finished.stderr


def unshare() -> list[str]:
    """A command that has a namespace of its own, whose limits are nobody else's."""
    command = ["unshare", "--user", "--map-root-user", "sh", "-c"]
    program = shutil.which("unshare")
    if program is None or subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode != 0:
        pytest.skip("no namespace of one's own can be had here")
    return command


@pytest.mark.parametrize(
    ("limit", "count", "sysctl"),
    [
        ("max_inotify_instances", 0, "fs.inotify.max_user_instances"),
        ("max_inotify_watches", 3, "fs.inotify.max_user_watches"),
    ],
)
def test_a_limit_that_is_reached_is_told_once_and_files_are_polled(
    scripts: Scripts, script_package: str, limit: str, count: int, sysctl: str
) -> None:
    script = scripts.save(POLLS)
    command = f'echo {count} > /proc/sys/user/{limit} && exec "$0" "$1"'
    finished = scripts.run_command([*unshare(), command, sys.executable, str(script)])
    assert finished.ok().splitlines() == POLLED, finished.stderr
    (line,) = finished.stderr.splitlines()
    assert line.startswith("firehot [warn] watching by polling, which is slower:")
    assert sysctl in line


def test_a_limit_that_is_reached_later_is_told_and_files_are_polled(scripts: Scripts, script_package: str) -> None:
    script = scripts.save(
        """
        from pathlib import Path
        from firehot import isolate_imports

        with isolate_imports("my_package") as environment, environment.watch() as watch:
            for number in range(40):
                folder = Path("my_package") / f"folder{number}"
                folder.mkdir()
                (folder / "a.py").touch()
            seen = set()
            while len(seen) < 40:
                seen.update(watch.wait(30).added)
            Path("my_package/folder39/a.py").write_text("x = 1")
            print(len(seen), watch.wait(30).changed[0].parent.name)
        """
    )
    command = 'echo 20 > /proc/sys/user/max_inotify_watches && exec "$0" "$1"'
    finished = scripts.run_command([*unshare(), command, sys.executable, str(script)])
    assert finished.ok() == "40 folder39\n"
    assert finished.stderr.count("max_user_watches") == 1
