"""`firehot run --debugpy`: a real debugger attaches to a program by the Debug Adapter Protocol, cold and warm."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from daemons import Desk
from support import DEADLINE, wait_until

PROGRAM = """\
import sys
import dep_slow

def total(values):
    result = sum(values)
    return result

print("begins", flush=True)
print(total([1, 2, 3]), sys.argv, __name__)
sys.exit(5)
"""
_LINE = 6
# What is imported before the program: the client's interpreter, but not its script.
_HIDE = """\
import sys
import firehot._config
sys.path[:] = [entry for entry in sys.path if "site-packages" not in entry]
"""


class Debugger:
    """An editor that is attached to a program."""

    def __init__(self, port: int) -> None:
        self._socket = wait_until(lambda: _connected(port))
        assert self._socket, "nothing listens"
        self._file = self._socket.makefile("rwb")
        self._number = 0

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, command: str, **arguments: Any) -> int:
        self._number += 1
        message = {"seq": self._number, "type": "request", "command": command, "arguments": arguments}
        body = json.dumps(message).encode()
        self._file.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._file.flush()
        return self._number

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Sends a request; the body of its response."""
        number = self.send(command, **arguments)
        response = self._until(lambda message: message.get("request_seq") == number)
        assert response["success"], response
        return dict(response.get("body") or {})

    def event(self, name: str) -> dict[str, Any]:
        """Waits for it."""
        return dict(self._until(lambda message: message.get("event") == name).get("body") or {})

    def _until(self, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while not is_it(message := self._read()):
            continue
        return message

    def _read(self) -> dict[str, Any]:
        length = 0
        while line := self._file.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the debugger has hung up"
        message: dict[str, Any] = json.loads(self._file.read(length))
        return message


def _connected(port: int) -> socket.socket | None:
    try:
        return socket.create_connection(("127.0.0.1", port), DEADLINE)
    except ConnectionRefusedError:
        return None


@pytest.fixture
def desk(tmp_path: Path, nothing_is_left: str) -> Iterator[Desk]:
    """A project with a program."""
    made = Desk(tmp_path)
    # A note about the frozen modules of the interpreter, with times in it.
    made.variables["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    made.dependency("dep_slow.py")
    made.write("app.py", PROGRAM)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def port() -> int:
    """One that nobody listens on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        found: int = held.getsockname()[1]
        return found


def stopped_at_breakpoint(debugger: Debugger, path: Path) -> dict[str, Any]:
    """Attaches, stops at the line, and looks at what is there."""
    debugger.ask("initialize", adapterID="firehot", pathFormat="path", linesStartAt1=True, columnsStartAt1=True)
    debugger.send("attach", justMyCode=False)
    debugger.event("initialized")
    points = debugger.ask("setBreakpoints", source={"path": str(path)}, breakpoints=[{"line": _LINE}])["breakpoints"]
    debugger.send("configurationDone")
    thread = debugger.event("stopped")["threadId"]
    frames = debugger.ask("stackTrace", threadId=thread)["stackFrames"]
    scopes = debugger.ask("scopes", frameId=frames[0]["id"])["scopes"]
    variables = debugger.ask("variables", variablesReference=scopes[0]["variablesReference"])["variables"]
    value = debugger.ask("evaluate", expression="result * 2", frameId=frames[0]["id"], context="repl")["result"]
    debugger.send("continue", threadId=thread)
    debugger.event("terminated")
    return {
        "verified": [point["verified"] for point in points],
        # Below them are those of runpy, where it is no frozen module.
        "frames": [(frame["name"], frame["line"]) for frame in frames[:2]],
        "variables": {variable["name"]: variable["value"] for variable in variables},
        "value": value,
    }


def states(desk: Desk) -> list[str]:
    """Of the templates, where the daemon says; one that starts may not answer yet."""
    done = desk.run("why", "--json")
    return [slot["state"] for slot in json.loads(done.stdout)["templates"]] if done.returncode == 0 else []


def test_a_debugger_attaches_and_stops_at_a_breakpoint_cold_and_warm(desk: Desk, port: int) -> None:
    for is_warm in (False, True):
        with desk.popen("run", "--debugpy", str(port), "app.py", "a", "--b") as process:
            debugger = Debugger(port)
            try:
                seen = stopped_at_breakpoint(debugger, desk.root / "app.py")
            finally:
                debugger.close()
            stdout, stderr = process.communicate(timeout=DEADLINE)
        assert seen == {
            "verified": [True],
            "frames": [("total", _LINE), ("<module>", 9)],
            "variables": {"result": "6", "values": "[1, 2, 3]"},
            "value": "12",
        }
        assert (process.returncode, stdout) == (5, "begins\n6 ['app.py', 'a', '--b'] __main__\n")
        assert stderr == ""
        if not is_warm:
            # The template that this run has asked for: the program's, and debugpy itself.
            assert wait_until(lambda: states(desk) == ["ready"])
    [run] = desk.json("why")["runs"]
    assert run["warm"] and run["target"] == "app.py (debugpy)"
    [slot] = desk.json("imports")["templates"]
    assert {"dep_slow", "debugpy"} <= {found["name"] for found in slot["imports"]}


def test_a_port_that_is_taken_is_one_line(desk: Desk) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = desk.run("run", "--debugpy", str(port), "app.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"firehot: debugpy can't listen on port {port}: Address already in use\n"


def test_no_debugpy_is_one_line(desk: Desk, port: int) -> None:
    desk.dependency("sitecustomize.py", _HIDE)
    done = desk.run("run", "--debugpy", str(port), "app.py")
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("firehot: there is no debugpy: ") and line.endswith("-m pip install debugpy")


def test_debugpy_is_given_the_program_as_it_was_typed(desk: Desk, port: int) -> None:
    # In the place of debugpy: what its command line is given.
    desk.dependency("debugpy/__init__.py")
    desk.dependency("debugpy/__main__.py", "import sys\nprint(sys.argv[1:])\n")
    for words in (["app.py", "x"], ["-m", "app", "x"], ["-c", "pass", "x"]):
        shown = desk.good("run", "--debugpy", str(port), *words)
        assert shown == f"{['--listen', str(port), '--wait-for-client', *words]}\n"
