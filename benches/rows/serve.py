"""`firehot serve` against `uvicorn --reload`: from a save to the new code's first answer, and what clients notice."""

from __future__ import annotations

import http.client
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benches import environments
from benches.bench import Bench, say
from benches.rows.command import _firehot
from benches.runner.interleave import Contestant, Figures, Measured, interleave
from benches.runner.table import Row, row
from benches.stacks import Stack

STACK = Stack(
    "serve",
    (
        *("pandas==3.1.1", "scikit-learn==1.9.1", "numpy==2.4.6", "sqlalchemy==2.1.9"),
        *("uvicorn>=0.54,<0.55", "uvloop>=0.21,<1", "httptools>=0.6,<1", "watchfiles>=1,<2", "fastapi==0.165.0"),
    ),
    ("pandas", "sklearn.linear_model", "sqlalchemy.orm"),
)
SUBJECT = "pandas, scikit-learn, sqlalchemy"
FIREHOT = "firehot"
RIVAL = "`uvicorn --reload`"
_ROUNDS = 20
_AFTER = 0.5
"""Seconds that the load goes on for after the first answer of new code."""
_PATIENCE = 60.0
_APPLICATION = """
{imports}
from fastapi import FastAPI

import values

app = FastAPI()


@app.get("/")
async def root():
    return values.VALUE
"""


class Served:
    """One server of the application, in a folder of its own.

    Attributes:
        errors: Requests under load that were not answered.
        requests: All requests under load.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self._file = folder / "values.py"
        self._port = port
        self._value = 0
        self.errors = 0
        self.requests = 0

    def save(self) -> Figures:
        """Saves, and asks on a new connection each time until the new code answers."""
        began = self._write()
        while self._ask() != self._value:
            if time.perf_counter() - began > _PATIENCE:
                raise SystemExit("a save is not served")
            time.sleep(0.002)
        return {"served": time.perf_counter() - began}

    def save_under_load(self) -> Figures:
        """The same, while clients ask: the time that the slowest of their requests took."""
        times: list[float] = []
        is_over = threading.Event()
        threads = [threading.Thread(target=self._load, args=(is_over, times, number % 2 == 0)) for number in range(8)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.1)
            self.save()
            time.sleep(_AFTER)
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
        self.requests += len(times)
        return {"worst": max(times)}

    def wait(self) -> None:
        """Until it answers at all."""
        deadline = time.monotonic() + _PATIENCE
        while self._ask() is None:
            if time.monotonic() > deadline:
                raise SystemExit("an application is not served")
            time.sleep(0.02)

    def _write(self) -> float:
        self._value += 1
        began = time.perf_counter()
        # Of another size each time: cold Python takes the bytecode of an edit in the same second for fresh.
        self._file.write_text(f"VALUE = {self._value}\n{'#' * self._value}\n")
        return began

    def _ask(self) -> int | None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        try:
            connection.request("GET", "/")
            return int(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def _load(self, is_over: threading.Event, times: list[float], keeps: bool) -> None:
        """One client: on one connection, or on a new one each time. Asks again until it has an answer, as people do."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        while not is_over.is_set():
            began = time.perf_counter()
            while not is_over.is_set():
                try:
                    connection.request("GET", "/")
                    connection.getresponse().read()
                    break
                except (OSError, http.client.HTTPException):
                    self.errors += 1
                    connection.close()
                    time.sleep(0.01)
            times.append(time.perf_counter() - began)
            if not keeps:
                connection.close()
            time.sleep(0.002)
        connection.close()


def measure(bench: Bench) -> list[Row]:
    say("serving")
    python = environments.of_stack(STACK)
    runtime = tempfile.mkdtemp(prefix="fh-")
    variables = {**environments.variables(python, ()), "XDG_RUNTIME_DIR": runtime}
    options = ("--no-access-log", "--log-level", "warning")
    ours = [str(_firehot(python)), "serve", "app:app", *options]
    theirs = [str(python), "-m", "uvicorn", "app:app", "--reload", *options]
    try:
        with (
            _serving(bench.folder / "serve" / "ours", ours, variables) as firehot,
            _serving(bench.folder / "serve" / "theirs", theirs, variables) as rival,
        ):
            return _rows(bench, firehot, rival)
    finally:
        subprocess.run([_firehot(python), "stop", "--all"], env=variables, check=True, capture_output=True)
        shutil.rmtree(runtime, ignore_errors=True)


def _rows(bench: Bench, firehot: Served, rival: Served) -> list[Row]:
    # The second save finds a template.
    served = interleave([Contestant(FIREHOT, firehot.save), Contestant(RIVAL, rival.save)], bench.rounds(_ROUNDS))
    loaded = interleave(
        [Contestant(FIREHOT, firehot.save_under_load), Contestant(RIVAL, rival.save_under_load)], bench.rounds(_ROUNDS)
    )
    told = partial("{0.errors} of {0.requests:,}".format)
    note = f"requests that failed: firehot {told(firehot)}, `uvicorn --reload` {told(rival)}"
    return [
        _row("save to new code served", "served", served),
        _row("slowest request of 8 clients during a save", "worst", loaded, note),
    ]


def _row(what: str, figure: str, measured: dict[str, Measured], note: str = "") -> Row:
    ours, theirs = (measured[name].of(figure) for name in (FIREHOT, RIVAL))
    return row("serve", SUBJECT, what, ours, {RIVAL: (theirs, None)}, note=note)


def _free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        port: int = made.getsockname()[1]
        return port


@contextmanager
def _serving(folder: Path, command: Sequence[str], variables: dict[str, str]) -> Iterator[Served]:
    folder.mkdir(parents=True)
    imports = "\n".join(f"import {module}" for module in STACK.modules)
    (folder / "pyproject.toml").touch()
    (folder / "app.py").write_text(_APPLICATION.format(imports=imports))
    (folder / "values.py").write_text("VALUE = 0\n")
    port = _free_port()
    with open(folder.parent / f"{folder.name}.log", "wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port)], cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        served = Served(folder, port)
        served.wait()
        yield served
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
