"""kill -9 of spares at every step: no call is lost while nobody has begun it, and none runs twice."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from pathlib import Path

import pytest
import soakwork
from conftest import Measure
from scale import times
from support import children_of, needs_proc
from test_kills import ANSWER, kill

from firehot import ChildExited
from firehot.environment import Environment

pytestmark = [needs_proc, pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what was not read")]


def test_a_killed_spare_loses_no_call_and_none_runs_twice(
    env: Environment, tmp_path: Path, moments: random.Random, measure: Measure
) -> None:
    count = times(1000, least=20)
    template = env.run(os.getppid)
    served = lost = 0
    with measure("kill -9 of spares, with calls on their way", count) as outcome:
        for number in range(count):
            note = tmp_path / str(number)
            spares = children_of(template)
            killer = threading.Timer(moments.uniform(0, 0.004), lambda pids=spares: [kill(pid) for pid in pids])
            killer.start()
            time.sleep(moments.uniform(0, 0.002))
            process = env.exec(soakwork.note_and_double, str(note), number)
            error = process.exception(ANSWER)
            killer.join()
            ran = note.read_text() if note.exists() else ""
            if error is None:
                assert process.result() == 2 * number and ran == "ran\n"
                served += 1
            else:
                # It was killed as the process that ran the call.
                assert isinstance(error, ChildExited) and error.signal == "SIGKILL"
                assert ran in ("", "ran\n")
                lost += 1
            assert process.wait(ANSWER) in (0, -9)
        outcome.append(f"{served} served, {lost} killed while they ran")
    assert served
    assert env.run(os.getppid) == template
