"""Lines of children on the host's streams."""

from __future__ import annotations

import io
from typing import Any

import pytest

from firehot._output import show


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (b"one\n", "[p] one\n"),
        (b"one\ntwo\n", "[p] one\n[p] two\n"),
        (b"\n", "[p] \n"),
        (b"\xff\n", "[p] \\xff\n"),
        ("ż\u2028ó\n".encode(), "[p] ż\u2028ó\n"),
        (b"a\rb\x0cc\n", "[p] a\rb\x0cc\n"),
    ],
)
def test_each_line_gets_the_name(lines: bytes, shown: str) -> None:
    stream = io.StringIO()
    show(stream, "p", lines)
    assert stream.getvalue() == shown


def test_a_terminal_gets_colours_that_depend_on_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    found = set()
    for name in "abcdefghij":
        terminal = Terminal()
        show(terminal, name, b"text\n")
        first, second = Terminal(), Terminal()
        show(first, name, b"text\n")
        show(second, name, b"text\n")
        assert first.getvalue() == second.getvalue() == terminal.getvalue()
        assert terminal.getvalue().endswith("\x1b[0m text\n")
        found.add(terminal.getvalue().split("[" + name)[0])
    assert len(found) > 2


def test_no_color_counts_when_it_is_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    show(terminal, "p", b"text\n")
    assert terminal.getvalue() == "[p] text\n"
    monkeypatch.setenv("NO_COLOR", "")
    terminal = Terminal()
    show(terminal, "p", b"text\n")
    assert terminal.getvalue() != "[p] text\n"


def test_what_a_stream_can_not_encode_is_escaped() -> None:
    stream = io.TextIOWrapper(raw := io.BytesIO(), "ascii")
    show(stream, "p", "ż\n".encode())
    assert raw.getvalue() == b"[p] \\u017c\n"


def broken(error: BaseException) -> Any:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise error

    return Broken()


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("closed"), RuntimeError("a notebook's own"), KeyError()])
def test_a_stream_that_raises_drops_the_lines(error: Exception) -> None:
    show(broken(error), "p", b"text\n")


def test_no_stream_and_a_closed_one_drop_the_lines() -> None:
    show(None, "p", b"text\n")
    closed = io.StringIO()
    closed.close()
    show(closed, "p", b"text\n")


def test_a_stream_with_write_alone_is_enough() -> None:
    class Least:
        text = ""

        def write(self, text: str) -> None:
            self.text += text

    stream: Any = Least()
    show(stream, "p", b"text\n")
    assert stream.text == "[p] text\n"
