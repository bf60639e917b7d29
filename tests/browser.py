"""A headless Chromium for the tests of pages, spoken to by its DevTools protocol over a pair of pipes."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from support import DEADLINE, MARK, wait_until

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_APPS = tuple(
    Path(f"/Applications/{name}.app/Contents/MacOS/{name}") for name in ("Google Chrome", "Chromium", "Microsoft Edge")
)
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Root has none, and the pages are the tests' own.
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-breakpad",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)
# It reads requests from descriptor 3 and writes answers to 4, whatever the numbers of the pipes are. They are moved
# out of the way first: either may be 3 or 4 itself.
_AT_3_AND_4 = """
import fcntl, os, sys
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD_CLOEXEC, 10) for fd in sys.argv[1:3]]
for fd in sys.argv[1:3]:
    os.close(int(fd))
for fd, at in zip(high, (3, 4)):
    os.dup2(fd, at)
os.execv(sys.argv[3], sys.argv[3:])
"""


def _found() -> str | None:
    paths = (*map(shutil.which, _NAMES), *(str(path) for path in _APPS if path.exists()))
    return next((path for path in paths if path), None)


BROWSER = _found()
needs_browser = pytest.mark.skipif(
    BROWSER is None,
    reason="no Chromium to look at pages with: run scripts/get-extras.sh as root, or install Chromium or Chrome",
)


class RefusedError(AssertionError):
    """The browser answers a call with an error."""


class Page:
    """One page of a browser. What goes wrong in it, or on its console, is in `errors`."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests = requests
        self._answers = answers
        self._read = b""
        self._count = 0
        self._session: str | None = None
        self.errors: list[str] = []
        self.urls: list[str] = []
        """What it has asked the network, and the disk, for."""
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def goto(self, url: str | Path) -> None:
        """Opens an address, or a file, and waits until it is loaded."""
        address = url.as_uri() if isinstance(url, Path) else url
        self.eval("globalThis.leaving = true")
        if failed := self.send("Page.navigate", url=address).get("errorText"):
            raise AssertionError(f"{address}: {failed}")
        self.wait("document.readyState === 'complete' && !globalThis.leaving")

    def eval(self, expression: str) -> Any:
        """The value of an expression there, awaited where it is a promise; it has to be fit for JSON."""
        told = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise AssertionError(f"{expression}: {_exception(told['exceptionDetails'])}")
        return told["result"].get("value")

    def wait(self, expression: str, seconds: float = DEADLINE) -> Any:
        """Waits until an expression is true there; returns its value. It may fail meanwhile, as a page is left."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                told = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
            except RefusedError as error:
                # The page was left while it was asked.
                told = {"exceptionDetails": str(error)}
            if value := told["result"].get("value") if "exceptionDetails" not in told else None:
                return value
            assert time.monotonic() < deadline, f"{expression} is not true after {seconds} s: {told}"
            time.sleep(0.02)

    def text(self, selector: str = "body") -> str:
        """What a reader sees of an element."""
        return str(self.eval(f"document.querySelector({json.dumps(selector)}).innerText"))

    def press(self, *keys: str) -> None:
        """Presses keys, one after the other: "Tab", "Enter", "ArrowDown", "a"."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "Home": 36, "End": 35}
        codes |= {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Backspace": 8}
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            code = codes.get(key, ord(key[0].upper()))
            fields: dict[str, Any] = {"key": key, "windowsVirtualKeyCode": code}
            self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **fields)
            self.send("Input.dispatchKeyEvent", type="keyUp", **fields)

    def click(self, selector: str) -> None:
        """Clicks at the middle of an element."""
        found = json.dumps(selector)
        x, y = self.eval(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const b = e.getBoundingClientRect();"
            f" return [b.x + b.width / 2, b.y + b.height / 2]; }})(document.querySelector({found}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """Sets the size of the window, in CSS pixels; as a phone with touch that obeys the viewport, or not."""
        fields = {"width": width, "height": height, "mobile": phone}
        self.send("Emulation.setDeviceMetricsOverride", deviceScaleFactor=1, **fields)
        self.send("Emulation.setTouchEmulationEnabled", enabled=phone)

    def prefer(self, scheme: str) -> None:
        """Prefers "light" or "dark", as the user's system would."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        """Saves what is in the window as a PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Calls a method of the protocol; returns its result."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        _write_all(self._requests, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + DEADLINE
        while True:
            told = self._receive(deadline, method)
            if told.get("id") == self._count:
                if "error" in told:
                    raise RefusedError(f"{method}: {told['error']}")
                result: dict[str, Any] = told["result"]
                return result
            self._note(told.get("method", ""), told.get("params", {}))

    def _receive(self, deadline: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"the browser does not answer {method}"
            read = os.read(self._answers, 1 << 16)
            assert read, f"the browser has ended before it answered {method}"
            self._read += read
        told, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(told)
        return message

    def _note(self, event: str, told: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.errors.append(_exception(told["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.errors.append(" ".join(str(each.get("value", each.get("description"))) for each in told["args"]))
        elif event == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}".strip())
        elif event == "Network.requestWillBeSent":
            self.urls.append(told["request"]["url"])


@contextmanager
def open_page() -> Iterator[Page]:
    """A page in a browser of its own, which ends with the block."""
    assert BROWSER is not None
    theirs_in, requests = os.pipe()
    answers, theirs_out = os.pipe()
    with tempfile.TemporaryDirectory(prefix="firehot-browser-", ignore_cleanup_errors=True) as profile:
        arguments = [BROWSER, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        command = [sys.executable, "-ISc", _AT_3_AND_4, str(theirs_in), str(theirs_out), *arguments]
        # Its processes are waited for here, by their group.
        environment = {name: value for name, value in os.environ.items() if name != MARK}
        process = subprocess.Popen(
            command,
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield Page(requests, answers)
        finally:
            os.close(requests)
            os.close(answers)
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the browser with all of its processes."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert wait_until(lambda: not _has_members(process.pid)), "processes of the browser are left"


def _has_members(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # What macOS says of a group of zombies.
    return True


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _exception(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description", details.get("text", "")))
