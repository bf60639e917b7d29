"""`firehot serve` in its ends: of connections, of code that does not go, of its processes, of itself."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme
from daemons import Desk
from serving import Serving, app, ask, is_refused, taken_port
from support import DEADLINE, is_alive, needs_proc, wait_until

import firehot

pytestmark = pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="needs fork")


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.write("app.py", app(1))
    yield made
    made.close()


@needs_proc
def test_an_idle_tls_connection_does_not_hold_the_old_code(desk: Desk, tmp_path: Path) -> None:
    desk.write("app.py", app(1, shutdown="open('down', 'w').close()"))
    certificate = tmp_path / "localhost.pem"
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with Serving(desk, "app:app", "--", "--ssl-certfile", str(certificate)) as served:
        served.until(r"served after")
        connections = [
            http.client.HTTPSConnection("127.0.0.1", served.port, timeout=DEADLINE, context=context) for _ in range(2)
        ]
        old = json.loads(ask(connections[0], "/process").text)[0]
        served.save(2)
        assert ask(connections[1]).text == "2"
        # The client of the other one has not noticed that it is closed.
        assert wait_until(lambda: not is_alive(old))
        # Past the deadline it would have been ended without that.
        assert (desk.root / "down").exists()
        for connection in connections:
            connection.close()
        assert served.signal(signal.SIGINT) == 0
        assert "Traceback" not in served.rest() and "Cancel" not in served.rest()


def test_a_generation_or_a_daemon_that_dies_is_replaced(desk: Desk) -> None:
    with Serving(desk) as served:
        served.until(r"served after")
        # At once after its start: a loop of ends would be of no use to anybody.
        os.kill(json.loads(served.ask("/process").text)[0], signal.SIGKILL)
        assert "app:app was ended by SIGKILL; waiting for a change" in served.until(r"waiting for a change\n")
        assert "was ended by SIGKILL" in served.ask().text
        served.save(2)
        assert served.ask().text == "2"
        [daemon] = desk.daemons()
        os.kill(daemon["pid"], signal.SIGKILL)
        served.until(r"waiting for a change\n")
        served.save(3)
        assert served.ask().text == "3"


@needs_proc
@pytest.mark.parametrize("saves", [0, 1], ids=["cold", "warm"])
def test_a_front_that_is_killed_leaves_nothing(desk: Desk, saves: int) -> None:
    with Serving(desk) as served:
        served.until(r"served after")
        for value in range(saves):
            served.save(value + 2)
        process = json.loads(served.ask("/process").text)[0]
        served.process.kill()
        served.process.wait()
        assert wait_until(lambda: not is_alive(process))
        # Nobody holds the socket any longer than that takes.
        assert wait_until(lambda: is_refused(served.port))


def test_a_signal_to_the_whole_process_group_skips_no_shutdown(desk: Desk) -> None:
    desk.write("app.py", app(1, shutdown="open('ended', 'w').close()"))
    with Serving(desk) as served, ThreadPoolExecutor(1) as threads:
        served.until(r"served after")
        process = json.loads(served.ask("/process").text)[1]
        os.kill(process, signal.SIGHUP)
        assert json.loads(served.ask("/process").text)[1] == process
        slow = threads.submit(served.ask, "/slow")
        assert wait_until((desk.root / "slow").exists)
        served.process.send_signal(signal.SIGTERM)
        # The application has heard of the end from the front, and now hears of it by itself.
        assert wait_until(lambda: is_refused(served.port))
        os.kill(process, signal.SIGTERM)
        desk.write("go")
        assert slow.result(DEADLINE).text == "slow 1"
        assert served.process.wait(DEADLINE) == 143
    assert (desk.root / "ended").exists()


# -- what can't be served ----------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there, whatever the locale is")
def test_a_path_is_found_in_a_locale_without_its_letters(tmp_path: Path, nothing_is_left: str) -> None:
    desk = Desk(tmp_path / "größe")
    desk.variables |= {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
    desk.write("src/größe.py", app(1, body="import sys; assert sys.getfilesystemencoding() == 'ascii'"))
    try:
        with Serving(desk, "größe:app", "--app-dir", "src") as served:
            served.until(r"served after")
            assert served.ask().text == "1"
            desk.write("src/größe.py", app(2))
            served.until(r"größe.py changed; .*served after")
            assert served.ask().text == "2"
        done = desk.run("doctor", "--json")
        assert json.loads(done.stdout)["root"] == str(desk.root) and "Traceback" not in done.stderr
    finally:
        desk.close()


def test_what_cannot_be_served_is_one_line(desk: Desk) -> None:
    desk.write("pkg/__init__.py")
    with taken_port() as port:
        for words, line in [
            (("nothing:app",), "there is no module 'nothing'"),
            (("pkg.nothing:app",), "there is no module 'pkg.nothing'"),
            (("app",), "'app' is not module:attribute (app:app?)"),
            (("app.py",), "'app.py' is not module:attribute (app:app?)"),
            (("app.py:app",), "nor is it installed; app:app?"),
            (("app:app", "--app-dir", "nowhere"), "there is no folder nowhere"),
            (("app:app", "--reload-dir", "nowhere"), "there is no folder"),
            (("app:app", "--port", str(port)), f"127.0.0.1:{port} can't be listened on: Address already in use"),
            (
                ("app:app", "--host", "no.such.host.invalid", "--port", "0"),
                "no.such.host.invalid:0 can't be listened on",
            ),
            (("app:app", "--uds", "app.py"), "app.py can't be listened on: it is there already"),
            (("app:app", "--fd", "77"), "descriptor 77 is no socket"),
            (("app:app", "--", "--nonsense"), "uvicorn's options: No such option"),
            (("app:app", "--", "--port", "99999"), "127.0.0.1:99999 can't be listened on"),
            (("app:app", "--host", "a..b"), "a..b:8000 can't be listened on"),
            (("app:app", "--log-level", "odd"), "uvicorn's options: Invalid value for '--log-level'"),
            (("app:app", "--", "--ssl-certfile", "no.pem"), "--ssl-certfile: there is no file no.pem"),
            (("app:app", "--", "--header", "odd"), "uvicorn's options: --header wants name:value, not 'odd'"),
        ]:
            done = desk.run("serve", *words)
            assert (done.returncode, done.stdout) == (1, ""), (words, done)
            assert done.stderr.startswith("firehot: ") and done.stderr.count("\n") == 1, done.stderr
            assert line in done.stderr


def test_without_uvicorn_it_says_how_to_get_it(desk: Desk) -> None:
    code = "import sys; from firehot._command import main; sys.exit(main())"
    # Found alone: in the folder that firehot is installed in, uvicorn may be its neighbour.
    (desk.site / "firehot").symlink_to(Path(firehot.__file__).parent)
    command = [sys.executable, "-S", "-c", code, "serve", "app:app"]
    done = subprocess.run(command, cwd=desk.root, env=desk.environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"firehot: there is no uvicorn: {sys.executable} -m pip install 'firehot[serve]'\n"


# -- how and where -----------------------------------------------------------------------------------


def test_a_unix_socket_is_served_and_removed_at_the_end(desk: Desk) -> None:
    with Serving(desk, "app:app", "--uds", "here.sock") as served:
        served.until(r"served after")
        for value in (1, 2):
            if value > 1:
                served.save(value, shutdown="open('ended', 'w').close()")
            with socket.socket(socket.AF_UNIX) as made:
                made.settimeout(DEADLINE)
                made.connect(str(desk.root / "here.sock"))
                made.sendall(b"GET / HTTP/1.0\r\n\r\n")
                assert made.makefile("rb").read().endswith(b"\r\n\r\n%d" % value)
        assert served.signal(signal.SIGTERM) == 143
        assert "Traceback" not in served.rest()
    # The application has ended in good order, too.
    assert (desk.root / "ended").exists()
    assert not (desk.root / "here.sock").exists()


def test_a_descriptor_is_served(desk: Desk) -> None:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        fd = made.fileno()
        with Serving(desk, "app:app", "--fd", str(fd), pass_fds=[fd]) as served:
            served.until(r"served after")
            assert served.ask().text == "1"
            served.save(2)
            assert served.ask().text == "2"
            assert served.signal(signal.SIGHUP) == 129


def test_options_hold_beside_those_of_uvicorn(desk: Desk) -> None:
    with taken_port() as port:
        # Port 0 and "no" are words, too.
        words = ("--port", "0", "--no-access-log", "--", "--port", str(port), "--access-log")
        with Serving(desk, "app:app", *words) as served:
            served.until(r"served after .*\n")
            assert served.ask().text == "1"
            assert served.signal(signal.SIGINT) == 0
        assert "GET" not in served.rest()


def test_options_of_uvicorn_reach_it(desk: Desk) -> None:
    told = "(scope['root_path'] + os.environ['NAME']).encode()"
    desk.write("src/service.py", app(1).replace('b"%d" % VALUE', told))
    desk.write("src/made.py", "import service\n\ndef make():\n    return service.app\n")
    words = ("--factory", "--app-dir", "src", "--reload-dir", ".", "--", "--root-path", "/api", "--header", "x-odd:1")
    words += ("--loop", "asyncio", "--reload-exclude", "ignored*", "--reload-include", "*.txt")
    desk.variables["NAME"] = "Grace"
    with Serving(desk, "made:make", *words) as served:
        served.until(r"served after")
        answer = served.ask()
        assert (answer.text, answer.headers["x-odd"]) == ("/apiGrace", "1")
        desk.write("src/service.py", app(2))
        served.until(r"src/service.py changed; .*served after")
        assert served.ask().text == "2"
        # What is not of the application starts nothing.
        desk.write("ignored.py")
        desk.write("notes.md")
        desk.write("words.txt")
        assert "firehot: words.txt changed" in served.until(r"served after")
        assert "ignored" not in served.rest()
