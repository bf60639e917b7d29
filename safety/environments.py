"""Virtual environments of the matrix, in `.venv-safety`: one for packages that get on with each other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".venv-safety"
# What firehot needs, and what the randomness of a child is compared with.
_ALWAYS = ("cloudpickle>=3,<4", "tomli>=2,<3; python_version < '3.11'")
_ALSO = {"web": ("uuid-utils>=0.9,<1", "fastuuid>=0.12,<1"), "data": ("keras>=3,<4",)}


@dataclass(slots=True)
class Prepared:
    """An environment that recipes can run in.

    Attributes:
        python: Its interpreter; empty when there is none, and `reason` says why.
        untried: Distributions that can't be installed, with the last line that pip wrote.
        variables: What its processes need to have set.
    """

    python: str = ""
    reason: str = ""
    untried: dict[str, str] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


def prepare(name: str, distributions: Sequence[str]) -> Prepared:
    """Makes the environment when there is none, and installs what is missing."""
    folder = FOLDER / name
    python = folder / "bin" / "python"
    if name == "torch":
        reason = _fetch_torch(folder)
        if reason:
            return Prepared(reason=reason)
    elif not python.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    prepared = Prepared(str(python))
    _add_checkout(python)
    wanted = list(dict.fromkeys((*_ALWAYS, *_ALSO.get(name, ()), *distributions)))
    stamp = folder / "installed"
    have = stamp.read_text().splitlines() if stamp.exists() else []
    if missing := [line for line in wanted if line not in have]:
        # All at once, so that pip sees every range.
        if _install(python, [*have, *missing]) is None:
            have += missing
        else:
            for line in missing:
                reason = _install(python, [*have, line]) or ""
                if reason:
                    prepared.untried[line] = reason
                else:
                    have.append(line)
        stamp.write_text("\n".join(have) + "\n")
    libraries = folder / "library-path"
    if libraries.exists():
        prepared.variables["LD_LIBRARY_PATH"] = libraries.read_text().strip()
    return prepared


def _install(python: Path, lines: Sequence[str]) -> str | None:
    """Installs, and returns the last line of what pip says when it fails."""
    print(f"installing into {python.parent.parent.name}: {len(lines)} requirements", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", *lines]
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode == 0:
        return None
    said = [line for line in done.stdout.splitlines() if line.strip()]
    return said[-1].strip() if said else f"pip ended with {done.returncode}"


def _add_checkout(python: Path) -> None:
    """Firehot from the checkout, as `maturin develop` leaves it."""
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    place = subprocess.run([str(python), "-c", code], check=True, text=True, capture_output=True).stdout.strip()
    Path(place, "firehot-checkout.pth").write_text(f"{ROOT}\n")


def _fetch_torch(folder: Path) -> str:
    """PyTorch as the system's distribution has it; returns why not."""
    if (folder / "library-path").exists():
        return ""
    done = subprocess.run(["sh", str(ROOT / "safety" / "gettorch.sh"), str(folder)], text=True, capture_output=True)
    if done.returncode == 0:
        return ""
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return said[-1].strip() if said else f"gettorch.sh ended with {done.returncode}"


def versions(prepared: Prepared) -> dict[str, str]:
    """Versions of what is installed, by lower-case name; `python` is the interpreter's."""
    code = """
import json, platform
from importlib.metadata import distributions
found = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in distributions() if d.metadata["Name"]}
print(json.dumps({**found, "python": platform.python_version()}))
"""
    import json

    environment = {**os.environ, **prepared.variables}
    done = subprocess.run([prepared.python, "-c", code], check=True, text=True, capture_output=True, env=environment)
    found: dict[str, str] = json.loads(done.stdout)
    return found
