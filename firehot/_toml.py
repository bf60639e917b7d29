"""`tomllib`; on 3.10 tomli, wherever it is installed."""

from __future__ import annotations

import sys
from types import ModuleType

__all__ = ["tomllib"]


def _elsewhere() -> ModuleType:
    """What the interpreter finds as it is started usually.

    A daemon sees firehot's own folder and the standard library alone; where firehot is an editable install, or the
    user's own beside a system's tomli, that folder has none.
    """
    import subprocess
    from importlib.util import module_from_spec, spec_from_file_location

    command = [sys.executable, "-c", "import tomli; print(f'\\n{tomli.__file__}', end='')"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    spec = spec_from_file_location("tomli", done.stdout.rpartition("\n")[2])
    if done.returncode != 0 or spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named 'tomli' for {sys.executable}", name="tomli")
    sys.modules["tomli"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if sys.version_info >= (3, 11):
    import tomllib
else:
    try:
        import tomli as tomllib
    except ModuleNotFoundError:
        tomllib = _elsewhere()
