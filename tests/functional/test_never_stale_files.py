"""A run sees the files that its imports would read now: sources, archives, shared objects."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from packages import Index, keeps, rebuilds, value_of, write_zip
from support import Project

from firehot import ChildError

# -- files -----------------------------------------------------------------------------------------


def older(file: Path) -> None:
    """A backup is put back."""
    file.write_text("VALUE = 'from a backup'\n")
    os.utime(file, (10**9, 10**9))


def another_inode(file: Path) -> None:
    """What a package manager does that gives all files one date."""
    status, fresh = file.stat(), file.with_suffix(".new")
    fresh.write_text(file.read_text().replace("old", "new"))
    os.utime(fresh, ns=(status.st_atime_ns, status.st_mtime_ns))
    os.replace(fresh, file)


def put_back(file: Path) -> None:
    """Removed and made again with the same date: the file system may give it the same inode."""
    status, text = file.stat(), file.read_text()
    file.unlink()
    file.write_text(text.replace("old", "new"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def same_second(file: Path) -> None:
    status = file.stat()
    file.write_text(file.read_text().replace("old", "new"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000))


def plain(file: Path) -> None:
    file.write_text("VALUE = 'edited'\n")


@pytest.mark.parametrize("edit", [plain, older, another_inode, put_back, same_second])
def test_an_edit_of_a_dependency_is_seen(project: Project, edit: Callable[[Path], None]) -> None:
    file = project.dependency("dep_a.py", "VALUE = 'old'\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        with rebuilds(environment, "dep_a.py changed"):
            edit(file)
        assert value_of(environment) == file.read_text().split("'")[1] != "old"
        with keeps(environment):
            assert "dep_a" in environment.modules


def test_a_link_that_leads_elsewhere_is_seen(project: Project, tmp_path: Path) -> None:
    for release in ("one", "two"):
        module = tmp_path / release / "__init__.py"
        module.parent.mkdir()
        module.write_text(f"VALUE = {release!r}\n")
        os.utime(module, (10**9, 10**9))
    link = project.site / "dep_a"
    link.symlink_to(tmp_path / "one")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        with rebuilds(environment, "dep_a/__init__.py changed"):
            link.unlink()
            link.symlink_to(tmp_path / "two")
        assert value_of(environment) == "two"


def test_a_module_that_the_dependency_forgot_is_watched(project: Project) -> None:
    project.dependency("dep_a.py", "import sys\nfrom dep_helper import VALUE\ndel sys.modules['dep_helper']\n")
    project.dependency("dep_helper.py", "VALUE = 'old'\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        with rebuilds(environment, "dep_helper.py changed"):
            project.dependency("dep_helper.py", "VALUE = 'new'\n")
        assert value_of(environment) == "new"


def test_a_module_that_was_removed_is_gone(project: Project) -> None:
    file = project.dependency("dep_a.py", "VALUE = 'old'\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        with rebuilds(environment, "dep_a.py removed"):
            file.unlink()
        with pytest.raises(ChildError, match="No module named 'dep_a'"):
            value_of(environment)


def test_a_package_in_an_archive_is_watched(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "bundle.zip"
    write_zip(archive, {"dep_zipped/__init__.py": "VALUE = 'old'\n"})
    monkeypatch.syspath_prepend(str(archive))
    project.write("app.py", "import dep_zipped\n")
    with project.open() as environment:
        with rebuilds(environment, "bundle.zip changed"):
            write_zip(archive, {"dep_zipped/__init__.py": "VALUE = 'new'\n"})
        assert value_of(environment, "dep_zipped") == "new"
        assert "dep_zipped" in environment.modules


def a_shared_object() -> Path:
    """One of the standard library's own: no compiler is needed."""
    specs = filter(None, map(importlib.util.find_spec, ("_json", "_heapq", "_csv", "_bisect", "_zoneinfo")))
    return next(Path(spec.origin) for spec in specs if spec.has_location and spec.origin is not None)


@pytest.mark.parametrize("loaded_by", ["import", "ctypes"])
def test_a_shared_object_that_was_replaced_is_seen(project: Project, loaded_by: str) -> None:
    original = a_shared_object()
    name = original.name.partition(".")[0]
    copy = project.site / "dep_native" / original.name
    load = f"from dep_native import {name}" if loaded_by == "import" else f"import ctypes\nctypes.CDLL({str(copy)!r})"
    project.dependency("dep_native/__init__.py", load)
    shutil.copyfile(original, copy)
    project.write("app.py", "import dep_native\n")
    with project.open() as environment:
        assert "dep_native" in environment.modules
        with rebuilds(environment, f"{original.name} changed"):
            # As installers do: what is written into a mapped file changes the processes that have it.
            fresh = copy.with_suffix(".new")
            shutil.copyfile(original, fresh)
            os.replace(fresh, copy)
        assert "dep_native" in environment.modules


# -- editable dependencies in the host's path ------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The source of an editable dependency, on `sys.path` as its .pth file puts it there."""
    folder = tmp_path / "checkout"
    (folder / "dep_edited").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(folder))
    return folder


BRANCHES = {
    "main": {"__init__.py": "from dep_edited.one import A\nfrom dep_edited.two import B\nVALUE = A + B\n"}
    | {"one.py": "A = 'a'\n", "two.py": "B = 'b'\n"},
    "topic": {"__init__.py": "from dep_edited.one import A\nfrom dep_edited.three import C\nVALUE = A + C\n"}
    | {"one.py": "A = 'A'\n", "three.py": "C = 'c'\n"},
}


def switch_by_hand(checkout: Path, branch: str) -> None:
    package = checkout / "dep_edited"
    for file in package.glob("*.py"):
        file.unlink()
    for name, text in BRANCHES[branch].items():
        (package / name).write_text(text)


def git(checkout: Path, *arguments: str) -> None:
    settings = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *settings, *arguments], cwd=checkout, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    "with_git",
    [
        pytest.param(False, id="by hand"),
        pytest.param(True, id="git", marks=pytest.mark.skipif(not shutil.which("git"), reason="needs git")),
    ],
)
def test_a_switched_branch_of_an_editable_dependency_is_seen(project: Project, checkout: Path, with_git: bool) -> None:
    if with_git:
        git(checkout, "init", "--quiet")
        for branch in ("main", "topic"):
            git(checkout, "checkout", "--quiet", "-b", branch)
            switch_by_hand(checkout, branch)
            git(checkout, "add", "--all")
            git(checkout, "commit", "--quiet", "--message", branch)

    def switch(branch: str) -> None:
        if with_git:
            git(checkout, "checkout", "--quiet", branch)
        else:
            switch_by_hand(checkout, branch)

    switch("main")
    project.write("app.py", "import dep_edited\n")
    with project.open() as environment:
        assert value_of(environment, "dep_edited") == "ab"
        with rebuilds(environment, "one.py changed", "two.py removed"):
            switch("topic")
        assert value_of(environment, "dep_edited") == "Ac"
        with rebuilds(environment, "one.py changed", "three.py removed"):
            switch("main")
        assert value_of(environment, "dep_edited") == "ab"


# -- what does not count ---------------------------------------------------------------------------


def test_what_no_import_has_read_does_not_count(project: Project, tmp_path: Path) -> None:
    index = Index(tmp_path / "wheels", project.site)
    index.install("gadget", "1.0", {"gadget/__init__.py": "", "gadget/unused.py": "", "gadget/data.txt": "unread"})
    unrelated = project.dependency("unrelated.py", "VALUE = 1\n")
    app = project.write("app.py", "import gadget\ndef answer():\n    return 1\n")
    with project.open() as environment:
        with keeps(environment):
            unrelated.write_text("VALUE = 2\n")
            os.utime(unrelated)
        with keeps(environment):
            project.dependency("another_unrelated.py")
        with keeps(environment):
            project.dependency("gadget/unused.py", "EDITED = True\n")
            project.dependency("gadget/data.txt", "edited")
        with keeps(environment):
            app.write_text(app.read_text().replace("1", "2"))
            assert environment.run(importlib.import_module(f"{project.name}.app").answer) == 2
        assert environment.last_rebuild is None


def test_a_date_in_the_future_is_one_as_any(project: Project) -> None:
    file = project.dependency("dep_a.py", "VALUE = 1\n")
    os.utime(file, (4 * 10**9, 4 * 10**9))
    project.write("app.py", "import dep_a\n")
    with project.open() as environment:
        with keeps(environment):
            assert "dep_a" in environment.modules
        with rebuilds(environment, "dep_a.py changed"):
            file.write_text("VALUE = 2\n")


def test_a_preloaded_module_that_only_got_bytecode_does_not_count(project: Project, tmp_path: Path) -> None:
    file = project.dependency("dep_a.py", "VALUE = 1\n")
    project.write("app.py", "import dep_a\n")
    with project.open() as environment, keeps(environment):
        script = "import sys; sys.dont_write_bytecode = False; import dep_a"
        subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(file.parent)}, check=True)
        assert list((file.parent / "__pycache__").glob("dep_a.*"))
