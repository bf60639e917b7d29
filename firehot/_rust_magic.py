"""The notebook magic `%%rust`: a cell of Rust, and its public names in the notebook."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from firehot._rust_api import imp_from_path
from firehot._rust_quick import cache_folder
from firehot._rust_settings import Settings, from_environment

_OPTIONS = {"-r": "release", "--release": "release", "-f": "force", "--force": "force"}


def load(shell: Any) -> None:
    """Registers the magic with a shell."""

    def rust(line: str, cell: str) -> None:
        """Builds a cell of Rust and takes over its functions and classes: `%%rust [--release] [--force]`."""
        options: dict[str, Any] = {}
        for word in line.split():
            if word not in _OPTIONS:
                raise ValueError(f"%%rust knows --release and --force, not {word}")
            options[_OPTIONS[word]] = True
        module = imp_from_path(_write(cell), None, Settings(**options))
        public = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
        shell.push({name: getattr(module, name) for name in public})

    shell.register_magic_function(rust, magic_kind="cell", magic_name="rust")


def _write(cell: str) -> Path:
    """Keeps a cell as a file named after its content: the same cell is not built again."""
    lines = cell.lstrip().splitlines()
    first = lines[0] if lines else ""
    if not (first.startswith("//") and ("firehot" in first or "rustimport" in first)):
        cell = f"// firehot:pyo3\n{cell}"
    folder = Path(cache_folder(from_environment().cache_dir)) / "cells"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"cell_{hashlib.sha256(cell.encode()).hexdigest()[:16]}"
    file = folder / f"{name}.rs"
    if not file.exists():
        aside = folder / f".{name}-{os.getpid()}"
        aside.write_text(cell, encoding="utf-8")
        aside.replace(file)
    return file
