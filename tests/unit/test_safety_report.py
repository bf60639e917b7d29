"""The tables of docs/safety.md: written between their markers, and nothing else is touched."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

if find_spec("safety") is None:
    # firehot was installed from a wheel, and the checkout is not on the path.
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from safety import report

RUN = {"value": 42, "error": "", "work": 0.1, "end": 0.01}
ROW = {
    "version": "1.2",
    "threads": ["python"],
    "left_out": {},
    "verdicts": {"small": "safe"},
    "modules": ["small.part"],
    "runs": [RUN, RUN],
    "cold": {"value": 42, "threads": ["python", "pool"], "work": 0.1},
}
HEAD = {"date": "2024-01-31", "python": "3.11.7", "kernel": "6.1", "cores": 2}


def test_only_what_is_between_the_markers_changes(tmp_path: Path) -> None:
    page = tmp_path / "safety.md"
    page.write_text(f"before\n\n{report.BEGIN}\nstale row\n{report.END}\n\nafter\n")
    report.write(page, {**HEAD, "recipes": {"small": ROW}})
    text = page.read_text()
    assert text.startswith("before\n\n") and text.endswith("\n\nafter\n") and "stale row" not in text
    assert "| small | 1.2 | 2 → 1 | safe | ok |" in text
    report.write(page, {**HEAD, "recipes": {"small": ROW}})
    assert page.read_text() == text


def test_a_page_without_markers_gets_them_at_its_end(tmp_path: Path) -> None:
    page = tmp_path / "safety.md"
    page.write_text("before\n")
    report.write(page, {**HEAD, "recipes": {"small": {"untried": "ERROR: no | wheel"}}})
    text = page.read_text()
    assert text.startswith("before\n\n## ") and text.endswith(f"{report.END}\n")
    assert "untried: ERROR: no \\| wheel" in text


def test_a_child_that_returns_something_else_than_a_cold_process_is_a_problem() -> None:
    assert report.problems(ROW) == []
    assert report.problems({**ROW, "cold": {"value": 41}}) == ["a child returned something else than a cold process"]
    assert report.problems({**ROW, "runs": [{**RUN, "error": "hung"}, RUN]}) == ["hung"]
    assert report.problems({**ROW, "cold": {"error": "broken"}}) == ["cold: broken"]


def test_what_fails_is_named_wherever_it_was_tried() -> None:
    drawn = {"name": "draws", "errors": [], "differ": False, "seed_wins": None}
    facts = {
        "recipes": {"small": ROW, "untried": {"untried": "no wheel"}},
        "random": {"data": {"rows": [drawn, {**drawn, "differ": True}]}},
        "together": {
            "data": {"trials": [{"name": "small", "runs": [{**RUN, "error": "hung"}]}]},
            "web": {"problem": "x"},
        },
    }
    assert report.failures(facts) == ["draws", "small among all", "together web"]
