"""`firehot serve`: each save is served, no request is lost, and what does not start keeps nobody from the rest."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from daemons import Desk
from serving import Load, Serving, app, ask
from support import DEADLINE, is_alive, wait_until

import firehot

pytestmark = pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="needs fork")
FIREHOT = str(Path(firehot.__file__).parent)


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.write("app.py", app(1))
    yield made
    made.close()


def test_a_save_is_served_by_a_fork_and_the_old_code_ends(desk: Desk) -> None:
    with Serving(desk) as served:
        served.until(r"served after")
        assert served.ask().text == "1"
        before, owner = json.loads(served.ask("/process").text)
        assert before == owner
        told = served.save(2)
        assert "app.py changed; " in told
        assert served.ask().text == "2"
        assert json.loads(served.ask("/process").text)[0] != before
        assert wait_until(lambda: not is_alive(before))
        # An import that was added is in the template by the time that the code runs.
        assert "layer added" in served.save(3, body="import decimal, fractions")
        assert served.ask().text == "3"
        runs = desk.json("why")["runs"]
        assert [run["warm"] for run in runs[:2]] == [True, True], runs
        assert runs[0]["target"] == "serve app:app"
        assert served.signal(signal.SIGINT) == 0


def test_what_cannot_be_imported_leaves_the_last_good_code_and_is_told_once(desk: Desk) -> None:
    with Serving(desk) as served:
        served.until(r"served after")
        desk.write("app.py", app(2, body="import helper"))
        desk.write("helper.py", "def broken():\n    raise ValueError('not yet')\n\nbroken()\n")
        told = served.until(r"the last good code goes on serving\n")
        assert told.count("ValueError: not yet") == 1
        assert "Traceback (most recent call last)" in told and "helper.py" in told
        # Nothing of what runs it stands in the user's traceback.
        assert "firehot/_generation" not in told and "importlib" not in told
        assert served.ask().text == "1"
        desk.write("helper.py", "")
        served.until(r"helper.py changed; .*served after")
        assert served.ask().text == "2"


def test_what_does_not_start_leaves_the_last_good_code(desk: Desk) -> None:
    failed = "await send({'type': 'lifespan.startup.failed', 'message': '%s'}); return"
    with Serving(desk) as served:
        served.until(r"served after")
        for text, line in [
            (app(2, body="import os; os._exit(3)"), "app:app ended with status 3"),
            (app(2, body="raise SystemExit(4)"), "app:app asks to exit (4) when it is imported"),
            (app(2).replace("async def app(", "async def other("), "app:app is not there: 'app' has no 'app'"),
            (app(2, startup=failed % "no database"), "app:app has not started up: no database; the last"),
            (
                app(2, startup=failed % r"no\ndatabase"),
                "\ndatabase\nfirehot: app.py changed; app:app has not started up; ",
            ),
            (app(2, body="#\0"), ": source code string cannot contain null bytes; the last"),
            (app(2, startup="os.kill(os.getpid(), 9)"), "app:app was ended by SIGKILL"),
        ]:
            desk.write("app.py", text)
            assert line in served.until(r"the last good code goes on serving\n")
            assert served.ask().text == "1"
        # uvicorn takes an exception there for an application without a lifespan.
        served.save(3, startup="raise RuntimeError('no lifespan')")
        assert served.ask().text == "3"


def test_a_first_start_that_fails_is_told_on_every_page_until_it_is_mended(desk: Desk) -> None:
    desk.write("app.py", "1 / 0\n")
    with Serving(desk) as served:
        assert "ZeroDivisionError" in served.until(r"can't be imported: ZeroDivisionError; waiting for a change\n")
        # Whoever comes while nothing accepts waits.
        answer = served.ask("/any")
        assert (answer.status, answer.headers["content-type"]) == (500, "text/plain; charset=utf-8")
        assert "ZeroDivisionError" in answer.text and "app.py" in answer.text
        page = served.ask("/any", accept="text/html")
        assert page.headers["content-type"] == "text/html; charset=utf-8" and "ZeroDivisionError" in page.text
        desk.write("app.py", "2 / 0\nthis is no Python\n")
        served.until(r"SyntaxError; waiting for a change\n")
        assert wait_until(lambda: "SyntaxError" in served.ask().text)
        served.save(2)
        assert (served.ask().status, served.ask().text) == (200, "2")


BLOCKS = "def forever():\n    time.sleep(600)\n"
WAITS = """
from contextlib import asynccontextmanager

async def forever():
    await asyncio.sleep(600)

@asynccontextmanager
async def opened():
    await forever()
    yield
"""


def test_a_start_that_hangs_is_given_up_with_its_own_frames(desk: Desk) -> None:
    desk.write("pyproject.toml", "[tool.firehot]\nimport_timeout = 1\n")
    desk.write("other.py", f"import time\n{BLOCKS}\nforever()\n")
    with Serving(desk, "app:app", "--", "--loop", "asyncio") as served:
        served.until(r"served after")
        for text, functions in [
            (app(2, body=f"{BLOCKS}\nimport other"), ["<module>", "<module>", "forever"]),
            (app(2, body=BLOCKS, startup="forever()"), ["app", "lifespan", "forever"]),
            (app(2, body=WAITS, startup="async with opened(): pass"), ["app", "lifespan", "opened", "forever"]),
        ]:
            desk.write("app.py", text)
            told = served.until(r"app.py.* has not started up after 1.0 s; the last good code goes on serving\n")
            frames = re.findall(r'^  File "(.*)", line \d+, in (\S+)$', told, re.MULTILINE)
            assert [name for file, name in frames if str(desk.root) in file] == functions, told
            # Those of the standard library may be between and behind them.
            assert frames[0][1] == functions[0] and FIREHOT not in told, told
            assert served.ask().text == "1"
        served.save(3)
        assert served.ask().text == "3"


def test_code_that_does_not_end_is_ended(desk: Desk) -> None:
    desk.write("app.py", app(1, shutdown="time.sleep(600)"))
    with Serving(desk, "app:app", "--", "--timeout-graceful-shutdown", "1") as served:
        served.until(r"served after")
        old = json.loads(served.ask("/process").text)[0]
        served.save(2, body="import threading; threading.Thread(target=time.sleep, args=(600,)).start()")
        assert served.ask().text == "2"
        assert wait_until(lambda: not is_alive(old))
        old = json.loads(served.ask("/process").text)[0]
        served.save(3)
        assert wait_until(lambda: not is_alive(old))
        assert served.signal(signal.SIGINT) == 0
        assert "Traceback" not in served.rest()


def test_a_request_is_finished_by_the_code_that_has_it(desk: Desk) -> None:
    with Serving(desk) as served:
        served.until(r"served after")
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE)
        connection.request("GET", "/slow")
        assert wait_until((desk.root / "slow").exists)
        served.save(2)
        assert served.ask().text == "2"
        desk.write("go")
        response = connection.getresponse()
        assert (response.status, response.read()) == (200, b"slow 1")
        # The connection stays, and is the new code's from here on.
        connection.auto_open = 0
        assert ask(connection).text == "2"
        connection.close()


def test_requests_have_no_time_where_uvicorn_is_told_so(desk: Desk) -> None:
    with Serving(desk, "app:app", "--", "--timeout-graceful-shutdown", "0") as served:
        served.until(r"served after")
        idle = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE)
        assert ask(idle).text == "1"
        idle.auto_open = 0
        slow = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE)
        slow.request("GET", "/slow")
        assert wait_until((desk.root / "slow").exists)
        served.save(2)
        began = time.monotonic()
        assert slow.getresponse().status == 500
        assert time.monotonic() - began < 4
        assert "Cancel 1 running task(s)" in served.until(r"exceeded\n")
        # An idle one is no request.
        assert ask(idle).text == "2"
        served.save(3)
        assert ask(idle).text == "3"
        assert served.signal(signal.SIGINT) == 0
        assert "Cancel" not in served.rest()
        for connection in (slow, idle):
            connection.close()


def has_answered(load: Load, value: int) -> bool:
    """Whether somebody has been told this value lately."""
    return any(told == value for _, _, told in load.answers[-100:])


@pytest.mark.parametrize(("parser", "loop"), [("h11", "asyncio"), ("httptools", "uvloop")])
def test_no_request_is_lost_by_a_reload(desk: Desk, parser: str, loop: str) -> None:
    with Serving(desk, "app:app", "--no-access-log", "--", "--http", parser, "--loop", loop) as served:
        served.until(r"served after")
        with Load(served.port) as load:
            for value in range(1, 6):
                if value > 1:
                    served.save(value)
                assert wait_until(partial(has_answered, load, value))
        load.check()
        assert served.ask().text == "5"


def test_an_idle_connection_is_handed_on(desk: Desk) -> None:
    with Serving(desk) as served:
        served.until(r"served after")
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=DEADLINE)
        assert ask(connection).text == "1"
        connection.auto_open = 0
        # Half a request makes it no idle one: the code that has begun to read it answers.
        half = socket.create_connection(("127.0.0.1", served.port))
        half.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n")
        fresh = socket.create_connection(("127.0.0.1", served.port))
        assert ask(connection).text == "1"
        served.save(2)
        assert ask(connection).text == "2"
        half.sendall(b"connection: close\r\n\r\n")
        assert half.makefile("rb").read().endswith(b"\r\n\r\n1")
        fresh.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert fresh.makefile("rb").read().endswith(b"\r\n\r\n2")
        for one in (connection, half, fresh):
            one.close()
