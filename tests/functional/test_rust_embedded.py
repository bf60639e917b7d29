"""A program that embeds Python and has no environment at all builds extensions, too."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from rusting import Bench, file, needs_cargo

pytestmark = [needs_cargo, pytest.mark.timeout(170)]
SOURCE = Path(__file__).parent.parent / "fixtures" / "embed" / "host.c"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """The program, linked with this interpreter's library."""
    known = sysconfig.get_config_vars()
    compiler = shutil.which("cc")
    folders = [Path(known[name]) for name in ("LIBDIR", "LIBPL") if known.get(name)]
    library = f"python{known['LDVERSION']}"
    found = [folder for folder in folders if any(folder.glob(f"lib{library}.*"))]
    if compiler is None or not found:
        pytest.skip("no C compiler, or no library of this interpreter to link with")
    program = tmp_path / "host"
    command = [compiler, str(SOURCE), "-o", str(program), f"-I{sysconfig.get_paths()['include']}"]
    command += [f"-L{found[0]}", f"-l{library}", f"-Wl,-rpath,{found[0]}"]
    command += [*known["LIBS"].split(), *known["SYSLIBS"].split(), *known["LINKFORSHARED"].split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """The folder of installed packages of a virtual environment, which lies beside its pyvenv.cfg."""
    folder = tmp_path / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    folder.mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").write_text(f"home = {sys.base_prefix}/bin\n")
    (tmp_path / "venv" / "bin").mkdir()
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    import firehot

    (folder / "firehot").symlink_to(Path(firehot.__file__).parent)
    return folder


def test_a_host_without_an_environment_builds_and_reloads(host: Path, packages: Path, bench: Bench) -> None:
    place = bench.write("fast.rs", file(1))
    said = bench.aside / "said"
    command = [str(host), sys.base_prefix, str(packages), str(bench.folder)]
    with (
        said.open("w") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env={}, text=True, cwd="/"
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None

        def tell(line: str) -> str:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return process.stdout.readline().strip()

        try:
            assert tell("import os; print(sorted(os.environ.keys() - {'LC_CTYPE'}))") == "[]"
            # All is built anew, for the interpreter that is found: its own folder keeps that apart from other tests.
            settings = "firehot.rust.Settings(cargo_arguments=['--offline'])"
            assert tell(f"import importlib, firehot.rust; firehot.rust.install({settings}); print('ready')") == "ready"
            assert tell("import fast; print(fast.value())") == "1", said.read_text()
            place.write_text(file(2))
            assert tell("print(importlib.reload(fast).value())") == "2", said.read_text()
            # Its own virtual environment holds what is built.
            assert tell("print(fast.__file__)").startswith(str(packages.parent.parent.parent / ".firehot-rust"))
            assert tell("import firehot._rust_build as b; print(b.interpreter()['executable'])").startswith(
                str(packages.parent.parent.parent)
            )
        finally:
            process.stdin.close()
    assert process.returncode == 0
