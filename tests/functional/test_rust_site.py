"""`firehot rust site`: what it writes is taken out to the byte, and breaks no interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import firehot

_FIREHOT = Path(firehot.__file__).resolve().parents[1]
_MODULES = "import sys; print(*sorted(sys.modules))"


class Interpreter:
    """One that may be changed."""

    def __init__(self, python: str | Path, site: Path, file: str, **variables: str) -> None:
        self.python = str(python)
        self.site = site
        self.file = site / file
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FIREHOT_", "PYTHON"))}
        self.env = {**kept, **variables}
        site.mkdir(parents=True, exist_ok=True)
        self.path = site / "firehot.pth"
        self.path.write_text(f"{_FIREHOT}\n")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [self.python, *arguments]
        return subprocess.run(command, env=self.env, cwd="/", capture_output=True, text=True, timeout=60)

    def do(self, action: str, *options: str) -> dict[str, object]:
        done = self.run("-m", "firehot", "rust", "site", action, "--json", *options)
        assert (done.returncode, done.stderr) == (0, "")
        found = json.loads(done.stdout)
        assert found["file"] == str(self.file)
        assert found["installed"] == found["active"] == (self.content() is not None and b"firehot" in self.content())
        return {str(name): value for name, value in found.items()}

    def refused(self, action: str, *options: str) -> str:
        before = self.content()
        done = self.run("-m", "firehot", "rust", "site", action, *options)
        assert (done.returncode, done.stdout) == (1, "")
        assert len(done.stderr.splitlines()) == 1
        assert self.content() == before
        return done.stderr

    def content(self) -> bytes:
        return self.file.read_bytes() if self.file.exists() else b""

    def listing(self) -> list[tuple[str, int, bytes]]:
        found = sorted(path for path in self.site.iterdir() if path.name != "__pycache__")
        return [(path.name, path.stat().st_mode, path.read_bytes()) for path in found if path.is_file()]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment."""
    folder = tmp_path_factory.mktemp("site") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=100)
    return folder


@pytest.fixture
def venv(made: Path) -> Interpreter:
    """Of the virtual environment, which has nothing of firehot's yet."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = Interpreter(made / "bin/python", made / "lib" / version / "site-packages", "sitecustomize.py")
    interpreter.file.unlink(missing_ok=True)
    return interpreter


def test_every_start_finds_extensions_until_it_is_taken_out(venv: Interpreter) -> None:
    before = venv.listing()
    assert venv.do("info")["installed"] is False
    plain = set(venv.run("-c", _MODULES).stdout.split())
    assert venv.do("install") == {
        "file": str(venv.file),
        "user": False,
        "installed": True,
        "active": True,
        "changed": True,
    }
    # The cost: three small files, and nothing that they need.
    loaded = set(venv.run("-c", _MODULES).stdout.split()) - plain
    assert loaded == {"sitecustomize", "firehot", "firehot.rust", "firehot._rust_finder"}
    assert venv.do("install")["changed"] is False
    assert venv.file.read_bytes().count(b"# >>> firehot") == 1
    assert venv.do("uninstall")["changed"] is True
    assert venv.listing() == before
    assert venv.do("uninstall")["changed"] is False


def test_words_for_people(venv: Interpreter) -> None:
    done = venv.run("-m", "firehot", "rust", "site", "install")
    assert done.stdout.splitlines() == [
        f"{venv.file}: the block is there now",
        f"a new {venv.python} finds Rust extensions from its start",
    ]
    done = venv.run("-m", "firehot", "rust", "site", "uninstall")
    assert done.stdout.splitlines()[0] == f"{venv.file}: no block now"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"x = 1",
        b"x = 1\n",
        b"x = 1\r\n",
        b"\xef\xbb\xbfx = 1\n\n\n",
        b"# coding: latin-1\nx = '\xe9'",
        b"if True:\n    x = 1\n    # the end",
    ],
)
def test_a_file_is_to_the_byte_what_it_was(content: bytes, venv: Interpreter) -> None:
    venv.file.write_bytes(content)
    venv.file.chmod(0o640)
    before = venv.listing()
    for _ in range(2):
        venv.do("install")
    assert venv.content().startswith(content)
    assert venv.file.stat().st_mode & 0o777 == 0o640
    if b"x =" in content:
        assert venv.run("-c", "import sitecustomize; print(sitecustomize.x)").stdout.strip()
    venv.do("uninstall")
    assert venv.listing() == before


def test_a_block_of_another_version_is_replaced(venv: Interpreter) -> None:
    venv.file.write_bytes(b"x = 1")
    venv.do("install")
    now = venv.content()
    venv.file.write_bytes(now.replace(b"import firehot.rust as", b"import firehot.older as"))
    venv.do("install")
    assert venv.content() == now


@pytest.mark.parametrize("content", [None, b"x = 1", b"x = 1\n"])
def test_what_was_written_below_the_block_stays(content: bytes | None, venv: Interpreter) -> None:
    if content is not None:
        venv.file.write_bytes(content)
    venv.do("install")
    with venv.file.open("ab") as file:
        file.write(b"y = 2\n")
    venv.do("uninstall")
    expected = b"" if content is None else b"x = 1\n"
    assert venv.content() == expected + b"y = 2\n"


def test_a_block_without_an_end_is_left_to_its_owner(venv: Interpreter) -> None:
    venv.do("install")
    venv.file.write_bytes(venv.content().replace(b"# <<<", b"# ---"))
    for action in ("install", "uninstall"):
        assert "take it out by hand" in venv.refused(action)


def test_a_link_stays_one(venv: Interpreter, tmp_path: Path) -> None:
    target = tmp_path / "own.py"
    target.write_bytes(b"x = 1\n")
    venv.file.symlink_to(target)
    venv.do("install")
    assert venv.file.is_symlink()
    assert b"firehot" in target.read_bytes()
    venv.do("uninstall")
    assert (venv.file.is_symlink(), target.read_bytes()) == (True, b"x = 1\n")


def test_a_firehot_that_is_gone_breaks_nothing(venv: Interpreter) -> None:
    venv.do("install")
    venv.path.unlink()
    done = venv.run("-c", "print(1)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_a_file_that_comes_first_is_named(venv: Interpreter, tmp_path: Path) -> None:
    first = tmp_path / "sitecustomize.py"
    first.write_text("")
    venv.env["PYTHONPATH"] = str(tmp_path)
    assert f"reads {first} in its place" in venv.refused("install")
    assert not venv.file.exists()


def test_a_file_that_fails_is_left_alone(venv: Interpreter) -> None:
    venv.file.write_bytes(b"1 / 0\n")
    done = venv.run("-m", "firehot", "rust", "site", "install")
    assert done.returncode == 1
    assert "fails in it: ZeroDivisionError" in done.stderr
    assert venv.content() == b"1 / 0\n"


def test_a_folder_that_can_t_be_written_is_one_line(venv: Interpreter) -> None:
    # A folder in its place is what root can't write to either.
    venv.file.mkdir()
    try:
        done = venv.run("-m", "firehot", "rust", "site", "install")
        assert done.returncode == 1
        assert len(done.stderr.splitlines()) == 1
    finally:
        venv.file.rmdir()


def test_a_virtual_environment_has_no_file_of_the_user(venv: Interpreter, tmp_path: Path) -> None:
    venv.env["PYTHONUSERBASE"] = str(tmp_path / "base")
    assert "leave out --user" in venv.refused("install", "--user")
    assert not (tmp_path / "base").exists()


@pytest.fixture
def user(tmp_path: Path) -> Interpreter:
    """The interpreter that virtual environments are made of, with an empty folder of the user's packages."""
    base = getattr(sys, "_base_executable", sys.executable)
    question = "import site; print(site.getusersitepackages()); print(bool(site.ENABLE_USER_SITE))"
    variables = {"PYTHONUSERBASE": str(tmp_path)}
    env = {**os.environ, **variables}
    asked = subprocess.run([base, "-c", question], env=env, capture_output=True, text=True, timeout=60, check=True)
    folder, is_used = asked.stdout.splitlines()
    assert is_used == "True"
    return Interpreter(base, Path(folder), "usercustomize.py", **variables)


def test_the_users_own_file(user: Interpreter) -> None:
    before = user.listing()
    plain = set(user.run("-c", _MODULES).stdout.split())
    assert user.do("install", "--user")["user"] is True
    loaded = set(user.run("-c", _MODULES).stdout.split()) - plain
    assert loaded == {"usercustomize", "firehot", "firehot.rust", "firehot._rust_finder"}
    user.do("uninstall", "--user")
    assert user.listing() == before


def test_the_next_file_of_the_start_loads_no_engine(user: Interpreter, tmp_path: Path) -> None:
    """Python looks for usercustomize right after sitecustomize: that is no reason to look for projects."""
    first = tmp_path / "first"
    first.mkdir()
    (first / "sitecustomize.py").write_text("import firehot.rust\nfirehot.rust.install()\n")
    metadata = user.site / "pro-1.dist-info"
    metadata.mkdir()
    (metadata / "direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///nowhere"}')
    user.env["PYTHONPATH"] = str(first)
    loaded = user.run("-c", _MODULES).stdout.split()
    assert {name for name in loaded if name.startswith("firehot")} == {
        "firehot",
        "firehot.rust",
        "firehot._rust_finder",
    }
