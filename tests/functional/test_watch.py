"""`Environment.watch`: what counts as a change, and what is one change."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import DEADLINE, Project

from firehot import ChangeSet, Watch
from firehot.environment import Environment


@pytest.fixture
def watch(project: Project) -> Iterator[Watch]:
    """A watch of a project with a few files."""
    project.write("app.py", "one = 1\n")
    project.write("data/table.csv", "a,b\n")
    project.write("sub/deep/module.py", "")
    with project.open() as environment, environment.watch() as opened:
        yield opened


def names(project: Project, paths: tuple[Path, ...]) -> list[str]:
    return [str(path.relative_to(project.root).relative_to(project.name)) for path in paths]


def told(project: Project, watch: Watch) -> dict[str, list[str]]:
    """The next set, by names in the package; what is empty is left out."""
    changes = watch.wait(DEADLINE)
    assert changes is not None
    assert len(changes) == len(changes.paths) > 0
    kinds = {"added": changes.added, "changed": changes.changed, "removed": changes.removed}
    return {kind: names(project, paths) for kind, paths in kinds.items() if paths}


def nothing_but(project: Project, watch: Watch, act: Callable[[], object]) -> None:
    """Does something that is no change, and then one: only that is told."""
    act()
    project.write("marker.txt", str(time.monotonic_ns()))
    seen = told(project, watch)
    assert seen in ({"added": ["marker.txt"]}, {"changed": ["marker.txt"]})


# -- plain changes -------------------------------------------------------------------------------


def test_files_that_are_added_changed_and_removed_are_told_apart(project: Project, watch: Watch) -> None:
    project.write("app.py", "one = 2\n")
    project.write("new.py", "")
    (project.package / "data/table.csv").unlink()
    assert told(project, watch) == {"added": ["new.py"], "changed": ["app.py"], "removed": ["data/table.csv"]}


def test_paths_are_sorted_and_absolute(project: Project, watch: Watch) -> None:
    for name in ("z.py", "a.py", "m.txt"):
        project.write(name, "")
    changes = watch.wait(DEADLINE)
    assert changes == ChangeSet(tuple(project.package / name for name in ("a.py", "m.txt", "z.py")), (), ())
    assert str(project.package / "a.py") in changes
    assert list(changes) == sorted(changes.added)


def test_a_touch_and_other_rights_count_as_changes(project: Project, watch: Watch) -> None:
    os.utime(project.package / "app.py")
    assert told(project, watch) == {"changed": ["app.py"]}
    (project.package / "app.py").chmod(0o755)
    assert told(project, watch) == {"changed": ["app.py"]}


def test_an_edit_that_puts_the_date_back_is_told(project: Project, watch: Watch) -> None:
    file = project.package / "app.py"
    before = file.stat()
    file.write_text("one = 9\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert told(project, watch) == {"changed": ["app.py"]}


def test_a_file_that_came_and_went_is_no_change(project: Project, watch: Watch) -> None:
    def act() -> None:
        project.write("short.py", "x")
        (project.package / "short.py").unlink()
        project.write("gone/short.py", "x")
        shutil.rmtree(project.package / "gone")

    nothing_but(project, watch, act)


def test_a_file_that_was_removed_and_made_again_has_changed(project: Project, watch: Watch) -> None:
    (project.package / "app.py").unlink()
    project.write("app.py", "one = 3\n")
    assert told(project, watch) == {"changed": ["app.py"]}


def test_a_renamed_file_is_gone_here_and_new_there(project: Project, watch: Watch) -> None:
    (project.package / "app.py").rename(project.package / "sub" / "application.py")
    assert told(project, watch) == {"added": ["sub/application.py"], "removed": ["app.py"]}


def test_reading_is_no_change(project: Project, watch: Watch) -> None:
    nothing_but(project, watch, lambda: [(project.package / "app.py").read_bytes() for _ in range(100)])


def test_a_file_that_a_link_points_to_is_told(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "inside.py").write_text("")
    (project.package / "linked").symlink_to(folder)
    with project.open() as environment, environment.watch() as watch:
        (folder / "inside.py").write_text("x = 1\n")
        assert told(project, watch) == {"changed": ["linked/inside.py"]}
        other = tmp_path / "other"
        other.mkdir()
        (other / "fresh.py").write_text("")
        (project.package / "linked").unlink()
        (project.package / "linked").symlink_to(other)
        assert told(project, watch) == {"added": ["linked/fresh.py"], "removed": ["linked/inside.py"]}
        (other / "fresh.py").write_text("y = 1\n")
        assert told(project, watch) == {"changed": ["linked/fresh.py"]}


def test_pyproject_and_the_files_of_first_party_packages_are_watched(project: Project) -> None:
    settings = project.settings("preload = []")
    other = project.root / "neighbour" / "module.py"
    other.parent.mkdir()
    other.write_text("")
    single = project.root / "single.py"
    single.write_text("")
    (project.root / "unrelated.py").write_text("")
    project.write("app.py", "import neighbour.module, single\n")
    with project.open() as environment, environment.watch() as watch:
        (project.root / "unrelated.py").write_text("x = 1\n")
        for file in (settings, other, single):
            os.utime(file)
        changes = watch.wait(DEADLINE)
        assert changes == ChangeSet((), tuple(sorted((settings, other, single))), ())


# -- folders -------------------------------------------------------------------------------------


def test_a_new_folder_is_watched_with_what_was_made_in_it_at_once(project: Project, watch: Watch) -> None:
    project.write("fresh/a/b/c/module.py", "x = 1\n")
    assert told(project, watch) == {"added": ["fresh/a/b/c/module.py"]}
    project.write("fresh/a/b/c/module.py", "x = 22\n")
    assert told(project, watch) == {"changed": ["fresh/a/b/c/module.py"]}


def test_many_folders_made_in_a_burst_lose_no_file(project: Project, watch: Watch) -> None:
    expected = set()
    for outer in range(20):
        for inner in range(10):
            expected.add(project.write(f"tree{outer}/{inner}/module.py", ""))
    seen: set[Path] = set()
    while not expected <= seen:
        changes = watch.wait(DEADLINE)
        assert changes is not None
        seen.update(changes.added)
    assert seen == expected


def test_a_folder_that_is_moved_away_and_back_goes_on(project: Project, watch: Watch, tmp_path: Path) -> None:
    folder, away = project.package / "sub", tmp_path / "away"
    folder.rename(away)
    assert told(project, watch) == {"removed": ["sub/deep/module.py"]}
    away.rename(folder)
    assert told(project, watch) == {"added": ["sub/deep/module.py"]}
    project.write("sub/deep/module.py", "x = 1\n")
    assert told(project, watch) == {"changed": ["sub/deep/module.py"]}


def test_a_folder_that_is_deleted_and_made_again_at_once_goes_on(project: Project, watch: Watch) -> None:
    for number in range(20):
        shutil.rmtree(project.package / "sub")
        project.write("sub/deep/module.py", f"x = {number}\n")
        assert told(project, watch) == {"changed": ["sub/deep/module.py"]}, number


def test_the_package_itself_may_be_deleted_and_made_again(project: Project, watch: Watch) -> None:
    shutil.rmtree(project.package)
    assert told(project, watch)["removed"] == ["__init__.py", "app.py", "data/table.csv", "sub/deep/module.py"]
    project.write("app.py", "again = 1\n")
    assert told(project, watch) == {"added": ["app.py"]}
    project.write("app.py", "again = 22\n")
    assert told(project, watch) == {"changed": ["app.py"]}


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
    save(project.package / "app.py")
    assert told(project, watch) == {"changed": ["app.py"]}
    nothing_but(project, watch, lambda: None)


def test_what_interpreters_and_tools_write_is_no_change(project: Project, watch: Watch) -> None:
    def act() -> None:
        for name in ("__pycache__/app.cpython-311.pyc", ".git/index", ".mypy_cache/x.json", "node_modules/a/b.js"):
            project.write(name, "x")
            project.write(name, "xx")
        project.write(".venv/pyvenv.cfg", "")
        project.write("environment/pyvenv.cfg", "")
        project.write("environment/lib/module.py", "")

    act()
    # Of an environment that is being made, the first file may be seen before it is known as one.
    deadline = time.monotonic() + DEADLINE
    project.write("marker.txt", "")
    while time.monotonic() < deadline:
        seen = told(project, watch)
        if "marker.txt" in seen.get("added", []):
            break
    project.write("environment/lib/module.py", "x = 1\n")
    nothing_but(project, watch, act)


# -- rules ---------------------------------------------------------------------------------------


def test_what_git_ignores_is_no_change(project: Project) -> None:
    project.write(".gitignore", "*.log\nbuild/\n/generated.py\n!kept.log\n")
    (project.root / ".gitignore").write_text("*.tmp\n")
    project.write("build/old.py", "")
    with project.open() as environment, environment.watch() as watch:

        def act() -> None:
            for name in ("a.log", "sub/b.log", "build/old.py", "build/new.py", "generated.py", "x.tmp"):
                project.write(name, "x")

        nothing_but(project, watch, act)
        project.write("kept.log", "")
        project.write("sub/generated.py", "")
        assert told(project, watch) == {"added": ["kept.log", "sub/generated.py"]}


def test_changed_rules_are_obeyed_at_once(project: Project) -> None:
    project.write("a.log", "")
    project.write("logs/b.txt", "")
    with project.open() as environment, environment.watch() as watch:
        project.write(".gitignore", "*.log\nlogs/\n")
        assert told(project, watch) == {"added": [".gitignore"]}
        nothing_but(project, watch, lambda: [project.write(name, "x") for name in ("a.log", "logs/b.txt", "logs/c")])
        project.write(".gitignore", "")
        assert told(project, watch) == {"changed": [".gitignore"]}
        project.write("a.log", "xx")
        project.write("logs/b.txt", "xx")
        assert told(project, watch) == {"changed": ["a.log", "logs/b.txt"]}


def test_rules_and_files_that_change_together_are_told_together(project: Project) -> None:
    project.write("a.py", "")
    project.write("hidden/a.py", "")
    project.write(".gitignore", "hidden/\n")
    with project.open() as environment, environment.watch() as watch:
        project.write(".gitignore", "hidden/\nother/\n")
        project.write("a.py", "x = 1\n")
        project.write("b.py", "")
        assert told(project, watch) == {"added": ["b.py"], "changed": [".gitignore", "a.py"]}


def test_rules_above_the_package_are_obeyed_at_once(project: Project) -> None:
    git(project, "init", "-q")
    with project.open() as environment, environment.watch() as watch:
        (project.root / ".gitignore").write_text("*.log\n")
        nothing_but(project, watch, lambda: project.write("a.log", "x"))


# -- git -----------------------------------------------------------------------------------------


def git(project: Project, *arguments: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", *arguments]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(command, cwd=project.root, check=True, env=environment, stdout=subprocess.DEVNULL)


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
        assert told(project, watch) == {"added": ["first.py", "second.py"]}


def test_a_lock_that_a_crash_has_left_does_not_hold_for_ever(project: Project) -> None:
    git(project, "init", "-q")
    (project.root / ".git" / "index.lock").touch()
    with project.open() as environment, environment.watch() as watch:
        project.write("first.py", "")
        assert told(project, watch) == {"added": ["first.py"]}
        began = time.monotonic()
        project.write("second.py", "")
        assert told(project, watch) == {"added": ["second.py"]}
        assert time.monotonic() - began < 1.5, "it is known as a left one"


# -- readers -------------------------------------------------------------------------------------


def test_an_endless_stream_of_changes_is_told_all_the_same(project: Project, watch: Watch) -> None:
    began, count = time.monotonic(), 0
    changes: ChangeSet | None = None
    while changes is None and time.monotonic() < began + DEADLINE:
        count += 1
        project.write("app.py", f"one = {count}\n")
        try:
            changes = watch.wait(0.01)
        except TimeoutError:
            continue
    assert changes is not None
    assert count > 10, "it was told in the middle of the stream, and not at its start"


def test_each_watch_is_told_everything(project: Project, env: Environment) -> None:
    with env.watch() as first:
        project.write("one.py", "")
        assert told(project, first) == {"added": ["one.py"]}
        with env.watch() as second:
            project.write("two.py", "")
            for each in (first, second):
                assert told(project, each) == {"added": ["two.py"]}
        project.write("three.py", "")
        assert told(project, first) == {"added": ["three.py"]}
        assert second.wait(0) is None


def test_a_slow_reader_finds_all_in_one_set(project: Project, env: Environment) -> None:
    with env.watch() as slow, env.watch() as quick:
        project.write("one.py", "")
        assert told(project, quick) == {"added": ["one.py"]}
        project.write("two.py", "")
        assert told(project, quick) == {"added": ["two.py"]}
        (project.package / "one.py").unlink()
        assert told(project, quick) == {"removed": ["one.py"]}
        assert told(project, slow) == {"added": ["two.py"]}


def test_what_was_before_the_watch_is_not_told(project: Project, env: Environment) -> None:
    with env.watch():
        for number in range(20):
            project.write("app.py", f"one = {number}\n")
            with env.watch() as watch:
                nothing_but(project, watch, lambda: None)
