"""Frames, against the golden ones that the Rust side reads as well."""

from __future__ import annotations

import io
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from firehot import _wire

GOLDEN = json.loads((Path(__file__).parent.parent / "fixtures" / "frames.json").read_text("utf-8"))


def reader(data: bytes) -> Any:
    stream = io.BytesIO(data)

    def read_exactly(count: int) -> bytes:
        piece = stream.read(count)
        if len(piece) < count:
            raise EOFError
        return piece

    return read_exactly


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_golden_frames_are_written(name: str) -> None:
    body = bytes.fromhex(GOLDEN[name]["body"])
    assert (_wire.encode(GOLDEN[name]["header"], len(body)) + body).hex() == GOLDEN[name]["hex"]


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_the_golden_frames_are_read(name: str) -> None:
    header, body = _wire.decode(reader(bytes.fromhex(GOLDEN[name]["hex"])))
    assert header == GOLDEN[name]["header"]
    assert body.hex() == GOLDEN[name]["body"]


def test_a_header_above_the_cap_is_refused_before_it_is_read() -> None:
    def read_exactly(count: int) -> bytes:
        assert count == 8, "only the lengths are read"
        return b"\xff\xff\xff\xff\x00\x00\x00\x00"

    with pytest.raises(_wire.BadFrame, match="4294967295"):
        _wire.decode(read_exactly)


def test_a_body_above_the_cap_is_refused() -> None:
    with pytest.raises(_wire.BadFrame, match="4294967296"):
        _wire.encode({"type": "returned"}, 1 << 32)


def test_a_lone_surrogate_in_a_header_does_no_harm() -> None:
    encoded = _wire.encode({"type": "raised", "text": "\ud800"})
    header, _ = _wire.decode(reader(encoded))
    assert header["type"] == "raised"


def test_a_frame_larger_than_a_pipe_goes_through_it() -> None:
    read_end, write_end = os.pipe()
    body = os.urandom(3 << 20)
    sender = threading.Thread(target=_wire.send, args=(write_end, {"type": "x"}, body))
    sender.start()
    try:
        assert _wire.receive(read_end) == ({"type": "x"}, body)
    finally:
        sender.join()
        os.close(write_end)
    with pytest.raises(EOFError):
        _wire.receive(read_end)
    os.close(read_end)
