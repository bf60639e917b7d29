"""`firehot serve` through saves that never pause: every request is answered, and nothing is left."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Measure
from daemons import Desk
from scale import times
from serving import Load, Serving, app
from support import needs_proc, wait_until

pytestmark = needs_proc
_PAUSE = 0.1
_BROKEN = 0.1
"""Of the saves, those that do not start."""


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.write("app.py", app(1))
    yield made
    made.close()


def test_a_save_every_100_ms_loses_no_request(desk: Desk, moments: random.Random, measure: Measure) -> None:
    count = times(600, 20)
    with (
        Serving(desk, "app:app", "--no-access-log") as served,
        measure("a save every 100 ms, served", count) as outcome,
    ):
        served.until(r"served after")
        with Load(served.port, steady=2, fresh=2) as load:
            for value in range(2, count + 2):
                broken = moments.random() < _BROKEN and value <= count
                desk.write("app.py", "1 / 0\n" if broken else app(value))
                time.sleep(_PAUSE)
                served.skip()
            assert wait_until(lambda: served.ask().text == str(count + 1))
        load.check()
        values = {value for _, _, value in load.answers}
        outcome.append(f"{len(load.answers):,} requests answered, by {len(values)} generations")
        assert served.signal(signal.SIGINT) == 0
