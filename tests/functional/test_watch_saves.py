"""`Environment.watch`: a save of an editor is one change, and so is a checkout of git."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import DEADLINE, Project
from watching import expect, git, nothing_but, told

from firehot import Watch

# -- editors -------------------------------------------------------------------------------------


def vim_with_backup(file: Path) -> None:
    """`:w` with `backupcopy=no`: probe, backup by rename, new file, backup removed; a swap file all the while."""
    swap = file.with_name(f".{file.name}.swp")
    swap.write_bytes(b"b0VIM 9.0")
    probe = file.with_name("4913")
    probe.touch()
    probe.unlink()
    backup = file.with_name(file.name + "~")
    file.rename(backup)
    file.write_text("vim = 1\n")
    file.chmod(0o644)
    backup.unlink()
    swap.write_bytes(b"b0VIM 9.0 more")


def vim_in_place(file: Path) -> None:
    backup = file.with_name(file.name + "~")
    shutil.copy(file, backup)
    with file.open("r+") as open_file:
        open_file.truncate()
        open_file.write("vim = 22\n")
    backup.unlink()


def emacs(file: Path) -> None:
    """Lock (a link to nowhere), autosave, backup by rename, new file."""
    lock = file.with_name(f".#{file.name}")
    lock.symlink_to("user@host.123:456")
    autosave = file.with_name(f"#{file.name}#")
    autosave.write_text("unsaved")
    file.rename(file.with_name(file.name + "~"))
    file.write_text("emacs = 1\n")
    autosave.unlink()
    lock.unlink()


def jetbrains(file: Path) -> None:
    temporary = file.with_name(file.name + "___jb_tmp___")
    temporary.write_text("jetbrains = 1\n")
    old = file.with_name(file.name + "___jb_old___")
    file.rename(old)
    temporary.rename(file)
    old.unlink()


def vscode(file: Path) -> None:
    temporary = file.with_name(file.name + ".vsctmp")
    temporary.write_text("vscode = 1\n")
    temporary.rename(file)


def vscode_in_place(file: Path) -> None:
    """Truncates, writes a moment later: two events."""
    with file.open("w") as open_file:
        open_file.flush()
        open_file.write("vscode = 22\n")


def gedit(file: Path) -> None:
    temporary = file.with_name(".goutputstream-AB12CD")
    temporary.write_text("gedit = 1\n")
    temporary.rename(file)


def kate(file: Path) -> None:
    swap = file.with_name(f".{file.name}.kate-swp")
    swap.write_bytes(b"swap")
    temporary = file.with_name(file.name + ".XyZ123")
    temporary.write_text("kate = 1\n")
    temporary.rename(file)
    swap.unlink()


def sed(file: Path) -> None:
    temporary = file.with_name("sedAbCdEf")
    temporary.write_text("sed = 1\n")
    temporary.rename(file)


EDITORS = [vim_with_backup, vim_in_place, emacs, jetbrains, vscode, vscode_in_place, gedit, kate, sed]


@pytest.mark.parametrize("save", EDITORS, ids=[editor.__name__ for editor in EDITORS])
def test_a_save_is_one_change_of_one_file(project: Project, watch: Watch, save: Callable[[Path], None]) -> None:
    # A machine that is busy may make a pause in the middle of a save; not each time.
    for _ in range(5):
        save(project.package / "app.py")
        if told(project, watch) == {"changed": ["app.py"]}:
            return
        project.write("marker.txt", str(time.monotonic_ns()))
        while not any("marker.txt" in names for names in told(project, watch).values()):
            continue
    raise AssertionError("no save was one change")


def test_what_interpreters_and_tools_write_is_no_change(project: Project, watch: Watch) -> None:
    def act() -> None:
        for name in ("__pycache__/app.cpython-311.pyc", ".git/index", ".mypy_cache/x.json", "node_modules/a/b.js"):
            project.write(name, "x")
            project.write(name, "xx")
        project.write(".venv/pyvenv.cfg", "")
        project.write("environment/pyvenv.cfg", "")
        project.write("environment/lib/module.py", "")

    # It comes whole: of one that is being made, files may be seen before it is known as an environment.
    made = project.root.parent / "made"
    (made / "lib").mkdir(parents=True)
    (made / "pyvenv.cfg").touch()
    (made / "lib" / "module.py").touch()
    made.rename(project.package / "environment")
    act()
    deadline = time.monotonic() + DEADLINE
    project.write("marker.txt", "")
    while time.monotonic() < deadline:
        seen = told(project, watch)
        if "marker.txt" in seen.get("added", []):
            break
    project.write("environment/lib/module.py", "x = 1\n")
    nothing_but(project, watch, act)


# -- git -----------------------------------------------------------------------------------------


def test_a_checkout_of_500_files_is_one_change(project: Project) -> None:
    for number in range(500):
        project.write(f"part{number % 50}/module{number}.py", "x = 1\n")
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "one")
    git(project, "checkout", "-q", "-b", "other")
    for number in range(500):
        project.write(f"part{number % 50}/module{number}.py", "x = 22\n")
    git(project, "rm", "-q", "-f", f"{project.name}/part0/module0.py")
    project.write("fresh/module.py", "")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "two")
    with project.open() as environment, environment.watch() as watch:
        git(project, "checkout", "-q", "-")
        seen = told(project, watch)
        assert seen["added"] == ["part0/module0.py"]
        assert seen["removed"] == ["fresh/module.py"]
        assert len(seen["changed"]) == 499
        nothing_but(project, watch, lambda: None)


def test_changes_wait_while_git_holds_its_lock(project: Project) -> None:
    git(project, "init", "-q")
    with project.open() as environment, environment.watch() as watch:
        lock = project.root / ".git" / "index.lock"
        lock.touch()
        project.write("first.py", "")
        with pytest.raises(TimeoutError):
            watch.wait(0.4)
        project.write("second.py", "")
        with pytest.raises(TimeoutError):
            watch.wait(0.4)
        lock.unlink()
        expect(project, watch, {"added": ["first.py", "second.py"]})


def test_a_lock_that_a_crash_has_left_does_not_hold_for_ever(project: Project) -> None:
    git(project, "init", "-q")
    (project.root / ".git" / "index.lock").touch()
    with project.open() as environment, environment.watch() as watch:
        project.write("first.py", "")
        expect(project, watch, {"added": ["first.py"]})
        began = time.monotonic()
        project.write("second.py", "")
        expect(project, watch, {"added": ["second.py"]})
        assert time.monotonic() - began < 1.5, "it is known as a left one"
