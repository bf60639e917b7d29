"""The benchmark measures what it says: every rival runs the same function, and ratios are taken round by round."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import needs_proc, wait_until

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from benches import chart, environments, project, report  # noqa: E402
from benches.runner.interleave import Contestant, interleave  # noqa: E402
from benches.runner.process import Rival, RivalFailed  # noqa: E402
from benches.runner.statistics import ratio, spread  # noqa: E402
from benches.runner.table import row  # noqa: E402

RIVALS = ("bare_fork", "forkserver", "cold", "firehot_now")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path / "environments")


@contextmanager
def started(script: str, folder: Path) -> Iterator[Rival]:
    made = project.make(folder / "project", ["json"])
    with Rival(script, Path(sys.executable), made.paths, ["json"], log=folder / "log") as rival:
        yield rival


@pytest.mark.parametrize("script", RIVALS)
def test_a_rival_runs_the_function_in_every_way(script: str, tmp_path: Path) -> None:
    with started(script, tmp_path) as rival:
        rival.ask("open")
        for answer in (rival.ask("exec"), rival.ask("burst", count=2), rival.ask("edited") if can_edit(script) else {}):
            assert all(0 < answer[name] < 60 for name in answer.keys() & {"result", "again"})


def can_edit(script: str) -> bool:
    return script != "forkserver"


@needs_proc
@pytest.mark.parametrize("script", RIVALS)
def test_a_held_child_lives_until_it_is_released(script: str, tmp_path: Path) -> None:
    with started(script, tmp_path) as rival:
        rival.ask("open")
        folder = Path(f"/proc/{rival.ask('hold')['pid']}")
        assert "Pss" in (folder / "smaps_rollup").read_text()
        rival.ask("release")
        assert wait_until(lambda: not folder.exists())


@needs_proc
@pytest.mark.parametrize("script", RIVALS)
def test_a_rival_ends_when_nobody_asks_any_more(script: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), started(script, tmp_path) as rival:
        rival.ask("open")
        raise KeyboardInterrupt
    assert not Path(f"/proc/{rival.pid}").exists()
    assert not rival.killed


def test_a_function_that_returns_something_else_is_no_measure(tmp_path: Path) -> None:
    with pytest.raises(RivalFailed, match="returned 43"), started("bare_fork", tmp_path) as rival:
        (tmp_path / "project" / "source" / "own" / "part.py").write_text("def answer():\n    return 43\n")
        rival.ask("open")
        rival.ask("exec")


def test_contestants_take_turns_and_some_not_every_time() -> None:
    order: list[str] = []

    def turn(name: str) -> dict[str, float]:
        order.append(name)
        return {"result": float(len(order))}

    found = interleave(
        [Contestant("each", lambda: turn("each")), Contestant("rare", lambda: turn("rare"), every=2)],
        4,
        warm_up=0,
        rest=0.0,
    )
    assert sorted(found["each"].of("result")) == [0, 1, 2, 3]
    assert sorted(found["rare"].of("result")) == [0, 2]
    assert order != sorted(order)


def test_a_ratio_is_taken_round_by_round() -> None:
    # The machine is ten times slower in the second round, for both.
    ours, theirs = {0: 1.0, 1: 10.0, 2: 1.0}, {0: 2.0, 1: 20.0}
    assert ratio(ours, theirs).median == 0.5
    assert spread([4.0, 1.0, 2.0, 3.0, 5.0]).median == 3.0


def test_the_table_tells_by_how_much_a_target_is_missed() -> None:
    made = row("exec", "web", "exec to result", {0: 0.003, 1: 0.003}, {"bare": ({0: 0.002, 1: 0.002}, 1.25)})
    text = report.terminal([made])
    assert "1.25 missed by 20%" in text and "3.00 ms" in text
    drawn = chart.draw([json.loads(json.dumps(report.as_json(made)))])
    assert drawn.startswith("<svg") and "1.50 (target 1.25)" in drawn
