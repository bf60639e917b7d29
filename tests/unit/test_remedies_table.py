"""The table of remedies: whole, proved, and what the docs show."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from firehot import _remedies

ROOT = Path(__file__).parents[2]


def test_every_entry_is_whole() -> None:
    assert _remedies.load()
    for entry in _remedies.load():
        assert set(entry.parameters) == _remedies.KINDS[entry.kind], entry
        assert all((entry.package, entry.versions, entry.symptom, entry.remedy)), entry


def test_entries_can_not_be_changed() -> None:
    entry = _remedies.load()[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.package = "other"  # type: ignore[misc]
    with pytest.raises(TypeError):
        entry.parameters["variables"] = {}  # type: ignore[index]


def test_every_entry_names_a_test_that_exists() -> None:
    wanted = {entry.test for entry in _remedies.load()}
    files = {node.partition("::")[0] for node in wanted}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *sorted(files)]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    nodes = set(listing.splitlines())
    assert wanted <= nodes


def test_nothing_is_sent_to_the_template_that_it_does_not_use() -> None:
    assert {entry["kind"] for entry in _remedies.for_template()} <= set(_remedies.KINDS) - {
        "left-out",
        "native-variables",
    }
    source = ast.parse(Path(_remedies.__file__).with_name("_care.py").read_text("utf-8"))
    texts = {node.value for node in ast.walk(source) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert {entry["kind"] for entry in _remedies.for_template()} <= texts


READ_BY_C = {
    "numpy": ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    "grpc": ("GRPC_VERBOSITY",),
    "polars": ("POLARS_MAX_THREADS",),
    "pyarrow": ("ARROW_IO_THREADS",),
    "tensorflow": ("TF_CPP_MIN_LOG_LEVEL",),
    "cv2": ("OPENCV_LOG_LEVEL",),
    "ray": ("RAY_ADDRESS",),
    "time": ("TZ",),
}


@pytest.mark.parametrize("package", READ_BY_C)
def test_variables_that_c_code_reads_are_known(package: str) -> None:
    patterns = _remedies.native_variables()
    for name in READ_BY_C[package]:
        assert sum(fnmatchcase(name, pattern) for pattern in patterns) == 1


def test_the_docs_show_the_table() -> None:
    assert _remedies.markdown() in (ROOT / "docs" / "safety.md").read_text("utf-8")
