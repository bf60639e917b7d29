"""kill -9 of client, daemon, template and program, at random moments and at each step of the hand-shake.

Whatever dies, a client ends; what it prints and its exit status are those of a whole run, or it says in one line that
the program is lost (137); no program runs twice; a program ends with its client; the next runs are well again.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from select import select

import pytest
from conftest import Measure
from daemons import Desk
from scale import times
from support import children_of, is_alive, needs_proc, wait_until

pytestmark = needs_proc
ANSWER = 60.0
"""Seconds for a client's end, on a machine that does other things as well."""
GONE = 5.0
"""Seconds for the end of what was killed, and of a program whose client was, on such a machine."""
APP = """
import os, sys
import dep_slow
with open(os.environ["RAN"], "a") as file:
    file.write(f"{os.environ['NUMBER']} {os.getpid()}\\n")
print("begun", flush=True)
if sys.argv[1:]:
    sys.stdin.read()
print("done")
sys.exit(3)
"""
WHOLE = "begun\ndone\n"
COLD = "firehot: running cold: "
LOST = "firehot: "


@dataclass
class Done:
    """How a client ended, and what is known of its program."""

    status: int
    stdout: str
    stderr: str
    pids: list[int]

    @property
    def kind(self) -> str:
        """What it was: "whole", "lost", "killed"; fails where it is none of these."""
        assert len(self.pids) <= 1, f"ran twice: {self}"
        assert self.stderr.count("\n") <= 1, self
        if self.status == 3:
            assert self.stdout == WHOLE and len(self.pids) == 1, self
            assert self.stderr == "" or self.stderr.startswith(COLD), self
            return "whole"
        assert WHOLE.startswith(self.stdout), self
        if self.status == 137:
            assert self.stderr.startswith(LOST) and ".log" in self.stderr, self
            return "lost"
        assert self.status == -signal.SIGKILL and self.stderr == "", self
        return "killed"


class Range:
    """A project with a program that counts its runs, and clients to be shot at."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self.desk = desk
        self._ran = folder / "ran"
        self._ran.touch()
        self._temporary = folder / "temporary"
        self._temporary.mkdir()
        desk.variables["TMPDIR"] = str(self._temporary)
        self._number = 0
        self._lock = threading.Lock()
        desk.dependency("dep_slow.py", "import decimal\n")
        desk.write("app.py", APP)

    @contextmanager
    def client(self, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """A client that runs the program; killed where the block does not see to its end."""
        with self._lock:
            self._number += 1
            number = str(self._number)
        environ = {**self.desk.environment, "RAN": str(self._ran), "NUMBER": number}
        command = [sys.executable, "-m", "firehot", "run", "app.py", *words]
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, cwd=self.desk.root, env=environ, text=True, stdin=pipe, stdout=pipe, stderr=pipe
        ) as process:
            try:
                yield process, number
            finally:
                process.kill()

    def end(self, process: subprocess.Popen[str], number: str) -> Done:
        """The end of a client, and with it of its program."""
        stdout, stderr = process.communicate(timeout=ANSWER)
        return Done(process.returncode, stdout, stderr, self.pids(number))

    def run(self) -> Done:
        """A run that nobody disturbs."""
        with self.client() as (process, number):
            return self.end(process, number)

    def pids(self, number: str) -> list[int]:
        """The processes in which the program has run for this client."""
        lines = (line.split() for line in self._ran.read_text().splitlines())
        return [int(pid) for asked, pid in lines if asked == number]

    def living(self) -> int | None:
        """The daemon, if there is one."""
        found = self.desk.living()
        assert len(found) <= 1
        return found[0] if found else None

    def clean(self) -> None:
        """Nothing is left once the daemon has been told to end."""
        self.desk.good("stop")
        assert self.desk.left() == []
        assert os.listdir(self._temporary) == []
        assert not list(Path(os.environ["XDG_CACHE_HOME"]).rglob("*.tmp"))

    def recover(self) -> None:
        """The program runs; when the template is there, it is warm: no third run is needed for that."""
        assert self.run().kind == "whole"
        self.desk.warm("app.py")
        assert self.run().kind == "whole"
        assert self.desk.json("why")["runs"][0]["warm"]


@pytest.fixture
def shots(tmp_path: Path, nothing_is_left: str) -> Iterator[Range]:
    desk = Desk(tmp_path)
    made = Range(desk, tmp_path)
    desk.warm("app.py")
    yield made
    desk.close()


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def load(busy: bool) -> Iterator[None]:
    """Both cores have something else to do, if so."""
    code = "while True: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(os.cpu_count() or 1)] if busy else []
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def victims(shots: Range, who: str) -> list[int]:
    daemon = shots.living()
    if daemon is None:
        return []
    if who == "daemon":
        return [daemon]
    templates = children_of(daemon)
    if who == "template":
        return templates
    return [pid for template in templates for pid in children_of(template)]


def span_of(shots: Range) -> float:
    """How long a run takes here and now, and a little more: moments beyond that hit nothing."""
    taken = []
    for _ in range(3):
        began = time.monotonic()
        assert shots.run().kind == "whole"
        taken.append(time.monotonic() - began)
    return 1.2 * sorted(taken)[1]


@pytest.mark.parametrize("who", ["daemon", "template", "program", "any of them, cores busy"])
def test_a_kill_at_a_random_moment_loses_at_most_that_run(
    shots: Range, moments: random.Random, measure: Measure, who: str
) -> None:
    busy = who.endswith("busy")
    count = times(300 if busy else 1000, least=2)
    kinds: Counter[str] = Counter()
    with measure(f"kill -9 behind a client: {who}", count) as outcome, load(busy):
        span = span_of(shots)
        for _ in range(count):
            whom = moments.choice(("daemon", "template", "program")) if busy else who
            with shots.client(*(["wait"] if moments.random() < 0.5 else [])) as (process, number):
                time.sleep(moments.uniform(0, span))
                targets = victims(shots, whom)
                for pid in targets:
                    kill(pid)
                kind = shots.end(process, number).kind
            kinds[kind] += 1
            for pid in (*targets, *shots.pids(number)):
                assert wait_until(lambda pid=pid: not is_alive(pid), GONE)
            if moments.random() < 0.5:
                # Else the next shot comes while all of it is being made anew.
                shots.desk.warm("app.py")
        outcome.append(", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items())))
    shots.recover()
    shots.clean()


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_killed_client_takes_its_program_along(
    shots: Range, moments: random.Random, measure: Measure, busy: bool
) -> None:
    count = times(300 if busy else 1000, least=3)
    begun, slowest = 0, 0.0
    with measure(f"kill -9 of a client{', cores busy' if busy else ''}", count) as outcome, load(busy):
        span = span_of(shots)
        for _ in range(count):
            with shots.client("wait") as (process, number):
                time.sleep(moments.uniform(0, span))
                process.kill()
                killed = time.monotonic()
                # Its streams are at their end when nobody has them any more: no program, and no daemon.
                process.communicate(timeout=ANSWER)
                pids = shots.pids(number)
            assert len(pids) <= 1
            assert wait_until(lambda pids=pids: not any(map(is_alive, pids)), GONE)
            begun, slowest = begun + len(pids), max(slowest, time.monotonic() - killed)
        # A second on a machine that does nothing else.
        assert slowest < GONE
        outcome.append(f"{begun} programs had begun; all were gone after {slowest:.2f} s at most")
    shots.recover()
    shots.clean()


@pytest.mark.parametrize("clients", [20, 100])
def test_many_clients_at_once_run_once_each_without_a_daemon_and_with_one(
    shots: Range, measure: Measure, clients: int
) -> None:
    count = times(clients, least=clients // 10)
    with measure(f"{clients} clients at once", 2 * count) as outcome, ThreadPoolExecutor(count) as pool:
        shots.desk.good("stop")
        for when in ("with no daemon", "with one"):
            done = list(pool.map(lambda _: shots.run(), range(count)))
            assert {each.kind for each in done} == {"whole"}
            said = Counter(each.stderr for each in done if each.stderr)
            outcome.append(f"{when}, {sum(said.values())} said why they were cold")
            shots.desk.warm("app.py")
    shots.recover()
    shots.clean()


def test_two_clients_that_start_a_daemon_at_once_start_one(
    shots: Range, moments: random.Random, measure: Measure
) -> None:
    count = times(200)
    with measure("two clients at once that start the daemon", count), ThreadPoolExecutor(2) as pool:
        for _ in range(count):
            daemon = shots.living()
            assert daemon is not None
            kill(daemon)
            assert wait_until(lambda daemon=daemon: not is_alive(daemon))
            first = pool.submit(shots.run)
            time.sleep(moments.uniform(0, 0.02))
            done = [shots.run(), first.result(ANSWER)]
            assert [each.kind for each in done] == ["whole", "whole"]
            assert wait_until(shots.living)
    shots.recover()
    shots.clean()


# -- at each step of the hand-shake ----------------------------------------------------------------


class Script:
    """A client that says what a real one has said, as far as it is told to."""

    def __init__(self, shots: Range) -> None:
        """Listens in the daemon's place for what a client says to it."""
        shots.desk.good("stop")
        self._socket = next(path.with_suffix(".sock") for path in shots.desk.locks())
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self._socket))
            listener.listen()
            with ThreadPoolExecutor(1) as pool:
                client = pool.submit(shots.desk.run, "run", "script.py")
                taken, _ = listener.accept()
                self.hello = self._frame(taken)
                self.request = self._frame(taken)
                taken.close()
                client.result(ANSWER)
        self._socket.unlink()

    def play(self, step: str, answers: list[int]) -> None:
        """Says all up to this step, and goes."""
        go = b'{"type":"go"}'
        go = struct.pack("<II", len(go), 0) + go
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self._socket))
            if step == "connect":
                return
            client.sendall(self.hello)
            if step == "hello":
                return
            client.sendall(self.request[: len(self.request) // 2])
            if step == "half a request":
                return
            client.sendall(self.request[len(self.request) // 2 :])
            if step == "request":
                return
            self._frame(client)  # ready, or cold
            if step == "ready":
                return
            if step == "go without descriptors":
                client.sendall(go)
                return
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", answers))]
            client.sendmsg([go], rights)
            if step == "started":
                self._frame(client)

    @staticmethod
    def _frame(stream: socket.socket) -> bytes:
        def exactly(count: int) -> bytes:
            found = b""
            while len(found) < count:
                more = stream.recv(count - len(found))
                assert more, "the other end has gone"
                found += more
            return found

        prefix = exactly(8)
        return prefix + exactly(sum(struct.unpack("<II", prefix)))


STEPS = ["connect", "hello", "half a request", "request", "ready", "go without descriptors", "go", "started"]


def test_a_client_that_goes_at_a_step_of_the_hand_shake_leaves_nothing(shots: Range, measure: Measure) -> None:
    shots.desk.write("script.py", "import os, sys\nprint(os.getpid(), flush=True)\nsys.stdin.read()\n")
    script = Script(shots)
    shots.desk.warm("script.py")
    daemon = shots.living()
    assert daemon is not None

    def held() -> tuple[int, int]:
        return len(os.listdir(f"/proc/{daemon}/fd")), len(os.listdir(f"/proc/{daemon}/task"))

    assert wait_until(lambda: held()[1] <= 12)
    before = held()
    for step in STEPS:
        count = times(1000, least=3)
        with measure(f"a client that goes in the hand-shake: after {step}", count) as outcome:
            ran = sum(len(told_by(script, step)) for _ in range(count))
            outcome.append(f"{ran} programs had begun, and were ended")
        assert step in ("go", "started") or not ran
        assert wait_until(lambda: held()[0] <= before[0] and held()[1] <= before[1]), (step, before, held())
    assert shots.living() == daemon
    shots.recover()
    shots.clean()


def told_by(script: Script, step: str) -> list[str]:
    """What the program of a client that goes at this step has said: its process, if it had begun."""
    (stdin, keep), (out, stdout) = os.pipe(), os.pipe()
    try:
        script.play(step, [stdin, stdout, stdout])
    finally:
        os.close(stdin)
        os.close(stdout)
    # The end is there when nobody has the other end any more: the program is gone, or has never been.
    with open(out) as told:
        assert wait_until(lambda: select([told], [], [], 0)[0], ANSWER)
        pids = told.read().split()
    os.close(keep)
    assert len(pids) <= 1
    assert wait_until(lambda: not any(is_alive(int(pid)) for pid in pids), GONE)
    return pids
