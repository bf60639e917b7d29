"""Virtual environments of the benchmark, in `.venv-bench`: one for each stack, each with a twin for the old firehot."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benches.stacks import OLD, RUST, TOOLS, Stack

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-bench"
WHEELS = ROOT / "target" / "bench"
_ALWAYS = ("cloudpickle>=3,<4", "tomli>=2,<3; python_version < '3.11'")


def of_stack(stack: Stack) -> Path:
    """The interpreter that has the stack's packages and this checkout's firehot."""
    python = _prepare(stack.name, (*_ALWAYS, *stack.requirements))
    _install_checkout(python)
    return python


def of_old(stack: Stack) -> Path:
    """The interpreter that has the released firehot, and the stack's packages by way of the same files."""
    python = _prepare(f"{stack.name}-firehot-{OLD}", (f"firehot=={OLD}",))
    packages = site_packages(of_stack(stack))
    # A line of a .pth file adds the folder but reads no .pth files in it.
    (site_packages(python) / "stack.pth").write_text(f"{packages}\n")
    return python


def of_tools() -> Path:
    """The interpreter that has the other tools, beside this checkout's firehot."""
    python = _prepare("tools", (*_ALWAYS, *TOOLS))
    _install_checkout(python)
    return python


def of_rust() -> Path:
    """The interpreter that has the other tools for Rust extensions, beside this checkout's firehot."""
    python = _prepare("rust", (*_ALWAYS, *RUST))
    _install_checkout(python)
    return python


def variables(python: Path, paths: Sequence[Path]) -> dict[str, str]:
    """What a process under measurement has set: nothing that the shell of the moment brings along.

    The old firehot looks for `python` on PATH, so that the environment has to be an active one.
    """
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "LC_ALL", "TMPDIR", "USER") if name in os.environ}
    return {
        **kept,
        "PATH": os.pathsep.join((str(python.parent), os.environ.get("PATH", os.defpath))),
        "VIRTUAL_ENV": str(python.parent.parent),
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "XDG_CACHE_HOME": str(FOLDER / "cache"),
        "MPLCONFIGDIR": str(FOLDER / "cache" / "matplotlib"),
    }


def installed(python: Path) -> dict[str, str]:
    """The versions of what is installed, by name."""
    code = """
import json
from importlib.metadata import distributions
print(json.dumps({d.metadata["Name"].lower(): d.version for d in distributions()}))
"""
    import json

    done = subprocess.run([python, "-c", code], check=True, text=True, capture_output=True, env=variables(python, ()))
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _prepare(name: str, requirements: Sequence[str]) -> Path:
    folder = FOLDER / name
    python = folder / "bin" / "python"
    if not python.exists():
        _say(f"making the environment {name}")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    stamp = folder / "installed"
    wanted = "\n".join(requirements)
    if not stamp.exists() or stamp.read_text() != wanted:
        _say(f"installing into {name}: {', '.join(requirements)}")
        _pip(python, *requirements)
        stamp.write_text(wanted)
    return python


def _install_checkout(python: Path) -> None:
    """This checkout's release build, as a user has it: from a wheel, not editable."""
    found = sorted(WHEELS.glob("firehot-*.whl"))
    if len(found) != 1:
        raise SystemExit(f"there is no wheel in {WHEELS}: `make bench` builds it")
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    stamp = python.parent.parent / "wheel"
    if not stamp.exists() or stamp.read_text() != digest:
        _say(f"installing {found[0].name} into {python.parent.parent.name}")
        _pip(python, "--no-deps", "--force-reinstall", str(found[0]))
        stamp.write_text(digest)


def _pip(python: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *arguments]
    subprocess.run(command, check=True, stdout=sys.stderr)


def site_packages(python: Path) -> Path:
    """Where it has its packages."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.run([python, "-c", code], check=True, text=True, capture_output=True).stdout.strip())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
