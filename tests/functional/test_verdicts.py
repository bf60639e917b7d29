"""What a trial has shown is known to the next environment, for the same versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from packages import Index
from support import Project, skipped

LISTENS = "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n"
QUIET = "server = None\n"


@pytest.fixture
def index(project: Project, tmp_path: Path) -> Index:
    return Index(tmp_path / "wheels", project.site)


def starts(captured: str) -> int:
    """How many interpreters the engine has started."""
    return captured.count(" started\n")


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIREHOT_LOG_LEVEL", "debug")


def test_what_was_left_out_is_not_tried_again_in_the_same_version(
    project: Project, index: Index, capfd: pytest.CaptureFixture[str]
) -> None:
    index.install("listening", "1.0", {"listening.py": LISTENS})
    project.write("app.py", "import listening\n")
    for expected in (2, 1):
        with project.open() as environment:
            assert "listening socket" in skipped(environment)["listening"]
            assert environment.verdicts["listening"].startswith("left out: ")
        assert starts(capfd.readouterr().err) == expected


def test_another_version_is_tried(project: Project, index: Index) -> None:
    index.install("listening", "1.0", {"listening.py": LISTENS})
    project.write("app.py", "import listening\n")
    with project.open() as environment:
        assert "listening" in environment.skipped
        index.install("listening", "2.0", {"listening.py": QUIET})
        assert environment.run(abs, -1) == 1
        assert environment.last_rebuild is not None and "listening 1.0 -> 2.0" in environment.last_rebuild
        assert environment.verdicts["listening"] == "safe"
    with project.open() as environment:
        assert "listening" in environment.modules


def test_the_users_word_counts_before_an_older_verdict(project: Project, index: Index) -> None:
    index.install("listening", "1.0", {"listening.py": LISTENS})
    project.write("app.py", "import listening\n")
    with project.open() as environment:
        assert "listening" in environment.skipped
    project.settings('fork = { listening = "safe" }\n')
    with project.open() as environment:
        assert "listening" in environment.modules


def test_a_verdict_is_not_told_where_nobody_imports_the_package(project: Project, index: Index) -> None:
    index.install("listening", "1.0", {"listening.py": LISTENS})
    file = project.write("app.py", "import listening\n")
    with project.open():
        file.write_text("import json\n")
    with project.open() as environment:
        assert "listening" not in environment.verdicts and "listening" not in environment.skipped


def test_what_has_no_distribution_is_tried_each_time(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    project.dependency("listening.py", LISTENS)
    project.write("app.py", "import listening\n")
    for _ in range(2):
        with project.open() as environment:
            assert "listening" in environment.skipped
        assert starts(capfd.readouterr().err) == 2


def test_an_import_to_blame_for_an_exit_is_found_among_many(
    project: Project, capfd: pytest.CaptureFixture[str]
) -> None:
    for number in range(16):
        project.dependency(f"quiet_{number}.py")
    project.dependency("aborts.py", "import atexit, os\nown = os.getpid()\natexit.register(os.abort)\n")
    names = [f"quiet_{number}" for number in range(16)]
    names.insert(11, "aborts")
    project.write("app.py", "".join(f"import {name}\n" for name in names))
    with project.open() as environment:
        verdict = environment.verdicts["aborts"]
        assert verdict.startswith("left out: ") and "SIGABRT" in verdict
        assert set(environment.modules) >= {f"quiet_{number}" for number in range(16)}
        assert environment.exec(abs, -1).wait() == 0
    # The first, the whole list again, five halves of 17, and the one that serves.
    assert starts(capfd.readouterr().err) <= 8


def test_an_exit_that_is_known_to_be_good_is_not_tried_again(project: Project, tmp_path: Path) -> None:
    log = tmp_path / "log"
    text = f"import atexit\natexit.register(lambda: open({str(log)!r}, 'a').write('x'))\n"
    project.dependency("leaves.py", text)
    project.write("app.py", "import leaves\n")
    for _ in range(3):
        with project.open() as environment:
            assert "leaves" in environment.modules
    assert log.read_text() == "x"


@pytest.mark.parametrize("trouble", ["damaged", "read-only", "foreign text"])
def test_a_cache_that_is_of_no_use_disturbs_nothing(project: Project, trouble: str) -> None:
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "firehot"
    if trouble == "read-only":
        folder.write_text("not a folder\n")
    else:
        with project.open():
            pass
        (file,) = folder.iterdir()
        file.write_text("{" if trouble == "damaged" else '{"good": "no", "bad": []}')
    with project.open() as environment:
        assert environment.run(abs, -1) == 1


def test_the_cache_is_readable_by_its_user_alone(project: Project) -> None:
    with project.open():
        pass
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "firehot"
    assert folder.stat().st_mode & 0o777 == 0o700
    for file in folder.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
