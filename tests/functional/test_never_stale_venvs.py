"""A run sees its virtual environment as it is: editable installs, .pth files, the interpreter, one made anew."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from packages import VirtualEnv, build_wheel
from support import Scripts, read_line

LOOKER = """
    import importlib, json, os, sys
    from firehot import isolate_imports

    def look():
        preloaded = "dep_a" in sys.modules
        value = importlib.import_module("dep_a").VALUE
        return {"value": value, "preloaded": preloaded, "pth": getattr(sys, "pth", None), "template": os.getppid()}

    if __name__ == "__main__":
        with isolate_imports("my_package") as environment:
            for _ in sys.stdin:
                print(json.dumps({**environment.run(look), "why": environment.last_rebuild}), flush=True)
"""


class Host:
    """A program that runs in a virtual environment and looks at `dep_a` when it is asked to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def look(self) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write("look\n")
        self._process.stdin.flush()
        seen: dict[str, Any] = json.loads(read_line(self._process))
        return seen

    @contextmanager
    def sees_a_rebuild(self) -> Iterator[dict[str, Any]]:
        """What it sees after the block, in a template that is another one than before."""
        before = self.look()
        after: dict[str, Any] = {}
        yield after
        after.update(self.look())
        assert after["template"] != before["template"], "the template is stale and was kept"
        assert after["preloaded"] and after["why"], after


@contextmanager
def host_in(virtual: VirtualEnv, scripts: Scripts) -> Iterator[Host]:
    scripts.save("import dep_a\n", "my_package/app.py")
    command = virtual.command(scripts.save(LOOKER))
    # What would lead to the modules of the tests.
    env = {"PYTHONPATH": "", "PYTHONSAFEPATH": ""}
    with scripts.popen(command, env=env, stdin=subprocess.PIPE) as process:
        yield Host(process)
        process.communicate(timeout=30)
        assert process.returncode == 0


@pytest.fixture
def virtual(tmp_path: Path) -> VirtualEnv:
    return VirtualEnv(tmp_path / "venv")


@pytest.mark.parametrize("by_finder", [False, True], ids=["by path", "by finder"])
def test_an_edit_of_an_editable_install_is_seen(
    virtual: VirtualEnv, scripts: Scripts, script_package: str, tmp_path: Path, by_finder: bool
) -> None:
    file = tmp_path / "checkout" / "dep_a" / "__init__.py"
    file.parent.mkdir(parents=True)
    file.write_text("VALUE = 'old'\n")
    virtual.install_editable("dep_a", tmp_path / "checkout", by_finder=by_finder)
    with host_in(virtual, scripts) as host:
        first = host.look()
        assert (first["value"], first["preloaded"]) == ("old", True)
        with host.sees_a_rebuild() as seen:
            file.write_text("VALUE = 'new'\n")
        assert seen["value"] == "new" and "dep_a/__init__.py changed" in seen["why"]


def test_a_virtual_environment_that_was_made_anew_is_seen(
    virtual: VirtualEnv, scripts: Scripts, script_package: str
) -> None:
    (virtual.site / "dep_a.py").write_text("VALUE = 'old'\n")
    with host_in(virtual, scripts) as host:
        with host.sees_a_rebuild() as seen:
            virtual.recreate()
            (virtual.site / "dep_a.py").write_text("VALUE = 'made anew'\n")
        assert seen["value"] == "made anew"


def test_what_real_pip_installs_is_seen(
    virtual: VirtualEnv, scripts: Scripts, script_package: str, tmp_path: Path
) -> None:
    def pip_install(version: str) -> None:
        wheel = build_wheel(tmp_path / "wheels", "dep_a", version, {"dep_a/__init__.py": f"VALUE = {version!r}\n"})
        command = [str(virtual.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        command += ["--no-index", "--no-deps", "--root-user-action=ignore", str(wheel)]
        subprocess.run(command, check=True, timeout=60)

    pip_install("1.0")
    with host_in(virtual, scripts) as host:
        assert host.look()["value"] == "1.0"
        with host.sees_a_rebuild() as seen:
            pip_install("2.0")
        assert seen["value"] == "2.0" and "dep_a 1.0 -> 2.0" in seen["why"]


def test_another_interpreter_in_its_place_is_seen(scripts: Scripts, script_package: str, tmp_path: Path) -> None:
    virtual = VirtualEnv(tmp_path / "venv", symlinks=False)
    (virtual.site / "dep_a.py").write_text("VALUE = 'same'\n")
    with host_in(virtual, scripts) as host:
        with host.sees_a_rebuild() as seen:
            fresh = virtual.python.with_name("fresh")
            fresh.write_bytes(virtual.python.read_bytes())
            fresh.chmod(0o755)
            os.replace(fresh, virtual.python)
        assert "the interpreter changed" in seen["why"]


@pytest.mark.parametrize("change", ["added", "edited", "removed"])
def test_a_pth_file_counts(virtual: VirtualEnv, scripts: Scripts, script_package: str, change: str) -> None:
    (virtual.site / "dep_a.py").write_text("VALUE = 'same'\n")
    if change != "added":
        virtual.pth("extra", "import sys; sys.pth = 'old'")
    with host_in(virtual, scripts) as host:
        assert host.look()["pth"] == (None if change == "added" else "old")
        with host.sees_a_rebuild() as seen:
            if change == "removed":
                (virtual.site / "extra.pth").unlink()
            else:
                virtual.pth("extra", "import sys; sys.pth = 'new'")
        assert seen["pth"] == (None if change == "removed" else "new")
        assert "extra.pth" in seen["why"]


def test_a_virtual_environment_that_stays_does_not_count(
    virtual: VirtualEnv, scripts: Scripts, script_package: str
) -> None:
    (virtual.site / "dep_a.py").write_text("VALUE = 'same'\n")
    with host_in(virtual, scripts) as host:
        first = host.look()
        (virtual.site / "unrelated.py").write_text("VALUE = 1\n")
        assert host.look() == first
        assert sys.executable != str(virtual.python), "it is another one than that of the tests"
