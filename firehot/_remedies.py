"""The table of remedies, `_table.py`: what is done for which package, why, and which test proves it. Host side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

from firehot._table import REMEDIES

KINDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "environment": frozenset({"variables"}),
        "leave-unset": frozenset({"variable", "values"}),
        "pause-openmp": frozenset({"library", "function", "argument"}),
        "reseed": frozenset({"module", "function", "bits"}),
        "call-in-child": frozenset({"module", "function", "if_made"}),
        "harmless-thread": frozenset({"thread", "library", "why"}),
        "harmless-effect": frozenset({"effect", "if_made", "why"}),
        "used-by-import": frozenset({"if_made", "why"}),
        "left-out": frozenset({"why"}),
        "native-variables": frozenset({"patterns"}),
    }
)
"""The kinds of remedies, and the parameters of each; `docs/safety.md` says what they do."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One entry.

    Attributes:
        package: The module whose import or use it is about.
        versions: The versions that it was found with, as text; it is done for all.
        symptom: What goes wrong without it.
        remedy: What firehot does.
        kind: One of `KINDS`.
        parameters: What that kind needs to know.
        test: The pytest node that proves it.
    """

    package: str
    versions: str
    symptom: str
    remedy: str
    kind: str
    parameters: Mapping[str, Any]
    test: str


@cache
def load() -> tuple[Remedy, ...]:
    """All entries, in the order of the file."""
    return tuple(Remedy(**{**entry, "parameters": MappingProxyType(entry["parameters"])}) for entry in REMEDIES)


def for_template() -> list[dict[str, Any]]:
    """What a template needs of the table: plain data, for `setup`."""
    return [
        {
            "package": entry.package,
            "symptom": entry.symptom,
            "remedy": entry.remedy,
            "kind": entry.kind,
            **entry.parameters,
        }
        for entry in load()
        if entry.kind not in ("left-out", "native-variables")
    ]


def left_out() -> dict[str, str]:
    """The packages that are never preloaded, and why."""
    return {entry.package: entry.parameters["why"] for entry in load() if entry.kind == "left-out"}


def native_variables() -> list[str]:
    """Patterns (`fnmatch`) of variables that C code reads when it is loaded: children keep the template's values."""
    found = (entry.parameters["patterns"] for entry in load() if entry.kind == "native-variables")
    return sorted({pattern for patterns in found for pattern in patterns})


def markdown() -> str:
    """The table as docs/safety.md shows it."""
    lines = ["| package | versions | without it | what firehot does |", "|---|---|---|---|"]
    for entry in load():
        lines.append(f"| {entry.package} | {entry.versions} | {entry.symptom} | {_code(entry.remedy)} |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """Variables and calls as code."""
    return " ".join(f"`{word}`" if "=" in word or word.endswith("()") else word for word in text.split())
