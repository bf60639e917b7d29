"""`Environment.watch`: what counts as a change, and what is one change."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from support import DEADLINE, Project
from watching import expect, git, nothing_but

from firehot import ChangeSet, Watch
from firehot.environment import Environment

# -- plain changes -------------------------------------------------------------------------------


def test_files_that_are_added_changed_and_removed_are_told_apart(project: Project, watch: Watch) -> None:
    project.write("app.py", "one = 2\n")
    project.write("new.py", "")
    (project.package / "data/table.csv").unlink()
    expect(project, watch, {"added": ["new.py"], "changed": ["app.py"], "removed": ["data/table.csv"]})


def test_paths_are_sorted_and_absolute(project: Project, watch: Watch) -> None:
    for name in ("z.py", "a.py", "m.txt"):
        project.write(name, "")
    changes = watch.wait(DEADLINE)
    assert changes == ChangeSet(tuple(project.package / name for name in ("a.py", "m.txt", "z.py")), (), ())
    assert str(project.package / "a.py") in changes
    assert list(changes) == sorted(changes.added)


def test_a_touch_and_other_rights_count_as_changes(project: Project, watch: Watch) -> None:
    os.utime(project.package / "app.py")
    expect(project, watch, {"changed": ["app.py"]})
    (project.package / "app.py").chmod(0o755)
    expect(project, watch, {"changed": ["app.py"]})


def test_an_edit_that_puts_the_date_back_is_told(project: Project, watch: Watch) -> None:
    file = project.package / "app.py"
    before = file.stat()
    file.write_text("one = 9\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    expect(project, watch, {"changed": ["app.py"]})


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
    expect(project, watch, {"changed": ["app.py"]})


def test_a_renamed_file_is_gone_here_and_new_there(project: Project, watch: Watch) -> None:
    (project.package / "app.py").rename(project.package / "sub" / "application.py")
    expect(project, watch, {"added": ["sub/application.py"], "removed": ["app.py"]})


def test_reading_is_no_change(project: Project, watch: Watch) -> None:
    nothing_but(project, watch, lambda: [(project.package / "app.py").read_bytes() for _ in range(100)])


def test_a_file_that_a_link_points_to_is_told(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "inside.py").write_text("")
    (project.package / "linked").symlink_to(folder)
    with project.open() as environment, environment.watch() as watch:
        (folder / "inside.py").write_text("x = 1\n")
        expect(project, watch, {"changed": ["linked/inside.py"]})
        other = tmp_path / "other"
        other.mkdir()
        (other / "fresh.py").write_text("")
        (project.package / "linked").unlink()
        (project.package / "linked").symlink_to(other)
        expect(project, watch, {"added": ["linked/fresh.py"], "removed": ["linked/inside.py"]})
        (other / "fresh.py").write_text("y = 1\n")
        expect(project, watch, {"changed": ["linked/fresh.py"]})


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
    expect(project, watch, {"added": ["fresh/a/b/c/module.py"]})
    project.write("fresh/a/b/c/module.py", "x = 22\n")
    expect(project, watch, {"changed": ["fresh/a/b/c/module.py"]})


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
    expect(project, watch, {"removed": ["sub/deep/module.py"]})
    away.rename(folder)
    expect(project, watch, {"added": ["sub/deep/module.py"]})
    project.write("sub/deep/module.py", "x = 1\n")
    expect(project, watch, {"changed": ["sub/deep/module.py"]})


def test_a_folder_that_is_deleted_and_made_again_at_once_goes_on(project: Project, watch: Watch) -> None:
    for number in range(20):
        shutil.rmtree(project.package / "sub")
        project.write("sub/deep/module.py", f"x = {number}\n")
        expect(project, watch, {"changed": ["sub/deep/module.py"]})


def test_the_package_itself_may_be_deleted_and_made_again(project: Project, watch: Watch) -> None:
    shutil.rmtree(project.package)
    expect(project, watch, {"removed": ["__init__.py", "app.py", "data/table.csv", "sub/deep/module.py"]})
    project.write("app.py", "again = 1\n")
    expect(project, watch, {"added": ["app.py"]})
    project.write("app.py", "again = 22\n")
    expect(project, watch, {"changed": ["app.py"]})


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
        expect(project, watch, {"added": ["kept.log", "sub/generated.py"]})


def test_changed_rules_are_obeyed_at_once(project: Project) -> None:
    project.write("a.log", "")
    project.write("logs/b.txt", "")
    with project.open() as environment, environment.watch() as watch:
        project.write(".gitignore", "*.log\nlogs/\n")
        expect(project, watch, {"added": [".gitignore"]})
        nothing_but(project, watch, lambda: [project.write(name, "x") for name in ("a.log", "logs/b.txt", "logs/c")])
        project.write(".gitignore", "")
        expect(project, watch, {"changed": [".gitignore"]})
        project.write("a.log", "xx")
        project.write("logs/b.txt", "xx")
        expect(project, watch, {"changed": ["a.log", "logs/b.txt"]})


def test_rules_and_files_that_change_together_are_told_together(project: Project) -> None:
    project.write("a.py", "")
    project.write("hidden/a.py", "")
    project.write(".gitignore", "hidden/\n")
    with project.open() as environment, environment.watch() as watch:
        project.write(".gitignore", "hidden/\nother/\n")
        project.write("a.py", "x = 1\n")
        project.write("b.py", "")
        expect(project, watch, {"added": ["b.py"], "changed": [".gitignore", "a.py"]})


def test_rules_above_the_package_are_obeyed_at_once(project: Project) -> None:
    git(project, "init", "-q")
    with project.open() as environment, environment.watch() as watch:
        (project.root / ".gitignore").write_text("*.log\n")
        nothing_but(project, watch, lambda: project.write("a.log", "x"))


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
        expect(project, first, {"added": ["one.py"]})
        with env.watch() as second:
            project.write("two.py", "")
            for each in (first, second):
                expect(project, each, {"added": ["two.py"]})
        project.write("three.py", "")
        expect(project, first, {"added": ["three.py"]})
        assert second.wait(0) is None


def test_a_slow_reader_finds_all_in_one_set(project: Project, env: Environment) -> None:
    with env.watch() as slow, env.watch() as quick:
        project.write("one.py", "")
        expect(project, quick, {"added": ["one.py"]})
        project.write("two.py", "")
        expect(project, quick, {"added": ["two.py"]})
        (project.package / "one.py").unlink()
        expect(project, quick, {"removed": ["one.py"]})
        expect(project, slow, {"added": ["two.py"]})


def test_what_was_before_the_watch_is_not_told(project: Project, env: Environment) -> None:
    with env.watch():
        for number in range(20):
            project.write("app.py", f"one = {number}\n")
            with env.watch() as watch:
                nothing_but(project, watch, lambda: None)
