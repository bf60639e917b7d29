"""The Python half of the protocol under random, damaged and cut frames; and both halves in one real conversation."""

from __future__ import annotations

import io
import json
import os
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
import soakwork
from conftest import Measure
from scale import times
from support import catch

from firehot import ChildError, _wire
from firehot.environment import Environment

MAX_HEADER = 16 << 20


def reader(data: bytes, asked: list[int]) -> Callable[[int], bytes]:
    """Gives as many bytes as it is asked for, as a socket does, and notes how many that were."""
    stream = io.BytesIO(data)

    def read_exactly(count: int) -> bytes:
        asked.append(count)
        piece = stream.read(count)
        if len(piece) < count:
            raise EOFError
        return piece

    return read_exactly


def some_text(moments: random.Random) -> str:
    """All of Unicode, lone surrogates and what JSON escapes among it."""
    ranges = ((0, 0x20), (0x20, 0x7F), (0x7F, 0x800), (0xD800, 0xE000), (0xE000, 0x10000), (0x10000, 0x110000))
    return "".join(chr(moments.randrange(*moments.choice(ranges))) for _ in range(moments.randrange(12)))


def some_header(moments: random.Random) -> dict[str, Any]:
    values: list[Callable[[], Any]] = [
        lambda: some_text(moments),
        lambda: moments.randrange(-(1 << 70), 1 << 70),
        lambda: None,
        lambda: [some_text(moments), {"a": moments.random()}],
    ]
    return {"type": some_text(moments), **{f"k{n}": moments.choice(values)() for n in range(moments.randrange(4))}}


def shown(value: Any) -> Any:
    """As it arrives: JSON has no lone surrogates, so they are shown as text."""
    return json.loads(_wire._json(value))


def test_frames_come_out_as_they_went_in(moments: random.Random, measure: Measure) -> None:
    count = times(300_000)
    with measure("frames written and read by the Python half", count):
        for _ in range(count // 10 + 1):
            frames = [(some_header(moments), moments.randbytes(moments.randrange(60))) for _ in range(10)]
            data = b"".join(_wire.encode(header, len(body)) + body for header, body in frames)
            read_exactly = reader(data, [])
            for header, body in frames:
                assert _wire.decode(read_exactly) == (shown(header), body)
            with pytest.raises(EOFError):
                _wire.decode(read_exactly)


def damaged(data: bytearray, moments: random.Random) -> bytes:
    for _ in range(moments.randrange(1, 4)):
        at = moments.randrange(len(data) + 1)
        kind = moments.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= moments.randrange(1, 256)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = moments.randbytes(moments.randrange(12))
        elif kind == 3:
            length = moments.choice((0xFFFFFFFF, MAX_HEADER, MAX_HEADER + 1, moments.randrange(1 << 32)))
            data[at : at + 4] = length.to_bytes(4, "little")
        else:
            data += bytes(data)
    return bytes(data)


def test_damaged_frames_are_refused_and_nothing_is_read_on_their_word(moments: random.Random, measure: Measure) -> None:
    count = times(700_000)
    outcomes = {"read": 0, "BadFrame": 0, "EOFError": 0}
    with measure("damaged and random frames read by the Python half", count) as outcome:
        for _ in range(count):
            if moments.random() < 0.8:
                body = moments.randbytes(moments.randrange(20))
                data = damaged(bytearray(_wire.encode(some_header(moments), len(body)) + body), moments)
            else:
                data = moments.randbytes(moments.randrange(60))
            asked: list[int] = []
            read_exactly = reader(data, asked)
            try:
                while True:
                    header, _ = _wire.decode(read_exactly)
                    assert type(header) is dict
                    outcomes["read"] += 1
            except (_wire.BadFrame, EOFError) as error:
                outcomes[type(error).__name__] += 1
            # Prefix, header, body: the middle one of each three is the header's.
            assert all(length <= MAX_HEADER for length in asked[1::3])
        outcome.append(", ".join(f"{name} {number:,}" for name, number in outcomes.items()))
    assert all(outcomes.values())


@pytest.mark.parametrize("header", [b"", b"[1]", b"7", b'"text"', b"{", b"\xff", b"nul", b"[" * 100_000])
def test_a_header_that_is_no_object_is_a_bad_frame(header: bytes) -> None:
    with pytest.raises(_wire.BadFrame):
        _wire.decode(reader(len(header).to_bytes(4, "little") + bytes(4) + header, []))


def test_frames_cut_anywhere_are_put_together(moments: random.Random) -> None:
    """Through a real pipe, in pieces of random size."""
    frames = [(some_header(moments), moments.randbytes(moments.randrange(3000))) for _ in range(times(2_000, least=50))]
    data = b"".join(_wire.encode(header, len(body)) + body for header, body in frames)
    read_end, write_end = os.pipe()

    def write() -> None:
        at = 0
        while at < len(data):
            at += os.write(write_end, data[at : at + moments.randrange(1, 700)])
        os.close(write_end)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for header, body in frames:
            assert _wire.receive(read_end) == (shown(header), body)
        with pytest.raises(EOFError):
            _wire.receive(read_end)
    finally:
        writer.join()
        os.close(read_end)


# -- one half to the other -------------------------------------------------------------------------

EDGES = [
    around + more
    for around in (0, 1 << 12, 1 << 16, 1 << 17, 1 << 20, 8 << 20)
    for more in (-9, -1, 0, 1, 9)
    if around + more >= 0
]


def test_bodies_of_any_size_arrive_whole_on_both_ways(env: Environment, moments: random.Random) -> None:
    """Written by Rust and read by Python, written by Python and read by Rust."""
    for size in EDGES:
        data = moments.randbytes(size)
        assert env.run(soakwork.give, data) == data, size


def test_random_values_and_texts_go_through_both_halves(
    env: Environment, moments: random.Random, measure: Measure
) -> None:
    count = times(500, least=10)
    with measure("random results and exceptions through both halves", count):
        for _ in range(count):
            value = [moments.randbytes(moments.randrange(3000)), some_text(moments)]
            assert env.exec(soakwork.give, value, output="capture").result() == value
            text = some_text(moments)
            error = catch(lambda text=text: env.run(soakwork.raise_it, text))
            assert type(error) is ChildError
            assert isinstance(error.__cause__, LookupError) and error.__cause__.args == (text,)
            # In the header it goes as JSON.
            assert shown({"t": text})["t"] in str(error) or not text
