"""`firehot rust ...`, as a user starts it: in a process of its own, without a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Two cores and a cold cargo: pyo3 is compiled once in a session, by the first test that builds.
pytestmark = pytest.mark.timeout(400)


class Shell:
    """Runs the command in a folder, with a cache."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.cache = cache
        self.variables: dict[str, str] = {}

    def run(self, line: str, *more: str | Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
        return self.execute([python, "-m", "firehot", *line.split(), *map(str, more)])

    def execute(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FIREHOT_RUST_")}
        env = {**kept, "FIREHOT_RUST_CACHE": str(self.cache), "COLUMNS": "80", **self.variables}
        return subprocess.run(
            command, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=390
        )

    def good(self, line: str, *more: str | Path, python: str = sys.executable) -> str:
        done = self.run(line, *more, python=python)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def bad(self, line: str, *more: str | Path, status: int = 1) -> str:
        """What one that fails says: one line, and nothing of Python."""
        done = self.run(line, *more)
        assert (done.returncode, done.stdout) == (status, ""), done
        assert done.stderr.count("\n") == 1, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr

    def status(self, *roots: str) -> dict[str, dict[str, str]]:
        found = json.loads(self.good("rust status --json", *roots))
        return {each["module"]: each for each in found["extensions"]}


@pytest.fixture
def shell(tmp_path: Path, rust_cache: Path, rust_target: Path) -> Shell:
    """With the cache of all tests that build, and the folder in which pyo3 is built."""
    folder = tmp_path / "a project é"
    folder.mkdir()
    made = Shell(folder, rust_cache)
    made.variables["FIREHOT_RUST_TARGET_DIR"] = str(rust_target)
    return made


@pytest.fixture
def bare(tmp_path: Path) -> Shell:
    """With a cache of its own, in which nothing was built."""
    folder = tmp_path / "project"
    folder.mkdir()
    return Shell(folder, tmp_path / "own-cache")


@pytest.mark.parametrize("line", ["rust build", "rust status", "rust show"])
def test_a_path_that_is_not_there_is_one_line(line: str, bare: Shell) -> None:
    assert "there is no" in bare.bad(line, "nowhere", status=2)


def test_a_pipe_that_closes_is_no_traceback(bare: Shell) -> None:
    bare.good("rust new fast.rs")
    bare.variables["PYTHONUNBUFFERED"] = "1"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as out:
        env = {**os.environ, "FIREHOT_RUST_CACHE": str(bare.cache)}
        command = [sys.executable, "-m", "firehot", "rust", "status"]
        done = subprocess.run(command, cwd=bare.folder, env=env, stdout=out, stderr=subprocess.PIPE, timeout=60)
    assert (done.returncode, done.stderr) == (141, b"")


# --- new -----------------------------------------------------------------------------------------------------------


def files_below(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("path", ["fast.rs", "fast", "fast --mixed"])
def test_nothing_is_overwritten(path: str, bare: Shell) -> None:
    bare.good(f"rust new {path}")
    before = files_below(bare.folder)
    assert "nothing is overwritten" in bare.bad(f"rust new {path}")
    assert files_below(bare.folder) == before


def test_a_link_that_leads_nowhere_is_not_overwritten(bare: Shell) -> None:
    (bare.folder / "fast.rs").symlink_to("elsewhere.rs")
    assert "nothing is overwritten" in bare.bad("rust new fast.rs")
    assert not (bare.folder / "elsewhere.rs").exists()


@pytest.mark.parametrize("path", ["match.rs", "class.rs", "1st.rs", "my-fast.rs", "my-fast", "größe.rs", "pyo3", "fn"])
def test_a_name_that_no_module_can_have_is_refused(path: str, bare: Shell) -> None:
    bare.bad("rust new", path, status=2)
    assert not any(bare.folder.iterdir())


def test_a_mixed_file_is_refused(bare: Shell) -> None:
    assert "--mixed" in bare.bad("rust new --mixed fast.rs", status=2)


def test_new_extensions_ask_for_the_pyo3_of_firehot_itself(bare: Shell) -> None:
    own = re.search(r'^pyo3 = \{ version = "([^"]+)"', (ROOT / "Cargo.toml").read_text("utf-8"), re.MULTILINE)
    assert own is not None
    bare.good("rust new fast")
    assert f'version = "{own[1]}"' in (bare.folder / "fast/Cargo.toml").read_text("utf-8")


def test_new_extensions_are_found(bare: Shell) -> None:
    (bare.folder / "package").mkdir()
    (bare.folder / "package/__init__.py").touch()
    bare.good("rust new deep/one.rs")
    assert "import package.two;" in bare.good("rust new package/two.rs")
    bare.good("rust new three")
    bare.good("rust new my-four --mixed")
    found = bare.status()
    assert {(name, each["kind"]) for name, each in found.items()} == {
        ("one", "file"),
        ("package.two", "file"),
        ("three", "crate"),
        ("my_four.my_four", "project"),
    }
    assert {each["state"] for each in found.values()} == {"never built"}
    assert all(each["file"] is None for each in found.values())


# --- build, status, show -------------------------------------------------------------------------------------------


def imported(shell: Shell, code: str, **variables: str) -> str:
    shell.variables.update(variables)
    done = shell.execute([sys.executable, "-c", f"import firehot.rust; firehot.rust.install(); {code}"])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_new_file_is_built_and_its_standing_told(shell: Shell) -> None:
    printed = shell.good("rust new fast.rs")
    first = shell.run("rust build")
    assert first.returncode == 0, first.stderr
    assert first.stdout.startswith(f"built fast {shell.folder}/fast.rs\n  {shell.cache}")
    assert "\x1b" not in first.stderr
    told = shell.status()["fast"]
    assert (told["state"], told["why"]) == ("fresh", None)
    assert first.stdout.splitlines()[1].strip() == told["file"]

    again = shell.run("rust build")
    assert (again.stdout.split()[0], again.stderr) == ("fresh", "")
    assert "built fast" in shell.good("rust build --force --jobs 1 fast.rs")

    # What is printed next can be pasted.
    (step,) = re.findall(r"^next: (.*)$", printed, re.MULTILINE)
    assert shell.execute(["sh", "-c", step]).stdout == "3\n"

    source = shell.folder / "fast.rs"
    source.write_text(source.read_text("utf-8").replace("a + b", "a + b + 1"), "utf-8")
    stale = shell.status()["fast"]
    assert (stale["state"], stale["why"], stale["file"]) == ("stale", f"{source} changed", told["file"])
    assert f"stale, {source} changed" in shell.good("rust status")
    # Who may not build loads the last one.
    assert imported(shell, "import fast; print(fast.add(1, 2))", FIREHOT_RUST_PREBUILT="1") == "3"
    assert "FIREHOT_RUST_PREBUILT" in shell.bad("rust build")


def test_one_that_fails_does_not_stop_the_others(shell: Shell) -> None:
    shell.good("rust new good.rs")
    (shell.folder / "bad.rs").write_text('// firehot:pyo3\nfn broken() -> u32 { "text" }\n')
    (shell.folder / "worse.rs").write_text("// firehot\n//: [dependencies\n")
    (shell.folder / "none").mkdir()
    (shell.folder / "none/Cargo.toml").write_text('# firehot\n[package]\nname = "none"\n')
    done = shell.run("rust build")
    assert done.returncode == 1
    assert re.findall(r"^\w+ (\w+) ", done.stdout, re.MULTILINE) == ["good"]
    assert "error[E0308]" in done.stderr
    # rustc's words come once.
    assert done.stderr.count("error[E0308]") == 1
    assert f"{shell.folder}/bad.rs does not build" in done.stderr
    assert "no valid part of a Cargo.toml" in done.stderr
    assert "cdylib" in done.stderr
    assert done.stderr.splitlines()[-1] == "firehot: 3 of 4 failed"
    assert "Traceback" not in done.stderr

    found = json.loads(shell.good("rust status --json"))
    assert {each["module"]: each["state"] for each in found["extensions"]} == {
        "bad": "never built",
        "good": "fresh",
        "worse": "never built",
    }
    (problem,) = found["problems"]
    assert (problem["place"], "cdylib" in problem["why"]) == (f"{shell.folder}/none", True)


def test_an_optimised_build_lies_beside_the_other(shell: Shell) -> None:
    (shell.folder / "good.rs").write_text("// firehot\n")
    shell.good("rust build")
    before = shell.status()["good"]["file"]
    # The command line counts before a variable.
    shell.variables["FIREHOT_RUST_PROFILE"] = "dev"
    done = shell.run("rust build --release")
    assert done.returncode == 0, done.stderr
    assert "FIREHOT_RUST_RELEASE" in done.stderr
    del shell.variables["FIREHOT_RUST_PROFILE"]
    (optimised,) = json.loads(shell.good("rust status --release --json"))["extensions"]
    assert optimised["state"] == "fresh"
    assert optimised["file"] != before == shell.status()["good"]["file"]


def test_a_crate_and_a_mixed_project_build(shell: Shell) -> None:
    (shell.folder / "Cargo.toml").write_text("[workspace]\n")
    shell.good("rust new one")
    shell.good("rust new my-two --mixed")
    done = shell.run("rust build")
    assert done.returncode == 0, done.stderr
    found = shell.status()
    assert {name: each["state"] for name, each in found.items()} == {"one": "fresh", "my_two.my_two": "fresh"}
    assert imported(shell, "import one; print(one.add(1, 2))") == "3"
    # As an editable installation has it.
    shell.variables["PYTHONPATH"] = str(shell.folder / "my-two/src")
    target = shell.folder / "my-two/src/my_two" / Path(found["my_two.my_two"]["file"]).name
    shutil.copyfile(found["my_two.my_two"]["file"], target)
    assert imported(shell, "import my_two; print(my_two.add(2, 3), my_two.__doc__)") == "5 The Python side of my_two."


def test_nothing_to_build_is_said(bare: Shell) -> None:
    for line in ("rust build", "rust status"):
        done = bare.run(line)
        assert (done.returncode, done.stdout) == (0, "")
        assert "there is no Rust extension" in done.stderr
    assert not bare.cache.exists()


def test_no_cargo_is_one_line(bare: Shell) -> None:
    bare.good("rust new fast.rs")
    bare.variables.update(PATH="/nowhere", HOME="/nowhere", CARGO_HOME="/nowhere", CARGO="")
    done = bare.run("rust build")
    assert done.returncode == 1
    assert "there is no cargo" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_the_crate_of_a_file_is_shown(bare: Shell) -> None:
    bare.good("rust new fast.rs")
    shown = bare.good("rust show fast.rs")
    manifest, _, library = shown.partition("\n// ")
    place = re.match(r"# (.*/Cargo.toml)\n", manifest)
    assert place is not None
    assert Path(place[1]).read_text("utf-8") in manifest + "\n"
    assert "extension-module" in manifest
    assert "wrap_pyfunction!(super::add, module)" in library
    assert f'include!("{bare.folder}/fast.rs")' in library
    # The same for what an import finds inside a package, and without the opt-in.
    (bare.folder / "__init__.py").touch()
    (bare.folder / "plain.rs").write_text("fn main() {}\n")
    assert bare.good("rust show fast.rs") != shown
    assert "lib.rs" not in bare.good("rust show plain.rs")


def test_a_crate_that_is_not_made_is_shown_as_it_is(bare: Shell) -> None:
    bare.good("rust new fast")
    assert bare.good("rust show fast").splitlines() == [
        f"# {bare.folder}/fast/Cargo.toml (your own: nothing is made for it)",
        *(bare.folder / "fast/Cargo.toml").read_text("utf-8").splitlines(),
    ]
    (bare.folder / "empty").mkdir()
    assert "no .rs file" in bare.bad("rust show empty", status=2)


@pytest.mark.parametrize("variable", ["FIREHOT_RUST_RELEASE", "FIREHOT_RUST_JOBS"])
def test_a_variable_that_is_no_setting_is_one_line(variable: str, bare: Shell) -> None:
    bare.variables[variable] = "nonsense"
    assert f"{variable} is 'nonsense'" in bare.bad("rust build")


# --- cache ---------------------------------------------------------------------------------------------------------


@contextmanager
def held(file: Path, kind: int) -> Iterator[None]:
    with file.open("a") as lock:
        fcntl.flock(lock, kind)
        yield


@pytest.fixture
def built(bare: Shell) -> Shell:
    """A build that needs no pyo3: what cargo makes of it can't be imported, which is nothing to the cache."""
    (bare.folder / "fast.rs").write_text("// firehot\n")
    bare.good("rust build")
    return bare


def test_the_cache_is_told_and_cleared(built: Shell) -> None:
    told = json.loads(built.good("rust cache info --json"))
    (extension,) = told["extensions"]
    assert told["folder"] == str(built.cache)
    assert (extension["module"], extension["place"]) == ("fast", f"{built.folder}/fast.rs")
    assert Path(extension["file"]).is_file()
    assert told["size"] == extension["size"] + sum(each["size"] for each in told["targets"])
    counted = subprocess.run(["du", "-sk", *(each["folder"] for each in told["targets"])], capture_output=True)
    assert abs(int(counted.stdout.split()[0]) * 1024 - told["targets"][0]["size"]) <= 1024
    (built.folder / "fast.rs").unlink()
    assert "which is gone" in built.good("rust cache info")

    (built.cache / "notes.txt").write_text("not firehot's")
    (built.cache / "target-mine").mkdir()
    outside = built.folder / "outside"
    outside.mkdir()
    (built.cache / "target-0123456789abcdef").symlink_to(outside)
    assert json.loads(built.good("rust cache clear --json"))["freed"] == told["size"]
    assert {path.name for path in built.cache.iterdir()} == {
        "CACHEDIR.TAG",
        "lock",
        "notes.txt",
        "target-mine",
        "target-0123456789abcdef",
    }
    assert outside.is_dir()
    assert built.good("rust cache clear") == f"{built.cache}: 0.0 kB freed\n"
    assert json.loads(built.good("rust cache info --json"))["extensions"] == []


def test_the_cache_is_not_cleared_under_a_builder(built: Shell) -> None:
    slot = Path(json.loads(built.good("rust cache info --json"))["extensions"][0]["folder"])
    for file, kind in ((built.cache / "lock", fcntl.LOCK_SH), (slot / "lock", fcntl.LOCK_EX)):
        with held(file, kind):
            assert "is in use" in built.bad("rust cache clear")
        assert built.status()["fast"]["state"] == "fresh"
    built.good("rust cache clear")
    assert built.status()["fast"]["state"] == "never built"


def test_a_builder_that_waits_keeps_the_cache(built: Shell) -> None:
    """One that waits for another has a share of the cache before it asks for the extension's own lock."""
    slot = Path(json.loads(built.good("rust cache info --json"))["extensions"][0]["folder"])
    built.variables["FIREHOT_RUST_LOCK_TIMEOUT"] = "0.2"
    with held(slot / "lock", fcntl.LOCK_EX):
        assert "another process has been building" in built.run("rust build --force").stderr
    with held(built.cache / "lock", fcntl.LOCK_EX):
        assert "another process has been building" in built.run("rust build --force").stderr
    assert "built fast" in built.good("rust build --force")


def test_a_folder_that_is_no_cache_is_not_cleared(bare: Shell) -> None:
    target = bare.cache / "target-0123456789abcdef"
    target.mkdir(parents=True)
    assert "CACHEDIR.TAG" in bare.bad("rust cache clear")
    assert target.is_dir()
    target.rmdir()
    bare.cache.rmdir()
    assert bare.good("rust cache clear") == f"{bare.cache}: 0.0 kB freed\n"
    assert not bare.cache.exists()
